"""Perturbations that one number bounds: by how much their parameters may be away from 0."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Self

from verify.fronts.base import Perturbation, Ranges, Shape
from verify.fronts.numbers import reach_of
from verify.rationals import Number


@dataclass(frozen=True)
class Amount(Perturbation):
    """A perturbation of parameters t, |t_i| <= by; `what` is its name in errors, with an article."""

    by: Number

    what: ClassVar[str]

    @classmethod
    def read(cls, argument: str) -> Self:
        return cls(reach_of(argument, cls.what))

    def times(self, eps: Fraction) -> Self:
        return type(self)(eps * self.reach)

    @property
    def reach(self) -> Fraction:
        """The number as a rational. Raises InputError for one that is not at least 0."""
        return reach_of(self.by, self.what)

    def ranges(self, shape: Shape) -> Ranges:
        return Ranges.about(*[self.reach] * self.parameters(shape))

    def parameters(self, shape: Shape) -> int:
        """How many there are for images of this shape. Raises InputError for a shape that does not fit."""
        return 1
