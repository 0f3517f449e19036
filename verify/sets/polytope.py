"""Polytopes: a box cut by linear inequalities over the inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verify.errors import InputError
from verify.rationals import round_up
from verify.registry import SetEntry
from verify.sets.base import InputSet
from verify.sets.box import Box
from verify.sets.halfspaces import Halfspaces
from verify.sets.samples import Samples, arrays_of

PROJECTION_SWEEPS = 200
SETTLED = 1e-9  # a sweep that moves the point by no more than this, relative to 1 + |x|, is the last


@SetEntry(name="polytope", place=30, help="polytope:FILE.npz (rows, bounds, low, high)")
@dataclass(frozen=True, eq=False)
class Polytope(InputSet):
    """{x in box : rows[b] x <= bounds[b]} for each case b, x flattened.

    Args:
        box: the hull, batch of boxes.
        rows: object array of rationals (batch, count, size).
        bounds: object array of rationals (batch, count).
    """

    box: Box
    rows: np.ndarray
    bounds: np.ndarray
    low: Tensor = field(init=False)
    high: Tensor = field(init=False)

    def __post_init__(self) -> None:
        size = self.box.low[0].numel() if self.box.batch else self.rows.shape[-1]
        if self.bounds.ndim != 2 or self.rows.shape != (self.box.batch, self.bounds.shape[1], size):
            raise InputError(f"a polytope has rows of shape {self.rows.shape}; expected ({self.box.batch}, n, {size})")
        object.__setattr__(self, "low", self.box.low)
        object.__setattr__(self, "high", self.box.high)

    @classmethod
    def around(cls, argument: str, samples: Samples) -> Polytope:
        """Changes d of the flattened sample with rows d <= bounds and low <= d <= high, times eps, from a file."""
        rows, bounds, low, high = arrays_of(argument, "rows", "bounds", "low", "high")
        center = samples.exact.reshape(len(samples.x), -1)
        if rows.ndim != 2 or bounds.shape != rows.shape[:1] or rows.shape[1] != center.shape[1]:
            raise InputError(f"rows and bounds of {argument} have shapes {rows.shape} and {bounds.shape}; expected "
                             f"(n, {center.shape[1]}) and (n,)")
        sides = center @ rows.T + samples.eps * bounds
        return cls(Box.moved(low, high, samples), np.broadcast_to(rows, (len(center), *rows.shape)), sides)

    def support(self, a: Tensor) -> Tensor:
        """max of a . x, one LP for each row of a; (batch, rows, *shape) -> (batch, rows).

        Sound because for any multipliers m >= 0 of the rows, a . x <= m . bounds + max over the box of (a - m A) . x;
        the LP only proposes m; trusts float64 rounding.
        """
        flat = a.detach().flatten(2).cpu().double()
        values = torch.empty(flat.shape[:2], dtype=torch.float64)
        for case in range(self.batch):
            pieces = self._halfspaces(case)
            for r, objective in enumerate(flat[case].numpy()):
                values[case, r] = pieces.upper(objective, pieces.propose(objective)[1])
        return values.to(a)

    def maximiser(self, a: Tensor) -> Tensor:
        flat = a.detach().flatten(1).cpu().double().numpy()
        points = np.stack([self._halfspaces(case).propose(row)[0] for case, row in enumerate(flat)])
        return self._rounded_inside(torch.from_numpy(points), a)

    def project(self, x: Tensor) -> Tensor:
        """Dykstra's alternating projections (Boyle and Dykstra 1986) over the halfspaces and the box.

        They aim slightly inside; what is still outside after the last sweep is pulled toward an inner point. Rows that
        are nearly parallel converge slowly: there the answer is a member, but need not be the nearest one.
        """
        start = x.detach().flatten(1).cpu().double()
        near = self._rounded_inside(self._dykstra(start), x)
        rows, bounds, error, _ = self._floats
        member = start.clamp(*self._hull)  # what a float beyond an end that rounds to it stands for
        fits = ((rows @ member[..., None]).squeeze(2) <= bounds - error).all(1).to(x.device)
        fits &= (self.box.project(x) == x).flatten(1).all(1)
        return torch.where(fits.reshape(-1, *[1] * (x.dim() - 1)), x, near)

    @property
    def facts(self) -> tuple[Any, ...]:
        return self._floats[:2]

    def contains(self, x: Tensor) -> Tensor:
        inside = self.box.contains(x)
        chosen = inside.nonzero().flatten()
        points = self.box.select(chosen).preimage(x[chosen])
        for case, point in zip(chosen.tolist(), points.reshape(len(chosen), math.prod(self.shape)), strict=True):
            for row, bound in zip(self.rows[case], self.bounds[case], strict=True):
                value = sum((r * p for r, p in zip(row, point, strict=True) if r), Fraction(0))
                inside[case] &= value <= bound
        return inside

    def origins(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.box.origins(x)

    def select(self, index: Tensor) -> Polytope:
        picked = index.cpu().numpy()
        return Polytope(self.box.select(index), self.rows[picked], self.bounds[picked])

    def to(self, device: torch.device | str) -> Polytope:
        return Polytope(self.box.to(device), self.rows, self.bounds)

    def double(self) -> Polytope:
        return Polytope(self.box.double(), self.rows, self.bounds)

    def linear_rows(self, case: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows rounded to float64, their bounds raised by what that may change over the box and rounded up."""
        exact, bounds = self.rows[case], self.bounds[case].copy()
        rows = exact.astype(np.float64)
        largest = torch.maximum(self.low[case].abs(), self.high[case].abs()).flatten().tolist()
        for r, i in zip(*exact.nonzero(), strict=True):
            error = abs(exact[r, i] - Fraction(float(rows[r, i])))
            if error:
                bounds[r] += error * Fraction(largest[i])
        return rows, round_up(bounds, torch.float64).numpy()

    @cached_property
    def _hull(self) -> tuple[Tensor, Tensor]:
        """The ends of the box in float64, (batch, size) each."""
        wide = self.box.double()
        return wide.low.flatten(1).cpu(), wide.high.flatten(1).cpu()

    @cached_property
    def _floats(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """rows (batch, count, size) and bounds (batch, count) in float64; the error of a row's value there, and the
        distance at which to keep a point that is yet to be rounded to floats, (batch, count)."""
        rows, bounds = (torch.from_numpy(v.astype(np.float64)) for v in (self.rows, self.bounds))
        largest = torch.maximum(self.low.abs(), self.high.abs()).flatten(1).cpu().double()
        scale = (rows.abs() @ largest[..., None]).squeeze(2) + bounds.abs()
        error = (rows.shape[2] + 8) * torch.finfo(torch.float64).eps * scale
        return rows, bounds, error, 4 * torch.finfo(self.low.dtype).eps * scale + 8 * error

    def _dykstra(self, point: Tensor) -> Tensor:
        rows, bounds, _, reserve = self._floats
        low, high = (end.flatten(1).cpu().double() for end in self.box.inner)
        squares = rows.square().sum(2).clamp(min=torch.finfo(torch.float64).tiny)
        corrections = point.new_zeros((rows.shape[1] + 1, *point.shape))
        for _ in range(PROJECTION_SWEEPS):
            before = point
            for k in range(rows.shape[1]):
                moved = point + corrections[k]
                excess = (rows[:, k] * moved).sum(1) - bounds[:, k] + reserve[:, k]
                point = moved - (excess.clamp(min=0) / squares[:, k])[:, None] * rows[:, k]
                corrections[k] = moved - point
            moved = point + corrections[-1]
            point = moved.clamp(low, high)
            corrections[-1] = moved - point
            settled = (point - before).abs() <= SETTLED * (1 + point.abs())
            if bool(settled.all()) and bool(((rows @ point[..., None]).squeeze(2) <= bounds - reserve / 2).all()):
                break
        return point

    def _rounded_inside(self, point: Tensor, like: Tensor) -> Tensor:
        """The first point on the way to the inner point that meets the rows, as floats of the shape and type of `like`.
        """
        rows, bounds, _, reserve = self._floats
        here, there = (rows @ point[..., None]).squeeze(2), (rows @ self._inner_point[..., None]).squeeze(2)
        excess = (here - bounds + reserve / 2).clamp(min=0)
        share = torch.where(excess > 0, excess / (here - there).clamp(min=torch.finfo(torch.float64).tiny), 0)
        share = share.clamp(max=1).amax(1, keepdim=True) if share.shape[1] else torch.zeros_like(point[:, :1])
        point = point + share * (self._inner_point - point)
        return self.box.project(point.to(like).reshape(like.shape))

    @cached_property
    def _inner_point(self) -> Tensor:
        """A point of each box that keeps the largest distance to the rows, (batch, size) float64."""
        from scipy.optimize import linprog

        points = []
        for case in range(self.batch):
            rows, bounds = self.linear_rows(case)
            ends = np.stack([end[case].flatten().cpu().double().numpy() for end in self.box.inner], 1)
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            objective = np.append(np.zeros(rows.shape[1]), -1.0)
            limits = [*ends.tolist(), (None, 1.0)]
            answer = linprog(objective, A_ub=np.hstack([rows, norms]), b_ub=bounds, bounds=limits, method="highs")
            points.append(ends.mean(1) if answer.x is None else answer.x[:-1])
        return torch.from_numpy(np.stack(points))

    def _halfspaces(self, case: int) -> Halfspaces:
        low, high = (end[case].flatten().cpu().double().numpy() for end in (self.low, self.high))
        return Halfspaces(low, high, *self.linear_rows(case))
