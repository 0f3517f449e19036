"""Upper bounds of a linear function of v = (1, w), w in [-1, 1]^n, under linear and quadratic constraints, by the dual
semidefinite program.

With S = diag(D) - sum_k m_k M_k symmetric, D_j >= 0 for j > 0, each v' M_k v at least 0 for its range of multipliers m
(or, for the objective, what is to be bounded),

    objective(v) <= v' (sum_k m_k M_k) v = sum_j D_j v_j^2 - v' S v <= sum_j D_j - v' S v,

which is sum_j D_j where S is positive semidefinite (Shor's relaxation, in its dual form; Raghunathan, Steinhardt and
Liang 2018b, section 4). `InteriorPoint` proposes D and m; the bound is rebuilt from them, and where S is not quite
positive semidefinite, it is made so by raising D.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from verify.solvers.interior_point import InteriorPoint

UNIT = 2.0**-53
ROUNDING = 2.0**-40  # of the sizes of all terms, for the rounding of coefficients and sums


@dataclass(frozen=True)
class Constraints:
    """What v = (1, w) is known to meet, w in [-1, 1]^(size - 1).

    Args:
        linear: (count, size) rows that are >= 0.
        left, right: (pairs, size) rows whose product is 0.
        norm: (coordinates, size) rows of Euclidean norm at most 1, or None.
        taxicab: (coordinates, size) rows whose absolute values sum to at most 1, or None.
    """

    linear: np.ndarray
    left: np.ndarray
    right: np.ndarray
    norm: np.ndarray | None = None
    taxicab: np.ndarray | None = None


class Semidefinite:
    """The maximum over v of the least of some rows, bounded above through the dual program.

    The multipliers stand in the order D, linear rows, weights of all rows of the objective but the last, pairs, t and a
    for the function t - a . taxicab(v) >= 0 with t >= max |a|, and norm.

    Args:
        rows: (members, size), at least one.
        constraints: what v meets.
    """

    def __init__(self, rows: np.ndarray, constraints: Constraints):
        c, size = constraints, rows.shape[1]
        self._scale = max(float(np.abs(rows).max()), 1e-300)
        rows = rows / self._scale
        self._size, self._linear, self._weights = size, len(c.linear), len(rows) - 1
        taxicab = np.zeros((0, size)) if c.taxicab is None else c.taxicab
        self._taxicab = len(taxicab)
        one, pairs = np.eye(1, size), (_scaled(c.left), _scaled(c.right))
        plain = [-_scaled(c.linear), rows[-1] - rows[:-1]]
        tail = [-one, taxicab] if self._taxicab else []  # without a there is no t either
        right = np.concatenate([np.eye(size), *plain, pairs[1], *tail])
        left = np.repeat(one, len(right), 0)
        left[:size] = np.eye(size)
        start = size + sum(map(len, plain))
        self._free = slice(start, start + len(c.left))
        left[self._free] = pairs[0]
        dense = np.zeros((0, size, size)) if c.norm is None else (c.norm.T @ c.norm - one.T @ one)[None]
        base = -(one.T @ rows[-1:] + rows[-1:].T @ one) / 2
        self._program = InteriorPoint(base, left, right, dense, *self._sides(len(right), len(dense)))

    def _sides(self, factors: int, others: int) -> tuple[sp.csr_matrix, np.ndarray]:
        """Rows and sides that keep the multipliers in their ranges: most are >= 0 by themselves."""
        total = factors + others
        alone = [*range(1, self._free.start), *range(factors, total)]
        rows = [sp.csr_matrix((np.ones(len(alone)), (np.arange(len(alone)), alone)), (len(alone), total))]
        sides = [np.zeros(len(alone))]
        if self._weights:
            last = np.zeros((1, total))
            last[0, self._free.start - self._weights : self._free.start] = -1
            rows.append(sp.csr_matrix(last))
            sides.append(np.ones(1))
        if self._taxicab:
            n, t = self._taxicab, self._free.stop
            both = sp.vstack([sp.identity(n), -sp.identity(n)])
            parts = [sp.csr_matrix((2 * n, t)), np.ones((2 * n, 1)), both, sp.csr_matrix((2 * n, others))]
            rows.append(sp.csr_matrix(sp.hstack(parts)))
            sides.append(np.zeros(2 * n))
        return sp.csr_matrix(sp.vstack(rows)), np.concatenate(sides)

    def upper(self, gap: float) -> tuple[float, np.ndarray]:
        """(upper bound, proposed v (size,)); the gap of the interior point method is relative to the rows' largest
        coefficient.

        Sound whatever the interior point method answers, see `rebuilt`; trusts float64 rounding.
        """
        cost = np.zeros(len(self._program.left) + len(self._program.dense))
        cost[: self._size] = 1
        found, moments = self._program.minimise(cost, self._start(len(cost)), gap)
        with np.errstate(all="ignore"):
            point = np.clip(np.nan_to_num(moments[0] / moments[0, 0]), -1, 1)
        point[0] = 1
        return self.rebuilt(found), point

    def _start(self, total: int) -> np.ndarray:
        """A strictly feasible point: small multipliers, and D above the row sums of the rest."""
        y = np.zeros(total)
        y[self._size : self._free.start] = 0.01
        y[self._free.start - self._weights : self._free.start] = 1 / (self._weights + 1)
        if self._taxicab:
            y[self._free.stop] = 0.1
        y[len(self._program.left) :] = 0.1
        y[: self._size] = 1 + np.abs(self._program.matrix(y)).sum(1)
        return y

    def rebuilt(self, proposed: np.ndarray) -> float:
        """The bound that any multipliers give, in the order of the class.

        Sound because they are moved into their ranges, D is raised by as much as makes S positive semidefinite (with
        16 n u ||S|| for the error of an eigenvalue, far above LAPACK's for symmetric matrices), and the rounding of the
        terms is added; trusts float64 rounding.
        """
        n, program, stop = self._size, self._program, self._free.stop
        y = np.where(np.isfinite(proposed), proposed, 0.0)
        alone = np.r_[1 : self._free.start, len(program.left) : len(y)]
        y[alone] = np.maximum(y[alone], 0)
        weights = y[self._free.start - self._weights : self._free.start]
        weights /= max(1.0, float(weights.sum()) * (1 + 2 * UNIT * len(weights)))
        if self._taxicab:
            y[stop] = np.abs(y[stop + 1 : stop + 1 + self._taxicab]).max()
        sizes = np.abs(program.left).sum(1) * np.abs(program.right).sum(1)
        sizes = np.concatenate([sizes, np.abs(program.dense).sum((1, 2))])
        rounding = ROUNDING * float(np.abs(y) @ sizes + np.abs(program.base).sum())
        if not np.isfinite(rounding):
            return np.inf
        bound = (float(y[:n].sum()) + _raise(program.matrix(y)) + rounding) * self._scale
        return float(np.nextafter(bound, np.inf))


def _scaled(rows: np.ndarray) -> np.ndarray:
    largest = np.abs(rows).max(1, initial=0, keepdims=True)
    return rows / np.where(largest > 0, largest, 1)


def _raise(s: np.ndarray) -> float:
    """What it costs to raise D until S is positive semidefinite: by one number everywhere, or by the row sums of |N|, N
    the negative part of S, since diag(row sums) - N is diagonally dominant; what that leaves is rounding."""
    values, vectors = np.linalg.eigh(s)
    negative = vectors[:, values < 0]
    sums = np.abs((negative * -values[values < 0]) @ negative.T).sum(1)
    return min(_shift(s), float(sums.sum()) + _shift(s + np.diag(sums)))


def _shift(s: np.ndarray) -> float:
    """What it costs to add one number to every D_j until S is positive semidefinite."""
    slack = 16 * len(s) * UNIT * float(np.linalg.norm(s))
    short = slack - float(np.linalg.eigvalsh(s)[0])
    return len(s) * max(0.0, short) if np.isfinite(short) else np.inf  # a NaN must not count as 0
