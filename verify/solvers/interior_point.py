"""An interior point method for linear matrix inequalities whose matrices are mostly products of two rows.

It walks through feasible points only, so that whatever it has when its time ends is feasible, and a step costs no more
than some products of matrices of the order of the multipliers. General solvers know neither: on the programs of
`verify.solvers.semidefinite` SCS takes thousands of steps to a point that is nearly feasible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from verify.deadline import deadline

STEPS = 80  # at most; twenty to forty are usual
KEPT = 0.95  # share of the way to the boundary


class State(NamedTuple):
    """Multipliers y, the inequalities' values s = (matrix, slack), and the primal x = (moments, weights)."""

    y: np.ndarray
    matrix: np.ndarray
    slack: np.ndarray
    moments: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class InteriorPoint:
    """minimise cost . y subject to S(y) = base + sum_k y_k M_k positive definite and rows y + sides > 0.

    M_k is the symmetric part of left_k right_k' for the first multipliers, then one of `dense`.

    Args:
        base: (n, n) symmetric.
        left, right: (factors, n).
        dense: (others, n, n) symmetric.
        rows, sides: (count, factors + others) sparse, (count,).
    """

    base: np.ndarray
    left: np.ndarray
    right: np.ndarray
    dense: np.ndarray
    rows: sp.csr_matrix
    sides: np.ndarray

    def matrix(self, y: np.ndarray) -> np.ndarray:
        """S(y), (n, n)."""
        return self.base + self._combined(y)

    def minimise(self, cost: np.ndarray, start: np.ndarray, gap: float) -> tuple[np.ndarray, np.ndarray]:
        """(y, moments (n, n)) by the predictor-corrector method in the direction of Helmberg, Rendl, Vanderbei and
        Wolkowicz (1996), until the gap is reached, no step helps or time is over; `start` has to be feasible.

        The moments are the primal matrix.
        """
        n, slack = len(self.base), self.rows @ start + self.sides
        state = State(start, self.matrix(start), slack, np.eye(n), np.ones(len(slack)))
        for _ in range(STEPS):
            if _distance(state) <= gap or deadline().is_over:
                break
            moved = self._step(state, cost)
            if moved is None:
                break
            state = moved
        return state.y, state.moments

    def _step(self, at: State, cost: np.ndarray) -> State | None:
        """One step from a state, None where numbers end."""
        try:
            inverse = scipy.linalg.inv(at.matrix, check_finite=False)
            factor = _factor(self._schur(at, inverse))
        except np.linalg.LinAlgError:
            return None
        first = self._direction(at, cost, inverse, factor, 0.0, None)
        after = _moved(at, first, *_shares(at, first))
        centering = min(1.0, max(1e-3, (_distance(after) / _distance(at)) ** 2))
        level = centering * _distance(at) / (len(at.matrix) + len(at.slack))
        second = self._direction(at, cost, inverse, factor, level, first)
        if not np.isfinite(second.y).all():
            return None
        dual, primal = _shares(at, second)
        moved = _moved(at, second, KEPT * dual if dual < 1 else 1.0, KEPT * primal if primal < 1 else 1.0)
        moved = moved._replace(matrix=self.matrix(moved.y), slack=self.rows @ moved.y + self.sides)
        return moved if max(dual, primal) > 1e-6 and _is_inside(moved) else None

    def _direction(
        self, at: State, cost: np.ndarray, inverse: np.ndarray, factor: tuple[np.ndarray, np.ndarray], level: float,
        first: State | None,
    ) -> State:
        """The step toward complementarity `level`; with the `first` direction, its second-order term is corrected."""
        matrix = level * inverse
        slack = level / at.slack
        if first is not None:
            matrix = matrix - _symmetric(first.moments @ first.matrix @ inverse)
            slack = slack - first.weights * first.slack / at.slack
        y = _solved(factor, self._traces(matrix) + self.rows.T @ slack - cost)
        change, moved = self._combined(y), self.rows @ y
        moments = matrix - at.moments - _symmetric(at.moments @ change @ inverse)
        return State(y, change, moved, moments, slack - at.weights - at.weights / at.slack * moved)

    def _schur(self, at: State, inverse: np.ndarray) -> np.ndarray:
        """tr(M_k X M_l S^-1) + (rows' diag(weights / slack) rows)_kl, symmetric."""
        count = len(self.left)
        scaled = sp.csr_matrix(sp.diags_array(np.sqrt(at.weights / at.slack)) @ self.rows)
        schur = np.asarray((scaled.T @ scaled).todense())
        pairs = [(f @ x, f) for x in (at.moments, inverse) for f in (self.left, self.right)]
        (lx, left), (rx, right), (lz, _), (rz, _) = pairs
        cross_x, cross_z = lx @ right.T, lz @ right.T
        found = (rx @ right.T) * (lz @ left.T) + (lx @ left.T) * (rz @ right.T)
        schur[:count, :count] += (found + cross_x * cross_z.T + cross_x.T * cross_z) / 4
        for j, other in enumerate(self.dense, count):
            pulled = _symmetric(at.moments @ other @ inverse)
            schur[j, :count] += ((self.left @ pulled) * self.right).sum(1)
            schur[:count, j] = schur[j, :count]
            schur[j, count:] += np.tensordot(self.dense, pulled, 2)
        return schur

    def _combined(self, y: np.ndarray) -> np.ndarray:
        """sum_k y_k M_k."""
        count = len(self.left)
        return _symmetric((self.left * y[:count, None]).T @ self.right) + np.tensordot(y[count:], self.dense, 1)

    def _traces(self, x: np.ndarray) -> np.ndarray:
        """tr(M_k x) for a symmetric x."""
        return np.concatenate([((self.left @ x) * self.right).sum(1), np.tensordot(self.dense, x, 2)])


def _symmetric(x: np.ndarray) -> np.ndarray:
    return (x + x.T) / 2


def _moved(at: State, step: State, dual: float, primal: float) -> State:
    shares = (dual, dual, dual, primal, primal)
    return State(*(here + share * by for here, by, share in zip(at, step, shares, strict=True)))


def _distance(at: State) -> float:
    """Complementarity, which is the gap where the primal is feasible."""
    return float((at.moments * at.matrix).sum()) + float(at.weights @ at.slack)


def _is_inside(at: State) -> bool:
    try:
        np.linalg.cholesky(at.matrix)
        np.linalg.cholesky(at.moments)
    except np.linalg.LinAlgError:
        return False
    return bool((at.slack > 0).all() and (at.weights > 0).all())


def _shares(at: State, step: State) -> tuple[float, float]:
    """How much of a step, at most all of it, stays in the cones of (matrix, slack) and of (moments, weights)."""
    return (
        min(_reach(at.matrix, step.matrix), _room(at.slack, step.slack)),
        min(_reach(at.moments, step.moments), _room(at.weights, step.weights)),
    )


def _room(here: np.ndarray, by: np.ndarray) -> float:
    return float(np.min(np.where(by < 0, here / np.where(by < 0, -by, 1), 1), initial=1))


def _reach(here: np.ndarray, by: np.ndarray) -> float:
    try:
        lower = np.linalg.cholesky(here)
    except np.linalg.LinAlgError:
        return 0.0
    half = scipy.linalg.solve_triangular(lower, by, lower=True, check_finite=False)
    whole = scipy.linalg.solve_triangular(lower, half.T, lower=True, check_finite=False)
    if not np.isfinite(whole).all():
        return 0.0
    least = float(np.linalg.eigvalsh(whole)[0])
    return 1.0 if least >= -1 else -1 / least


def _factor(schur: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Cholesky factor scaled to a unit diagonal and a little regularised, scale). Raises LinAlgError."""
    scale = 1 / np.sqrt(np.maximum(np.diag(schur), 1e-300))
    scaled = schur * scale[:, None] * scale
    for ridge in (1e-14, 1e-12, 1e-10):
        try:
            return np.linalg.cholesky(scaled + ridge * np.eye(len(scale))), scale
        except np.linalg.LinAlgError:
            continue
    raise np.linalg.LinAlgError("the Schur complement is singular")


def _solved(factor: tuple[np.ndarray, np.ndarray], side: np.ndarray) -> np.ndarray:
    lower, scale = factor
    return scale * scipy.linalg.cho_solve((lower, True), scale * side, check_finite=False)
