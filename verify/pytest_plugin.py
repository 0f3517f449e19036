"""A pytest plugin: the fixture `certify`, which fails a test where a network is not proved robust.

    def test_digits_are_robust(certify):
        certify.assert_certified("digits-dense-interval", x, y, eps="1/20")

It costs nothing until a test uses it: torch and the toolkit are imported by the first assertion.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from verify.bracket import Bracket
    from verify.goals import Goal
    from verify.ir.graph import Network
    from verify.method import Method
    from verify.problem import Problem
    from verify.rationals import Number

LISTED = 10  # samples that a failure tells one by one


@dataclass(frozen=True)
class Certifier:
    """What the fixture `certify` gives."""

    def assert_certified(
        self, model: nn.Module | Network | str | Path, x: Tensor, y: int | Tensor | Sequence[int] | None, eps: Number,
        norm: str = "linf", clip: tuple[Number, Number] | None = (0, 1), timeout: float = 10.0, *,
        threshold: Number | None = None, tolerance: Number | None = None,
        bounds: tuple[Number | None, Number | None] | None = None,
    ) -> list[Bracket]:
        """Fails the test unless every sample's answer is proved stable in its ball; else the bracket of each sample.

        Args:
            model: a module, which is taken as it is in eval mode; a network; or what `verify.load` takes.
            x, y: one sample (*shape) and its class, or samples (batch, *shape) and their classes (batch,); with
                `tolerance` or `bounds` y may be None, and then x are samples.
            eps, norm, clip, threshold, tolerance, bounds: as for `verify.robustness`.
            timeout: seconds for all samples together, after which what is open counts as undecided, and fails too.

        An attack, interval bounds, CROWN, alpha-CROWN and branch and bound are tried in this order on what is open.
        """
        __tracebackhide__ = True
        import torch

        import verify
        from verify.goals import goal_of
        from verify.problem import around

        points = torch.as_tensor(x)
        labels = None if y is None else torch.as_tensor(y)
        if labels is not None and labels.dim() == 0:
            points, labels = points[None], labels[None]
        if not len(points):
            raise verify.InputError("there are no samples, so nothing would be asserted; give at least one")
        network = _network(model, points)
        goal = goal_of(network, threshold=threshold, tolerance=tolerance, bounds=bounds)
        problem = around(network, points, labels, eps, norm, clip, goal)
        brackets, reasons = _decide(problem, timeout)
        failures = [k for k, bracket in enumerate(brackets) if bracket.verdicts[0] != verify.Verdict.VERIFIED]
        if failures:
            told = [None] * len(points) if labels is None or not goal.has_labels else labels.tolist()
            lines = [_line(goal, network, points[k], told[k], k, brackets[k], reasons[k]) for k in failures[:LISTED]]
            more = [f"and {len(failures) - LISTED} more"] if len(failures) > LISTED else []
            head = f"{len(failures)} of {len(brackets)} samples are not certified at {norm} eps {eps}:"
            pytest.fail("\n  ".join([head, *lines, *more]))
        return brackets


@pytest.fixture(scope="session")
def certify() -> Certifier:
    """Asserts that samples are proved robust: `certify.assert_certified(model, x, y, eps)`."""
    return Certifier()


def _network(model: nn.Module | Network | str | Path, points: Tensor) -> Network:
    from torch import nn

    import verify

    if isinstance(model, nn.Module):
        return verify.trace(model, points[:1])
    return verify.load(model) if isinstance(model, str | Path) else model


def _decide(problem: Problem, timeout: float) -> tuple[list[Bracket], list[str]]:
    """The bracket of each sample once it is decided, or nothing is left to be tried, with why that is so."""
    import torch

    import verify
    from verify.registry import METHODS, default_methods

    deadline = time.monotonic() + timeout
    first, *others = [METHODS[name].load() for name in default_methods("pytest").split(",")]
    whole = verify.solve(problem, first(), timeout)
    brackets, reasons = [whole.select(k) for k in range(problem.batch)], [""] * problem.batch
    for make in others:
        left = [k for k, bracket in enumerate(brackets) if bracket.verdicts[0] == verify.Verdict.UNKNOWN]
        rest = deadline - time.monotonic()
        if not left or rest <= 0:
            break
        method: Method = make()
        try:
            found = verify.solve(problem.select(torch.tensor(left, device=problem.owner.device)), method, rest)
        except verify.UnsupportedMethod as refusal:
            reasons = [f"{method.name}: {refusal}" if k in left else reason for k, reason in enumerate(reasons)]
            continue
        for place, k in enumerate(left):
            brackets[k] = brackets[k].meet(found.select(place))
            reasons[k] = str(found.notes.get("stopped", reasons[k]))
    plain = f"the {timeout:g} s are over" if time.monotonic() >= deadline else "the bounds leave a gap"
    return brackets, [reason or plain for reason in reasons]


def _line(
    goal: Goal, network: Network, x: Tensor, label: int | None, k: int, bracket: Bracket, reason: str
) -> str:
    """What became of sample k, x (*shape)."""
    lower, upper = float(bracket.lower[0]), float(bracket.upper[0])
    head = f"sample {k}:" if label is None else f"sample {k}, label {label}:"
    if (plain := _class(goal, network, x[None])) != label:
        return f"{head} misclassified as {plain} without any change"
    if bracket.verdicts[0] != "falsified" or bracket.witness is None or bracket.below is None:
        return f"{head} undecided, {lower:.4g} <= v* <= {upper:.4g} ({reason})"
    reached = _class(goal, network, bracket.witness)
    what = "leaves the range" if reached is None else f"is classified as {reached}"
    return f"{head} falsified by {bracket.below.method}, a point of the set {what}, violation {lower:.4g}"


def _class(goal: Goal, network: Network, x: Tensor) -> int | None:
    """The class of one sample (1, *shape), None where outputs are no classes."""
    import torch

    with torch.no_grad():
        return goal.classes(network.logits(x.to(device=network.device, dtype=network.dtype)))[0]
