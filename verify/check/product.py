"""Products of two varying values, entry by entry or of matrices, between McCormick's planes.

With x = c + dx, |dx| <= r, and y = e + dy, |dy| <= s, it is x y = c y + e x - c e + dx dy. For any t in [-1, 1],
0 <= (1 + t)/2 (r - dx)(s + dy) + (1 - t)/2 (r + dx)(s - dy) = r s + t (r dy - s dx) - dx dy, and likewise below with
the signs of y turned:

    above   x y  <=  (c + t r) y + (e - t s) x - c (e - t s) + r (s - t e)
    below   x y  >=  (c - t r) y + (e - t s) x - c (e - t s) - r (s - t e)

So a row of coefficients a over x y, of either sign, has the coefficients a e - t a s of x, a c + |a| t r of y, and the
constant |a| (r s - t r e) - a c e + t c a s. Of matrices these are matrix products; no array of all triples is formed,
and t is a number for each entry of x: every product of two entries lies between planes of any share of its own.
"""

from __future__ import annotations

from math import prod
from typing import final

import numpy as np

from verify.check.numbers import Arithmetic
from verify.check.strict import Shape

PAIRINGS = ("entrywise", "matrix")
TILTS = {"adaptive": 0, "parallel": 0, "zero": -1, "one": 1}  # t, by the rule of the node's slopes
Sides = tuple[np.ndarray, np.ndarray]


@final
class Product:
    """x * y of one shape, or x @ y of shapes (..., n, k) and (..., k, m) with the same axes before; values are flat,
    (batch, entries). `terms` bounds the number of products in an entry of it and of its adjoints, `steps` the number of
    roundings on the way to an entry in float32."""

    def __init__(self, left: Shape, right: Shape, is_matrix: bool):
        self.left, self.right, self.is_matrix = left, right, is_matrix
        self.terms = max(left[-1], left[-2], right[-1]) if is_matrix else 1
        self.steps = left[-1] + 1 if is_matrix else 1
        self.held = max(prod(left), prod(right))

    def times(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if not self.is_matrix:
            return x * y
        found = np.matmul(x.reshape(len(x), *self.left), y.reshape(len(y), *self.right))
        return found.reshape(len(found), -1)

    def to_left(self, a: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Coefficients of x of rows a over x y, one y for all rows or one for each."""
        if not self.is_matrix:
            return a * y
        return np.matmul(self._rows(a), y.reshape(len(y), *self.right).swapaxes(-1, -2)).reshape(len(a), -1)

    def to_right(self, a: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Coefficients of y."""
        if not self.is_matrix:
            return a * x
        return np.matmul(x.reshape(len(x), *self.left).swapaxes(-1, -2), self._rows(a)).reshape(len(a), -1)

    def corners(self, x: Sides, y: Sides) -> Sides:
        """The least and the largest x y over boxes, but for rounding: two entries' product is extreme at a corner of
        their boxes."""
        if not self.is_matrix:
            return _corners(x, y)
        xs, ys = ([end.reshape(len(end), *shape) for end in pair] for pair, shape in
                  ((x, self.left), (y, self.right)))
        low = high = None
        for k in range(self.left[-1]):
            ends = _corners(
                (xs[0][..., :, k, None], xs[1][..., :, k, None]), (ys[0][..., k, None, :], ys[1][..., k, None, :]))
            low, high = ends if low is None or high is None else (low + ends[0], high + ends[1])
        assert low is not None
        assert high is not None
        return low.reshape(len(low), -1), high.reshape(len(high), -1)

    def _rows(self, a: np.ndarray) -> np.ndarray:
        return a.reshape(len(a), *self.left[:-1], self.right[-1])


class Planes:
    """The planes of shares t over boxes: what rows need of them; x and y are ends (batch, entries) of the factors, t
    (batch, entries of x), from -1 to 1."""

    def __init__(self, op: Product, x: Sides, y: Sides, t: np.ndarray):
        (c, r), (e, s) = _balls(x), _balls(y)
        turned = t * r
        self.parts = t, c, e, s, turned, t * c, op.times(c, e), op.times(r, s) - op.times(turned, e)

    def of(self, owner: np.ndarray) -> tuple[np.ndarray, ...]:
        """(t, c, e, s, t r, t c, c e, r s - t r e), each of the boxes that own rows, or one for all."""
        return tuple(part if len(part) == 1 else part[owner] for part in self.parts)


def lost(number: Arithmetic, op: Product, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What rounding may take from entries of x y, for factors of these sizes. Four times as much is what it may take
    from a unit of a row: eight sums of products of two rounded numbers, none larger than x and y, whose errors
    `relative` covers four times."""
    terms = max(op.held, prod(op.left[:-1]) * op.right[-1] if op.is_matrix else 0) + op.terms
    return number.relative(terms) * op.times(x, y) + number.absolute(terms)


def _balls(box: Sides) -> Sides:
    """Middles and radii."""
    low, high = box
    middle = (low + high) / 2
    return middle, np.maximum(high - middle, middle - low)


def _corners(x: Sides, y: Sides) -> Sides:
    found = [a * b for a in x for b in y]
    low, high = np.minimum(found[0], found[1]), np.maximum(found[0], found[1])
    for value in found[2:]:
        low, high = np.minimum(low, value), np.maximum(high, value)
    return low, high
