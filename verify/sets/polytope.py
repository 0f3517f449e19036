"""Polytopes: a box cut by linear inequalities over the inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from verify.errors import InputError
from verify.rationals import exact_array
from verify.sets.base import InputSet
from verify.sets.box import Box

PROJECTION_SWEEPS = 200


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
        size = self.box.low[0].numel()
        if self.rows.shape != (self.box.batch, self.bounds.shape[1], size):
            raise InputError(f"a polytope has rows of shape {self.rows.shape}; expected ({self.box.batch}, n, {size})")
        object.__setattr__(self, "low", self.box.low)
        object.__setattr__(self, "high", self.box.high)

    def support(self, a: Tensor) -> Tensor:
        """max of a . x, one LP for each row of a; (batch, rows, *shape) -> (batch, rows).

        Sound because for any multipliers m >= 0 of the rows, a . x <= m . bounds + max over the box of (a - m A) . x;
        the LP only proposes m; trusts float64 rounding.
        """
        flat = a.detach().flatten(2).cpu().double()
        values = torch.empty(flat.shape[:2], dtype=torch.float64)
        for case in range(self.batch):
            rows, bounds = (torch.from_numpy(v) for v in self.linear_rows(case))
            low, high = self.low[case].flatten().cpu().double(), self.high[case].flatten().cpu().double()
            center, radius = (low + high) / 2, (high - low) / 2
            for r, objective in enumerate(flat[case]):
                multipliers = self._solve(case, objective.numpy())[1]
                rest = objective - multipliers @ rows
                values[case, r] = multipliers @ bounds + rest @ center + rest.abs() @ radius
        return values.to(a)

    def maximiser(self, a: Tensor) -> Tensor:
        points = [self._solve(case, row.numpy())[0] for case, row in enumerate(a.detach().flatten(1).cpu().double())]
        return self.project(torch.stack(points).to(a).reshape(a.shape))

    def project(self, x: Tensor) -> Tensor:
        """Dykstra's alternating projections (Boyle and Dykstra 1986) over the halfspaces and the box."""
        out = []
        for case, point in enumerate(x.detach().flatten(1).cpu().double()):
            rows, bounds = (torch.from_numpy(v) for v in self.linear_rows(case))
            low, high = self.low[case].flatten().cpu().double(), self.high[case].flatten().cpu().double()
            # aim slightly inside, so that rounding to float does not leave the set
            bounds = bounds - 1e-7 * (1 + bounds.abs())
            corrections = torch.zeros(len(bounds) + 1, point.numel(), dtype=torch.float64)
            for _ in range(PROJECTION_SWEEPS):
                for k, (row, bound) in enumerate(zip(rows, bounds, strict=True)):
                    moved = point + corrections[k]
                    excess = (row @ moved - bound).clamp(min=0) / row.square().sum().clamp(min=1e-300)
                    point = moved - excess * row
                    corrections[k] = moved - point
                moved = point + corrections[-1]
                point = moved.clamp(low, high)
                corrections[-1] = moved - point
                if bool((rows @ point <= bounds + 1e-9).all()):
                    break
            out.append(point)
        return self.box.project(torch.stack(out).to(x).reshape(x.shape))

    def contains(self, x: Tensor) -> Tensor:
        inside = self.box.contains(x)
        for case, point in enumerate(exact_array(x.flatten(1))):
            for row, bound in zip(self.rows[case], self.bounds[case], strict=True):
                value = sum((r * p for r, p in zip(row, point, strict=True) if r), Fraction(0))
                inside[case] &= value <= bound
        return inside

    def select(self, index: Tensor) -> Polytope:
        picked = index.cpu().numpy()
        return Polytope(self.box.select(index), self.rows[picked], self.bounds[picked])

    def to(self, device: torch.device | str) -> Polytope:
        return Polytope(self.box.to(device), self.rows, self.bounds)

    def linear_rows(self, case: int) -> tuple[np.ndarray, np.ndarray]:
        return self.rows[case].astype(np.float64), self.bounds[case].astype(np.float64)

    def _solve(self, case: int, objective: np.ndarray) -> tuple[Tensor, Tensor]:
        """(maximiser, multipliers >= 0) proposed by HiGHS; an empty polytope keeps the box center and zeros."""
        from scipy.optimize import linprog

        rows, bounds = self.linear_rows(case)
        low, high = self.low[case].flatten().cpu().double(), self.high[case].flatten().cpu().double()
        answer = linprog(-objective, A_ub=rows, b_ub=bounds, bounds=np.stack([low, high], 1), method="highs")
        if answer.status != 0:
            return (low + high) / 2, torch.zeros(len(bounds), dtype=torch.float64)
        return torch.from_numpy(answer.x), torch.from_numpy(-answer.ineqlin.marginals).clamp(min=0)
