"""Blurs that mix every pixel with the mean of some of its neighbours, by any share up to a largest one."""

from __future__ import annotations

from abc import abstractmethod
from fractions import Fraction

import numpy as np

from verify.errors import InputError
from verify.fronts.base import Perturbation, Ranges, Shape, spread
from verify.fronts.numbers import moved_places, plane, reach_of
from verify.ir.symbolic import SymbolicValue
from verify.rationals import Number

LARGEST = 32  # pixels of a side


class MeanBlur(Perturbation):
    """x' = x + w * sum over the n pixels of a window of (their values - x), 0 <= w <= share / n; the edges go on.

    The parameter is w, the weight of each neighbour: at w = 1 / n the pixel is the mean of its window. It is linear, so
    that bounds lose nothing to it.
    """

    share: Number

    widens = False

    @property
    @abstractmethod
    def window(self) -> list[tuple[int, int]]:
        """The offsets (down, across) of the pixels of the window, that of the pixel itself among them."""

    def ranges(self, shape: Shape) -> Ranges:
        plane(shape, "a blur")
        share = reach_of(self.share, "the share of a blur")
        if share > 1:
            raise InputError(f"a blur mixes in a share {self.share} of the mean, more than all of it; give at most 1")
        zero = np.array([Fraction(0)], object)
        return Ranges(zero, np.array([share / len(self.window)], object), zero)

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        places = np.stack([moved_places(x.shape, down, across) for down, across in self.window], -1)
        return x + (x.picked(places).sum(len(x.shape)) - x * len(self.window)) * spread(theta, 0, x.shape)


def pixels_of(text: Number, what: str, least: int) -> int:
    """A whole number of pixels. Raises InputError for another."""
    pixels = reach_of(text, what)
    if pixels.denominator != 1 or not least <= pixels <= LARGEST:
        raise InputError(f"{what} is {text} but must be a whole number of pixels from {least} to {LARGEST}")
    return int(pixels)
