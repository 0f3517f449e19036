"""`universal`: the shell around methods for one shared perturbation. It replays their points and lets bounds meet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from verify.bracket import Rigour
from verify.deadline import Deadline, within
from verify.errors import LATE, Contradiction, InputError, OutOfTime
from verify.ir.graph import Network
from verify.ir.opaque.entry import Model
from verify.method import full_float32
from verify.rationals import Number
from verify.sets.norms import Norm
from verify.uap.iterative import UAP
from verify.uap.method import BestDelta, SharedAnswer, SharedMethod
from verify.uap.problem import SharedProblem, shared_problem
from verify.uap.rates import fooling_rate
from verify.uap.stochastic import StochasticUAP

METHODS: tuple[SharedMethod, ...] = (UAP(), StochasticUAP())


@dataclass(frozen=True)
class Found:
    """What one method found: the perturbation (*shape) that fools the most samples, how many, the method's own upper
    bound or None, its notes and wall time."""

    delta: Tensor | None
    count: int
    upper: int | None
    notes: dict[str, object]
    seconds: float


@dataclass(frozen=True)
class Universal:
    """lower <= c* <= upper, c* the largest number of samples that one perturbation of the ball fools.

    Args:
        problem: what was asked.
        delta: (*shape), the perturbation that fools `lower` samples, a member of the ball exactly.
        fooled: bool (k,), which; see `SharedProblem.fooled`.
        upper: no perturbation fools more.
        methods: what each method found, by its name.
        rigour: how `upper` was established, and `trusts` on whose word.
        single: (at least, at most) how many samples are fooled where each has a perturbation of its own.
    """

    problem: SharedProblem = field(repr=False)
    delta: Tensor = field(repr=False)
    fooled: Tensor = field(repr=False)
    upper: int
    methods: dict[str, Found] = field(repr=False)
    rigour: Rigour
    trusts: str
    single: tuple[int, int]

    def __repr__(self) -> str:
        by = f"{self.rigour.name.lower()}, trusts {self.trusts}"
        return (f"Universal: one perturbation fools at least {self.lower} and at most {self.upper} of "
                f"{self.problem.count} samples ({by}); fooling rate {self.rate:.1%}")

    @property
    def lower(self) -> int:
        """How many samples `delta` fools."""
        return int(self.fooled.sum())

    @property
    def rate(self) -> float:
        """The fooling rate of `delta` on the samples."""
        return self.lower / self.problem.count

    @property
    def closed(self) -> bool:
        """Whether the two sides meet."""
        return self.lower == self.upper

    def fooling_rate(self, x: Tensor, y: Tensor | None = None) -> float:
        """That of `delta` on other samples x (n, *shape), see `verify.fooling_rate`."""
        return fooling_rate(self.problem.network, x, self.delta, self.problem.clip, y)


def universal(
    model: Network | Model, x: Tensor, y: Tensor | Sequence[int] | None = None, *, eps: Number,
    norm: str | Norm = "linf", clip: tuple[Number, Number] | None = None,
    methods: Sequence[SharedMethod] | None = None, time_limit: float | None = None,
) -> Universal:
    """How many of k samples one perturbation delta, ||delta|| <= eps, fools: at least, and at most.

    Args:
        model: a classifier, see `verify.attack`; of one that is only executed nothing is known from above.
        x: (k, *shape) float samples, a tensor or an array.
        y: (k,) labels. By default the network's own predictions, as fooling rates are counted; with labels, samples
            that are misclassified without a perturbation count as fooled.
        eps, norm: the ball of perturbations, see `verify.robustness`.
        clip: None, as in the literature, or (low, high): then x_i + delta is moved into this range, entry by entry.
        methods: in their order; by default `UAP()` and `StochasticUAP()`.
        time_limit: seconds for all methods together, of which each may take an equal part of what is left, or None.

    Raises InputError for what does not fit, UnsupportedMethod for a bound of a model that is only executed,
    Contradiction where a perturbation fools more than a bound allows.
    """
    if not isinstance(methods, Sequence | None):
        raise InputError(f"methods is {methods!r:.60}, but universal takes a list of them; write for example "
                         "[verify.UAP()]")
    chosen = METHODS if methods is None else tuple(methods)
    for method in chosen:
        if not isinstance(method, SharedMethod):
            raise InputError(f"universal takes methods for one perturbation of many samples, not {method!r:.60}; write "
                             "for example [verify.UAP()]")
    if len({method.name for method in chosen}) < len(chosen):
        raise InputError("two methods have one name; ask for them in two calls")
    problem, until = shared_problem(model, x, y, eps, norm, clip), Deadline.after(time_limit)
    with torch.no_grad(), full_float32():
        best, found, answers = BestDelta.start(problem), dict[str, Found](), list[SharedAnswer]()
        for k, method in enumerate(chosen):
            start = time.perf_counter()
            answer = _answer(problem, method, best, until.part(1 / (len(chosen) - k)))
            counts = [int(problem.fooled(delta).sum()) for delta in answer.deltas]
            for delta in answer.deltas:
                best.offer(delta)
            most = max(range(len(counts)), key=lambda i: counts[i], default=None)
            found[method.name] = Found(
                None if most is None else problem.member(answer.deltas[most]), 0 if most is None else counts[most],
                answer.upper, answer.notes, time.perf_counter() - start,
            )
            answers.append(answer)
    return _met(problem, best, found, answers)


def _answer(problem: SharedProblem, method: SharedMethod, best: BestDelta, limit: Deadline) -> SharedAnswer:
    """The method's answer, an empty one where the time is over before it has any."""
    try:
        with within(limit):
            return method.answer(problem, best)
    except OutOfTime:
        return SharedAnswer(notes={"stopped": LATE})


def _met(
    problem: SharedProblem, best: BestDelta, found: dict[str, Found], answers: Sequence[SharedAnswer]
) -> Universal:
    """What all answers support together. Raises Contradiction where they cross."""
    upper, rigour, trusts, single = problem.count, Rigour.PROVED, "nothing", (0, problem.count)
    for answer in answers:
        if answer.upper is not None and answer.upper < upper:
            upper, rigour, trusts = answer.upper, answer.rigour, answer.trusts
        if answer.single is not None:
            single = max(single[0], answer.single[0]), min(single[1], answer.single[1])
    if best.count > upper:
        names = ", ".join(name for name, one in found.items() if one.upper == upper)
        raise Contradiction(
            f"a perturbation fools {best.count} samples, but {names} allows {upper} at most; one of them is wrong, "
            "please report the bundle", {"problem": problem, "delta": best.delta, "found": found},
        )
    return Universal(problem, best.delta, best.fooled, upper, found, rigour, trusts, single)
