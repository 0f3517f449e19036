"""Noise along given directions: each image of a file is added by any amount up to a largest one."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from verify.errors import InputError
from verify.fronts.base import Perturbation, Ranges, Shape, spread
from verify.fronts.numbers import reach_of
from verify.ir.symbolic import SymbolicValue
from verify.rationals import Number
from verify.registry import FrontEntry
from verify.sets.samples import arrays_of

WHAT = "an amount of a direction"
LARGEST = 1 << 64  # of the entries of directions


@FrontEntry(name="directions", place=130, help="directions:FILE.npz (its array directions, (k, *shape))")
@dataclass(frozen=True)
class Directions(Perturbation):
    """x + sum over k of t_k d_k, |t_k| <= by, d_k the images of the array "directions" (k, *shape) of a file, rounded
    to float32."""

    file: str
    by: Number = 1

    @classmethod
    def read(cls, argument: str) -> Directions:
        found = cls(argument)
        if not len(found.images):
            raise InputError(f"{argument} holds no direction; give at least one")
        return found

    @cached_property
    def images(self) -> np.ndarray:
        """d_k as rationals, (k, *shape)."""
        (exact,) = arrays_of(self.file, "directions")
        if exact.size and max(map(abs, exact.flat)) > LARGEST:
            raise InputError(f"directions of {self.file} are larger than {float(LARGEST):g}; divide them")
        return np.vectorize(lambda value: Fraction(float(np.float32(float(value)))), otypes=[object])(exact)

    def times(self, eps: Fraction) -> Directions:
        return Directions(self.file, eps * reach_of(self.by, WHAT))

    def ranges(self, shape: Shape) -> Ranges:
        if self.images.shape[1:] != shape:
            raise InputError(f"directions of {self.file} have shape {self.images.shape[1:]}, but inputs have {shape}; "
                             "give directions of the shape of a sample")
        return Ranges.about(*[reach_of(self.by, WHAT)] * len(self.images))

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        for k, image in enumerate(self.images):
            x = x + spread(theta, k, x.shape) * image
        return x
