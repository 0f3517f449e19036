"""Motion blur: every pixel moves toward the mean of those beside it, as where the camera moves sideways."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from verify.fronts.mean import MeanBlur, pixels_of
from verify.fronts.numbers import reach_of
from verify.rationals import Number
from verify.registry import FrontEntry

WHAT = "the length of a motion blur"


@FrontEntry(name="motion", place=94, help="motion:3 (pixels along a row)", example="motion:3")
@dataclass(frozen=True)
class MotionBlur(MeanBlur):
    """(1 - s) x + s m, 0 <= s <= share <= 1, m the mean of so many pixels of the row, about half of them to the left;
    see `MeanBlur`."""

    length: Number
    share: Number = 1

    @classmethod
    def read(cls, argument: str) -> MotionBlur:
        return cls(pixels_of(argument, WHAT, 2))

    def times(self, eps: Fraction) -> MotionBlur:
        return MotionBlur(self.length, eps * reach_of(self.share, "the share of a blur"))

    @property
    def window(self) -> list[tuple[int, int]]:
        length = pixels_of(self.length, WHAT, 2)
        return [(0, across) for across in range(-(length // 2), length - length // 2)]
