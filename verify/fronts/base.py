"""What every perturbation with few parameters offers: a map of images and parameters, and the ranges of these."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from verify.errors import InputError
from verify.ir.symbolic import SymbolicValue

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Ranges:
    """Where parameters lie, low <= neutral <= high, and where they change nothing; (parameters,) of rationals."""

    low: np.ndarray
    high: np.ndarray
    neutral: np.ndarray

    @classmethod
    def about(cls, *reach: Fraction) -> Ranges:
        """[-r, r] about 0 for each of these."""
        high = np.array(reach, object)
        return cls(-high, high, 0 * high)


class Perturbation(ABC):
    """A map (image, parameters) -> image, continuous in both, that is the image itself at the neutral parameters.

    It is written with symbolic values, so that attacks, bounds and certificates see parameters as they see pixels. A
    perturbation is a frozen dataclass of the numbers that bound its parameters; with a `FrontEntry`, `--set` names it.
    """

    widens: ClassVar[bool] = True  # whether pixels may leave a range of valid inputs that holds 0, and are clipped

    @property
    def parts(self) -> tuple[Perturbation, ...]:
        """What is done one after the other."""
        return (self,)

    def __add__(self, other: Perturbation) -> Perturbation:
        """This perturbation, and then the other of what it made."""
        return Composition((*self.parts, *other.parts))

    @classmethod
    def read(cls, argument: str) -> Perturbation:
        """What `--set NAME:ARGUMENT` means. Raises InputError for an argument that is not understood."""
        raise InputError(f"the command line has no way to write the perturbation {cls.__name__}")

    @abstractmethod
    def times(self, eps: Fraction) -> Perturbation:
        """The same with its numbers times eps >= 0."""

    @abstractmethod
    def ranges(self, shape: Shape) -> Ranges:
        """Those of the parameters for images of this shape. Raises InputError for numbers or a shape that do not fit.
        """

    @abstractmethod
    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        """What becomes of an image, of its shape; theta (parameters,) in their ranges."""


@dataclass(frozen=True)
class Composition(Perturbation):
    """Perturbations one after the other, each with parameters of its own."""

    done: tuple[Perturbation, ...]

    @property
    def parts(self) -> tuple[Perturbation, ...]:
        return self.done

    def times(self, eps: Fraction) -> Composition:
        return Composition(tuple(part.times(eps) for part in self.done))

    def ranges(self, shape: Shape) -> Ranges:
        each = [part.ranges(shape) for part in self.done]
        ends = zip(*((r.low, r.high, r.neutral) for r in each), strict=True)
        return Ranges(*map(np.concatenate, ends))

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        start = 0
        for part in self.done:
            end = start + len(part.ranges(x.shape).low)
            x, start = part.perturb(x, theta[start:end]), end
        return x


def spread(theta: SymbolicValue, which: int, shape: Shape) -> SymbolicValue:
    """One parameter in every entry of a shape."""
    return theta[np.full(shape, which)]
