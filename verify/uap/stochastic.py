"""The universal perturbation by stochastic gradients: max over delta of the mean loss of the samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from verify.deadline import check_time
from verify.errors import LATE, InputError, OutOfTime
from verify.lower.engine.settings import check_settings
from verify.sets.norms import penalty_norm_of
from verify.uap.method import BestDelta, SharedAnswer, SharedMethod
from verify.uap.problem import SharedProblem


@dataclass(frozen=True)
class StochasticUAP(SharedMethod):
    """max over ||delta|| <= eps of the mean over samples of min(L(x_i + delta), cap) - eps2 ||delta||, with the
    cross-entropy L = log(1 + sum over j of exp(h_j - h_y)), by projected steepest steps on mini-batches (Shafahi et al.
    2020, algorithm 1, with their cap of the loss).

    Without a cap a few samples of very large loss would outweigh those that are not fooled yet. The length of the steps
    falls to 0 over the epochs; of every epoch of every try, the perturbation that fools the most samples counts.

    Args:
        cap: of a sample's loss, a number, or None.
        penalty: eps2 >= 0 of the penalty on the size of delta, in the norm of the name `penalty_norm`.
        epochs: passes over the samples, at least 1.
        batch: samples of a mini-batch, at least 1.
        step: length of the first steps in half-widths of the ball, > 0.
        restarts: tries, at least 1; the first starts at zero, others at random points of the ball.
        seed: of batches and starts.

    Raises InputError for settings out of range.
    """

    cap: float | None = 2.0
    penalty: float = 0.0
    penalty_norm: str = "l2"
    epochs: int = 40
    batch: int = 32
    step: float = 0.5
    restarts: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self, ("epochs", "batch", "restarts", "seed"), ("step",))
        if not 0 <= self.penalty < float("inf"):
            raise InputError(f"StochasticUAP has penalty={self.penalty}; it must be at least 0 and finite")
        penalty_norm_of(self.penalty_norm)

    @property
    def name(self) -> str:
        return "SGD-UAP"

    def answer(self, problem: SharedProblem, best: BestDelta) -> SharedAnswer:
        """The best perturbation; `notes`: "stopped" where time was over."""
        own, noise = BestDelta.start(problem), torch.Generator().manual_seed(self.seed)
        notes = dict[str, object]()
        try:
            for k in range(self.restarts):
                delta = problem.ball.sample(noise) if k else problem.ball.center
                for epoch in range(self.epochs):
                    length = self.step * (1 - epoch / self.epochs)
                    for part in torch.randperm(problem.count, generator=noise).split(self.batch):
                        check_time()
                        slope = self._slope(problem, delta[0], part.to(delta.device))
                        delta = problem.ball.project(delta + length * problem.ball.steepest(delta, slope[None]))
                    own.offer(delta[0])
                    if own.count == problem.count:
                        return SharedAnswer((own.delta,))
        except OutOfTime:
            notes["stopped"] = LATE
        return SharedAnswer((own.delta,), notes=notes)

    def _slope(self, problem: SharedProblem, delta: Tensor, index: Tensor) -> Tensor:
        """The gradient (*shape) in delta of what is maximised over the samples at these positions."""
        spec = problem.each.spec.select(index)
        with torch.enable_grad():
            at = delta.detach().requires_grad_()
            y = problem.network(problem.moved(at, index)).flatten(1)
            rows = torch.where(spec.mask, torch.einsum("cro,co->cr", spec.output, y) - spec.offset, -torch.inf)
            loss = F.pad(rows, (1, 0)).logsumexp(1)
            total = (loss if self.cap is None else loss.clamp(max=self.cap)).mean()
            if self.penalty and bool(at.any()):  # at zero the norm has no gradient
                total = total - self.penalty * penalty_norm_of(self.penalty_norm).measure(at.flatten())
        slope = torch.autograd.grad(total, at, allow_unused=True)[0] if total.requires_grad else None
        return torch.zeros_like(delta) if slope is None else torch.nan_to_num(slope, nan=0.0, posinf=0.0, neginf=0.0)
