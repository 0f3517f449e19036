"""Box blur: every pixel moves toward the mean of the square around it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from verify.fronts.mean import MeanBlur, pixels_of
from verify.fronts.numbers import reach_of
from verify.rationals import Number
from verify.registry import FrontEntry

WHAT = "the reach of a box blur"


@FrontEntry(name="boxblur", place=92, help="boxblur:1 (pixels to each side)", example="boxblur:1")
@dataclass(frozen=True)
class BoxBlur(MeanBlur):
    """(1 - s) x + s m, 0 <= s <= share <= 1, m the mean of the (2 reach + 1)^2 pixels around each; see `MeanBlur`."""

    reach: Number
    share: Number = 1

    @classmethod
    def read(cls, argument: str) -> BoxBlur:
        return cls(pixels_of(argument, WHAT, 1))

    def times(self, eps: Fraction) -> BoxBlur:
        return BoxBlur(self.reach, eps * reach_of(self.share, "the share of a blur"))

    @property
    def window(self) -> list[tuple[int, int]]:
        near = range(-pixels_of(self.reach, WHAT, 1), pixels_of(self.reach, WHAT, 1) + 1)
        return [(down, across) for down in near for across in near]
