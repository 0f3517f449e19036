"""The universal adversarial perturbation of Moosavi-Dezfooli et al. 2017, from DeepFool's steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from verify.errors import LATE, InputError, OutOfTime
from verify.lower.engine.settings import check_settings
from verify.uap.deepfool import way_out
from verify.uap.method import BestDelta, SharedAnswer, SharedMethod
from verify.uap.problem import SharedProblem


@dataclass(frozen=True)
class UAP(SharedMethod):
    """Algorithm 1 of "Universal adversarial perturbations" (Moosavi-Dezfooli et al. 2017).

    In the order of a new permutation each epoch, each sample that the perturbation v does not fool yet adds DeepFool's
    way from x_i + v to the boundary, and v is projected into the ball. It ends once v fools a share 1 - delta of the
    samples, or after so many epochs, whatever comes first, so that it always ends. The best v of all epochs counts.

    Args:
        delta: the share of samples that need not be fooled, from 0 to 1.
        epochs: passes over the samples, at least 1.
        steps: of DeepFool for one sample, at least 1.
        overshoot: by which DeepFool's way is lengthened, > 0.
        seed: of the permutations.

    Raises InputError for settings out of range.
    """

    delta: float = 0.0
    epochs: int = 10
    steps: int = 20
    overshoot: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self, ("epochs", "steps", "seed"), ("overshoot",))
        if not 0 <= self.delta <= 1:
            raise InputError(f"UAP has delta={self.delta}; the share that need not be fooled is from 0 to 1")

    @property
    def name(self) -> str:
        return "UAP"

    def answer(self, problem: SharedProblem, best: BestDelta) -> SharedAnswer:
        """The best perturbation; `notes`: the "epochs" it took, "stopped" where time was over."""
        noise, own = torch.Generator().manual_seed(self.seed), BestDelta.start(problem)
        wanted, epoch = (1 - self.delta) * problem.count, 0
        v, notes = own.delta, dict[str, object]()
        singles = [problem.each.select(torch.tensor([i], device=v.device)) for i in range(problem.count)]
        try:
            while epoch < self.epochs and own.count < wanted:
                epoch += 1
                for i in torch.randperm(problem.count, generator=noise).tolist():
                    x = problem.moved(v, torch.tensor([i], device=v.device))[0]
                    v = problem.ball.project((v + way_out(singles[i], x, self.steps, self.overshoot))[None])[0]
                own.offer(v)
        except OutOfTime:
            own.offer(v)
            notes["stopped"] = LATE
        return SharedAnswer((own.delta,), notes={"epochs": epoch, **notes})
