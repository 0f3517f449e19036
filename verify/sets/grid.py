"""Grids: of a box, the points whose coordinates are whole multiples of one step, such as the images of 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verify.errors import InputError
from verify.rationals import exact_array
from verify.sets.ball import Ball
from verify.sets.base import InputSet, SplitEnds, box_support
from verify.sets.box import Box
from verify.sets.levels import levels_at, levels_of, value_of
from verify.sets.norms import Norm

FARTHEST = 1 << 24  # steps from 0, so that float32 holds each of them


class Grid(InputSet):
    """{k / levels : k whole, least <= k <= most}, least, most (batch, *shape) whole numbers in float64.

    X_R are the rationals k / levels. What is executed, X_F, are these rounded to float: what dividing whole numbers by
    `levels` in float gives, as loaders divide the bytes of an image by 255. Its convex hull is a box whose ends are
    members, so linear functions are maximal at members, and bounds over that box are bounds over the grid.
    """

    def __init__(self, least: Tensor, most: Tensor, levels: int, center: Tensor | None = None,
                 dtype: torch.dtype = torch.float32, norm: Norm | None = None):
        """center: whole numbers, of the point that is surrounded, or None for the middle; norm: of the ball that it
        is, or None. Raises InputError for sets without a point, and for ends that are not whole or too far from 0."""
        self._levels, self.least, self.most, self.dtype, self.norm = levels_of(levels), least, most, dtype, norm
        self.center = ((least + most) / 2).round() if center is None else center
        bad = ~(least <= most)  # NaN too
        if bool(bad.any()):
            raise InputError(f"a set holds no point of the grid of 1/{levels} at position {bad.nonzero()[0].tolist()}; "
                             "widen it, or leave the grid out")
        if not (torch.equal(least, least.round()) and torch.equal(most, most.round())):
            raise InputError("the ends of a grid must be whole numbers of levels; see Grid.within for a box")
        if bool((torch.maximum(least.abs(), most.abs()) > FARTHEST).any()):
            raise InputError(f"a set reaches beyond {FARTHEST / levels:g}, where float32 no longer tells the levels of "
                             f"a grid of 1/{levels} apart; take inputs of the range [0, 1], or leave the grid out")
        self._set_hull()

    def _set_hull(self) -> None:
        self.low, self.high = self._below(self.least, self.dtype), self._below(-self.most, self.dtype).neg()

    def _below(self, whole: Tensor, dtype: torch.dtype) -> Tensor:
        """whole / levels rounded down: it is a float only where what is odd in `levels` divides `whole`."""
        near = self.value(whole, dtype)
        odd = self.levels // (self.levels & -self.levels)
        return torch.where(whole % odd == 0, near, torch.nextafter(near, torch.full_like(near, -torch.inf)))

    @classmethod
    def within(cls, inputs: InputSet, levels: int) -> Grid:
        """The points of the grid in sets that are boxes.

        The center of a ball is the image that it stands for: a sample must be one of the grid up to rounding, and the
        radius counts from there. The ends of another box are taken as they are, in rationals. Raises InputError for
        sets that are no boxes, for samples between the levels, and where a set holds no point of the grid.
        """
        levels = levels_of(levels)
        if isinstance(inputs, Ball) and inputs.is_box:
            return cls._in_ball(inputs, levels)
        if not inputs.is_box:
            kind = f"{inputs.norm} balls" if isinstance(inputs, Ball) else f"a {type(inputs).__name__}"
            raise InputError(f"a grid is of boxes, such as Linf balls, and not of {kind}; leave the grid out")
        low, high = inputs.exact_box()
        least, most = (torch.from_numpy(whole.astype(np.float64)).to(inputs.low.device)
                       for whole in (-((-low * levels) // 1), (high * levels) // 1))
        return cls(least, most, levels, dtype=inputs.low.dtype)

    @classmethod
    def _in_ball(cls, ball: Ball, levels: int) -> Grid:
        center, steps = levels_at(ball.center, levels), ball.steps(levels)
        least, most = center - steps, center + steps
        if ball.clip is not None:
            low, high = ball.clip
            least, most = least.clamp(min=float(-(-low * levels // 1))), most.clamp(max=float(high * levels // 1))
        return cls(least, most, levels, center, ball.center.dtype, ball.norm)

    @property
    def levels(self) -> int:
        return self._levels

    @property
    def is_box(self) -> bool:
        return True

    @property
    def facts(self) -> tuple[Any, ...]:
        return (self.levels,)

    @property
    def continuous(self) -> Box:
        return Box(self.low, self.high)

    def value(self, whole: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """whole / levels in float, one correct rounding."""
        return value_of(whole, self.levels, self.dtype if dtype is None else dtype)

    def support(self, a: Tensor) -> Tensor:
        """Sound because a linear function on a box is maximal at a corner; trusts float rounding."""
        return box_support(self.low, self.high, a)

    def maximiser(self, a: Tensor) -> Tensor:
        middle = self.center.maximum(self.least).minimum(self.most)
        return self.value(torch.where(a > 0, self.most, torch.where(a < 0, self.least, middle)))

    def project(self, x: Tensor) -> Tensor:
        whole = (x.double() * self.levels).round()
        return self.value(whole.maximum(self.least).minimum(self.most), x.dtype)

    def settled(self, x: Tensor) -> Tensor:
        return self.project(x)

    def contains(self, x: Tensor) -> Tensor:
        whole = (x.double() * self.levels).round()
        inside = (self.value(whole, x.dtype) == x) & (whole >= self.least) & (whole <= self.most)
        return inside.flatten(1).all(1)

    def inward(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        # rounding keeps the order and whole numbers, so a product never jumps over the level at its end
        least, most = (low * self.levels).ceil(), (high * self.levels).floor()
        return self._below(least, low.dtype), self._below(-most, low.dtype).neg()

    def halved(self, low: Tensor, high: Tensor) -> SplitEnds:
        whole = ((low + high) / 2 * self.levels).floor()
        ends = self._below(-whole, low.dtype).neg(), self._below(whole + 1, low.dtype)
        return SplitEnds(ends[0], (whole + 0.5) / self.levels, ends[1])

    def nominal(self) -> Tensor:
        return self.value(self.center.maximum(self.least).minimum(self.most))

    def distance(self, x: Tensor) -> Tensor | None:
        return None if self.norm is None else self.norm.measure((x.double() - self.nominal().double()).flatten(1))

    def preimage(self, x: Tensor) -> np.ndarray:
        whole = exact_array((x.double() * self.levels).round())
        return whole / Fraction(self.levels)

    def origins(self, x: Tensor) -> tuple[Tensor, Tensor]:
        exact = self.value((x.double() * self.levels).round(), torch.float64)
        down, up = (torch.full_like(exact, end) for end in (-torch.inf, torch.inf))
        return torch.nextafter(exact, down), torch.nextafter(exact, up)

    def exact_box(self) -> tuple[np.ndarray, np.ndarray]:
        low, high = (exact_array(end) / Fraction(self.levels) for end in (self.least, self.most))
        return low, high

    def linear_rows(self, case: int) -> tuple[np.ndarray, np.ndarray]:
        size = self.low[0].numel()
        return np.zeros((0, size)), np.zeros(0)

    def record(self) -> dict[str, Any]:
        return {**super().record(), "levels": self.levels}

    def select(self, index: Tensor) -> Grid:
        return self._with(lambda t: t[index], self.dtype)

    def to(self, device: torch.device | str) -> Grid:
        return self._with(lambda t: t.to(device), self.dtype)

    def double(self) -> Grid:
        return self._with(lambda t: t, torch.float64)

    def _with(self, change: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Grid:
        out = object.__new__(Grid)
        out._levels, out.dtype, out.norm = self.levels, dtype, self.norm
        out.least, out.most, out.center = change(self.least), change(self.most), change(self.center)
        out._set_hull()
        return out


def on_grid(inputs: InputSet, levels: int | None) -> InputSet:
    """The sets, or their points of a grid if there is one."""
    return inputs if levels is None else Grid.within(inputs, levels)
