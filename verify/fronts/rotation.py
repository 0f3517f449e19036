"""Rotation about the center of the image, bilinear, with 0 outside."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verify.fronts.base import Perturbation, Ranges, Shape, spread
from verify.fronts.numbers import angle_of, plane
from verify.fronts.warp import Ends, about_center, warped
from verify.ir.symbolic import SymbolicValue
from verify.rationals import Number
from verify.registry import FrontEntry

WHAT = "a rotation"


@FrontEntry(name="rotation", place=60, help="rotation:5deg (or 0.1rad; a number alone is degrees)",
            example="rotation:5deg")
@dataclass(frozen=True)
class Rotation(Perturbation):
    """x turned about the center by an angle t, |t| <= by: x'(center + d) = x(center + R(t) d), where x between pixels
    is bilinear and 0 outside, as with grid_sample(align_corners=False).

    by: "5deg", "0.1rad" or a number of degrees, at most 180; the parameter is in radians.
    """

    by: Number

    widens = False

    @classmethod
    def read(cls, argument: str) -> Rotation:
        angle_of(argument, WHAT)
        return cls(argument)

    def times(self, eps: Fraction) -> Rotation:
        return Rotation(f"{eps * angle_of(self.by, WHAT)}rad")

    def ranges(self, shape: Shape) -> Ranges:
        plane(shape, WHAT)
        return Ranges.about(angle_of(self.by, WHAT))

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        across, down, column, row = about_center(x.shape)
        cosine, sine = (spread(part, 0, across.shape) for part in (theta.cos(), theta.sin()))
        places = cosine * across - sine * down + column, sine * across + cosine * down + row
        reach = float(angle_of(self.by, WHAT))
        (left, right), (top, bottom) = _reach(across, -down, reach), _reach(down, across, reach)
        return warped(x, *places, ((left + column, right + column), (top + row, bottom + row)))


def _reach(a: np.ndarray, b: np.ndarray, r: float) -> Ends:
    """The least and largest a cos t + b sin t for |t| <= r <= pi: at an end, or at the angle of (a, b) or opposite."""
    ends = np.stack([a * np.cos(t) + b * np.sin(t) for t in (-r, r)])
    size, at = np.hypot(a, b), np.arctan2(b, a)
    opposite = np.where(at > 0, at - np.pi, at + np.pi)
    return np.where(np.abs(opposite) <= r, -size, ends.min(0)), np.where(np.abs(at) <= r, size, ends.max(0))
