"""What one part finds, all believe: points that are known are held against verdicts."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from verify.bracket import Bracket, Verdict
from verify.lower.pgd import PGD
from verify.method import Answer
from verify.problem import Problem
from verify.solving import solve

CHEAP = PGD(steps=3)  # what a verdict is held against where no attack has looked yet
LOOKS = 8  # samples of a batch that it looks at


@dataclass(frozen=True)
class Known:
    """A method that answers with points (cases, *shape) that another part has met."""

    points: Tensor
    name: str

    def answer(self, problem: Problem) -> Answer:
        return Answer(points=self.points)


def met(problem: Problem, points: Tensor, name: str) -> Bracket:
    """What the points (cases, *shape) that a part of this name has met say of a problem."""
    return solve(problem, Known(points, name))


def held(problem: Problem, bracket: Bracket) -> Bracket:
    """A bracket of one problem that verifies without any point, met with what the cheap attack finds; another one as it
    is. Raises Contradiction where they cross."""
    if bracket.below is not None or bracket.verdicts[0] is not Verdict.VERIFIED:
        return bracket
    return bracket.meet(solve(problem, CHEAP))


def one(bracket: Bracket, k: int) -> Bracket:
    """Problem k of a batch, on the CPU."""
    part = bracket.select(k)
    witness, rounding = (None if t is None else t.cpu() for t in (part.witness, part.rounding))
    return replace(part, lower=part.lower.cpu(), upper=part.upper.cpu(), witness=witness, rounding=rounding)
