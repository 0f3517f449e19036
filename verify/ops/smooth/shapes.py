"""Shapes that several smooth curves share."""

from __future__ import annotations

from fractions import Fraction

from verify.ops.curve import Curvature, Curve


class Rising(Curve):
    """A curve like the letter S: convex below 0 and concave above."""

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return (Fraction(0),)

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        return Curvature.CONVEX, Curvature.CONCAVE


class Convex(Curve):
    """A curve of one convex piece."""

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        return (Curvature.CONVEX,)
