"""What balls, attacks and solvers ask of a norm.

Vectors are flattened inputs, on the last axis of a tensor. Norms are absolute: ||d|| depends on the |d_i| alone and
does not fall as one of them grows. `down` <= 0 <= `up` is the range that the clip leaves to each coordinate.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from verify.registry import registered

ONE = np.array([Fraction(1)], dtype=object)
ROUNDS = 6  # of the growth of a radius
NEAR = 32  # roundings by which what is reached may miss what is wanted


class Norm(ABC):
    """A norm, without state; equal to every other value of its class.

    Args:
        counts: whether it counts what changes, however far it does: no norm in the strict sense, since ||2d|| = ||d||.
            Its balls are not convex, need a clip, and are told exactly in floats.
        stable: p where the dual norm is the L_p norm of coefficients, times the half-widths of a box where balls are
            boxes: p-stable random vectors then estimate it (1 Cauchy, 2 Gaussian).
    """

    counts: ClassVar[bool] = False
    stable: ClassVar[int | None] = None

    @property
    def name(self) -> str:
        """Its name on the command line, or that of its class where it has no entry."""
        entry = registered(self)
        return type(self).__name__ if entry is None else entry.name

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return self.name

    @abstractmethod
    def measure(self, d: Tensor) -> Tensor:
        """||d||, (..., size) -> (...), with a relative error of at most size + 8 roundings; NaN where d has one."""

    @abstractmethod
    def dual(self, a: Tensor) -> Tensor:
        """The dual norm, max of a . d over ||d|| <= 1; (..., size) -> (...)."""

    @abstractmethod
    def holds(self, d: Sequence[Fraction], eps: Fraction) -> bool:
        """Whether ||d|| <= eps, exactly; d the |d_i|."""

    @abstractmethod
    def distance(self, d: Sequence[Fraction]) -> float:
        """||d|| rounded up; d the |d_i|."""

    @abstractmethod
    def of_ones(self, size: int) -> Fraction | int:
        """||(1, ..., 1)||, rounded up."""

    def across(self, width: Fraction, size: int) -> Fraction:
        """A radius whose balls reach all of a clip of this width from every point of it."""
        return width * self.of_ones(size)

    def radius(self, eps: Fraction) -> Fraction:
        """The least radius with the same balls: by default eps itself."""
        return eps

    @abstractmethod
    def shortest(self, a: Tensor, wanted: Tensor, down: Tensor, up: Tensor) -> Tensor:
        """The d of the range of least norm with a . d = wanted >= 0, up to rounding; the farthest that leads there
        where none does. a (..., size), wanted (..., 1) -> (..., size)."""

    def reach(self, size: int) -> np.ndarray:
        """max of d_i over ||d|| <= 1, rationals (size,), or (1,) where it is the same for all; by default 1."""
        return ONE


class BoxNorm(Norm):
    """A norm whose balls are boxes: the largest |d_i| / reach_i."""

    stable: ClassVar[int | None] = 1

    @abstractmethod
    def reach(self, size: int) -> np.ndarray: ...

    def measure(self, d: Tensor) -> Tensor:
        return torch.linalg.vector_norm(d / self._floats(d), torch.inf, dim=-1)

    def dual(self, a: Tensor) -> Tensor:
        return (a.abs() * self._floats(a)).sum(-1)

    def shortest(self, a: Tensor, wanted: Tensor, down: Tensor, up: Tensor) -> Tensor:
        return along(a, self._floats(a), wanted, down, up)

    def holds(self, d: Sequence[Fraction], eps: Fraction) -> bool:
        return max(self._shares(d), default=Fraction(0)) <= eps

    def distance(self, d: Sequence[Fraction]) -> float:
        return above(max(self._shares(d), default=Fraction(0)))

    def of_ones(self, size: int) -> Fraction | int:
        return max(1 / Fraction(r) for r in self.reach(size).tolist())

    def _shares(self, d: Sequence[Fraction]) -> list[Fraction]:
        return (np.array(d, dtype=object) / self.reach(len(d))).tolist()

    def _floats(self, like: Tensor) -> Tensor:
        return torch.from_numpy(self.reach(like.shape[-1]).astype(np.float64)).to(like)


class RoundNorm(Norm):
    """A norm whose balls are no boxes: linear functions and projections are its own.

    Args:
        euclidean, taxicab: whether ||d||_2, ||d||_1 <= ||d||, which is what a semidefinite program sees of a ball.
    """

    euclidean: ClassVar[bool] = False
    taxicab: ClassVar[bool] = False

    @abstractmethod
    def support(self, a: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        """max of a . d over ||d|| <= eps and the range, or an upper bound on it; (..., size) -> (...)."""

    @abstractmethod
    def maximiser(self, a: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        """A d of the ball and the range that (nearly) maximises a . d, up to rounding; (..., size) -> same."""

    @abstractmethod
    def nearest(self, d: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        """The point of the ball and the range nearest to d in the Euclidean norm, up to rounding; (..., size) -> same.
        """

    def closest(self, d: Tensor, down: Tensor, up: Tensor, radius: Tensor) -> Tensor:
        """`nearest` within a radius > 0 for each, (..., 1)."""
        return radius * self.nearest(d / radius, down / radius, up / radius, 1.0)

    @abstractmethod
    def within(self, d: Any, down: np.ndarray, up: np.ndarray, eps: float) -> Any:
        """A CVXPY inequality of a CVXPY vector d that holds in the ball of this radius and the range."""

    def shortest(self, a: Tensor, wanted: Tensor, down: Tensor, up: Tensor) -> Tensor:
        """By default from maximisers: the gain that a radius allows is concave in it, so that radii times the share
        that is missing rise to the least one that is enough."""
        tiny = torch.finfo(a.dtype).tiny
        most = self.measure(torch.maximum(-down, up))[..., None].clamp(min=tiny)
        radius = (wanted / self.dual(a)[..., None].clamp(min=tiny)).clamp(min=tiny).minimum(most)
        d = radius * self.maximiser(a, down / radius, up / radius, 1.0)
        for _ in range(ROUNDS):
            gain = (a * d).sum(-1, keepdim=True).clamp(min=tiny)
            radius = (radius * (wanted / gain).clamp(min=1)).minimum(most)
            d = radius * self.maximiser(a, down / radius, up / radius, 1.0)
        return d

    def steepest(self, a: Tensor) -> Tensor | None:
        """A d with ||d|| <= 1 along which a . d grows fast, (..., size) -> same; None, as by default, where steps
        toward the maximiser over ball and clip find more (Frank and Wolfe 1956; Jaggi 2013)."""
        return None


def clamp(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """x moved into [low, high], which may broadcast; high wins where they cross."""
    return torch.clamp(x, low, high)


def along(a: Tensor, weight: Tensor, wanted: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """sign(a) min(t weight, range) for the least t at which a . d is what is wanted, else as far as the range goes; a,
    weight, down, up (..., size), wanted (..., 1).

    What is reached is concave and piecewise linear in t: Newton's method rises from t = 0 to the least t.
    """
    largest = a.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(a.dtype).tiny)
    steep, capacity, wanted = a.abs() / largest, torch.where(a >= 0, up, -down), wanted / largest
    gain, full = steep * weight, steep * capacity
    t, near = torch.zeros_like(largest), NEAR * torch.finfo(a.dtype).eps * wanted
    for _ in range(a.shape[-1] + 1):
        reached = t * gain
        free = (gain * (reached < full)).sum(-1, keepdim=True)
        missing = wanted - torch.minimum(reached, full).sum(-1, keepdim=True)
        if not bool((missing > near).any()):
            break
        t = torch.where(missing > near, torch.where(free > 0, t + missing / free, torch.inf), t)
        near = torch.where(free > 0, near, torch.inf)  # there is no more
    return torch.where(gain > 0, a.sign() * torch.minimum(t * weight, capacity), 0)


def above(exact: Fraction) -> float:
    """A rational rounded up to a float64."""
    near = float(exact)
    return near if Fraction(near) >= exact else math.nextafter(near, math.inf)


def above_root(square: Fraction) -> float:
    """The square root of a rational, rounded up to a float64."""
    root = math.sqrt(float(square))
    while Fraction(root) ** 2 < square:
        root = math.nextafter(root, math.inf)
    return root
