"""What the nodes of a certificate's network mean, over flat arrays (batch, entries).

Most ops are affine, y = sum over arguments k of A_k x_k + b, and state `linear`, `adjoint` and `absolute` (|A_k|); the
other two are piecewise linear. Weights are used as they are stored: float32 or float64 values are exact in both
arithmetics. `terms` bounds the number of products in any one output of `linear` and of `adjoint`, `steps` the number of
roundings on the way to an output of `linear` with its bias in float32, in any order (level F).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from itertools import pairwise, product
from math import prod

import numpy as np

from verify.check.numbers import Arithmetic, Rejected
from verify.check.strict import Shape


class Affine(ABC):
    """An affine op; `bias` is (entries,) or None."""

    terms: int
    steps: int
    bias: np.ndarray | None = None
    bias_size: np.ndarray | None = None  # at least |bias|
    doubt = 0.0  # relative error of the coefficients and of the bias, where they are irrational
    single = True  # whether level F covers it
    is_move = False  # whether every output is one of the inputs, or 0
    largest = 1.0  # of |A|
    held = 0  # numbers that it holds for one row or box, where these are more than its entries

    @abstractmethod
    def linear(self, k: int, x: np.ndarray) -> np.ndarray:
        """A_k x; (batch, entries of argument k) -> (batch, entries)."""

    @abstractmethod
    def adjoint(self, k: int, a: np.ndarray) -> np.ndarray:
        """A_k' a; (rows, entries) -> (rows, entries of argument k)."""

    @abstractmethod
    def absolute(self, k: int, x: np.ndarray) -> np.ndarray:
        """|A_k| x."""

    def rises(self, k: int) -> np.ndarray | bool | None:
        """Whether each output rises with all entries of x that it reads, or else falls with all; None if neither."""
        return None

    def widest(self, size: np.ndarray) -> np.ndarray:
        """At least every magnitude on the way to an output in float32, whose sum of magnitudes is `size`."""
        return size


class Linear(Affine):
    """x W' + b over the last axis: W (out, in), b (out,)."""

    def __init__(self, number: Arithmetic, shape: Shape, weight: np.ndarray, bias: np.ndarray | None):
        self.weight, self.size = number.of(weight), np.abs(number.of(weight))
        self.terms, self.steps = max(weight.shape), weight.shape[1] + 1
        self.largest = float(np.max(self.size, initial=0))
        if bias is not None:
            self.bias = np.tile(number.of(bias), prod(shape[:-1]))
            self.bias_size = np.abs(self.bias)

    def linear(self, k: int, x: np.ndarray) -> np.ndarray:
        return (x.reshape(-1, self.weight.shape[1]) @ self.weight.T).reshape(len(x), -1)

    def adjoint(self, k: int, a: np.ndarray) -> np.ndarray:
        return (a.reshape(-1, self.weight.shape[0]) @ self.weight).reshape(len(a), -1)

    def absolute(self, k: int, x: np.ndarray) -> np.ndarray:
        return (x.reshape(-1, self.weight.shape[1]) @ self.size.T).reshape(len(x), -1)


class Conv(Affine):
    """Cross-correlation with zero padding as a sum over the taps of the kernel, or its transpose.

    W is (out, in / groups, *kernel); for the transpose it is (in, out / groups, *kernel), and the maps change places.
    """

    def __init__(
        self, number: Arithmetic, given: Shape, shape: Shape, weight: np.ndarray, bias: np.ndarray | None,
        stride: Shape, padding: Shape, dilation: Shape, groups: int, transposed: bool,
    ):
        self.number, self.transposed, self.groups = number, transposed, groups
        self.stride, self.padding, self.dilation, self.kernel = stride, padding, dilation, weight.shape[2:]
        self.near, self.far = (shape, given) if transposed else (given, shape)  # maps before and after the correlation
        self.weight = number.of(weight).reshape(groups, len(weight) // groups, *weight.shape[1:])
        self.size = np.abs(self.weight)
        taps = prod(self.kernel)
        self.terms = taps * max(self.weight.shape[1], self.weight.shape[2])
        self.steps = taps * (self.weight.shape[1] if transposed else self.weight.shape[2]) + 1
        self.largest = float(np.max(self.size, initial=0))
        self.held = prod(self._lengths()) * self.near[0]
        if bias is not None:
            self.bias = np.repeat(number.of(bias), prod(shape[1:]))
            self.bias_size = np.abs(self.bias)

    def linear(self, k: int, x: np.ndarray) -> np.ndarray:
        return self._back(x, self.weight) if self.transposed else self._on(x, self.weight)

    def adjoint(self, k: int, a: np.ndarray) -> np.ndarray:
        return self._on(a, self.weight) if self.transposed else self._back(a, self.weight)

    def absolute(self, k: int, x: np.ndarray) -> np.ndarray:
        return self._back(x, self.size) if self.transposed else self._on(x, self.size)

    def _on(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The correlation of maps (batch, near)."""
        padded = self._padded(len(x))
        inner = (slice(None), slice(None), *(slice(q, q + n) for q, n in zip(self.padding, self.near[1:], strict=True)))
        padded[inner] = x.reshape(len(x), *self.near)
        grouped = padded.reshape(len(x), self.groups, -1, *padded.shape[2:])
        out = self.number.zeros((len(x), self.groups, self.weight.shape[1], prod(self.far[1:])))
        for tap in product(*map(range, self.kernel)):
            part = grouped[(slice(None), slice(None), slice(None), *self._places(tap))]
            part = part.reshape(*part.shape[:3], -1)
            out = out + np.matmul(weight[(slice(None), slice(None), slice(None), *tap)], part)
        return out.reshape(len(x), -1)

    def _back(self, a: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The transpose, on maps (batch, far)."""
        padded = self._padded(len(a))
        grouped = padded.reshape(len(a), self.groups, -1, *padded.shape[2:])
        parts = a.reshape(len(a), self.groups, self.weight.shape[1], -1)
        for tap in product(*map(range, self.kernel)):
            taken = weight[(slice(None), slice(None), slice(None), *tap)].swapaxes(1, 2)
            part = np.matmul(taken, parts)
            grouped[(slice(None), slice(None), slice(None), *self._places(tap))] += part.reshape(
                *part.shape[:3], *self.far[1:]
            )
        inner = (slice(None), slice(None), *(slice(q, q + n) for q, n in zip(self.padding, self.near[1:], strict=True)))
        return padded[inner].reshape(len(a), -1)

    def _padded(self, batch: int) -> np.ndarray:
        """Zero maps (batch, channels, ...) with room for the padding and for all that the kernel reaches."""
        return self.number.zeros((batch, self.near[0], *self._lengths()))

    def _lengths(self) -> list[int]:
        axes = zip(self.near[1:], self.far[1:], self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return [max(n + 2 * q, (m - 1) * s + d * (w - 1) + 1) for n, m, w, s, q, d in axes]

    def _places(self, tap: Shape) -> tuple[slice, ...]:
        """The places of the padded map that a tap meets."""
        axes = zip(tap, self.far[1:], self.stride, self.dilation, strict=True)
        return tuple(slice(t * d, t * d + (m - 1) * s + 1, s) for t, m, s, d in axes)


class Gather(Affine):
    """y_i = sum of the entries index_i of all arguments laid end to end, over divisor_i; -1 is no entry.

    Reshape, transpose, slice, concatenate and pad are this op with one entry each; sums and averages have more.
    """

    def __init__(self, number: Arithmetic, lengths: list[int], index: np.ndarray, divisor: np.ndarray):
        self.number, self.ends, self.index = number, np.cumsum([0, *lengths]), index
        self.divisor = number.of(divisor)
        uses = np.bincount(index[index >= 0].reshape(-1), minlength=1)
        self.terms, self.steps = int(max(index.shape[1], uses.max())), index.shape[1] + 1
        self.is_move = index.shape[1] == 1 and bool((divisor == 1).all())
        self.held = index.size

    def linear(self, k: int, x: np.ndarray) -> np.ndarray:
        start, end = self.ends[k], self.ends[k + 1]
        here = (self.index >= start) & (self.index < end)
        taken = np.where(here, x[:, np.where(here, self.index - start, 0)], self.number.zeros(()))
        total = taken.sum(2) if self.index.shape[1] > 1 else taken[:, :, 0]
        return total if self.is_move else total / self.divisor

    def adjoint(self, k: int, a: np.ndarray) -> np.ndarray:
        start, end = self.ends[k], self.ends[k + 1]
        share = a if self.is_move else a / self.divisor
        out = self.number.zeros((end - start, len(a)))
        for column in self.index.T:
            here = np.flatnonzero((column >= start) & (column < end))
            if len(here):  # entries that are used several times stand together, and are summed up there
                here = here[np.argsort(column[here], kind="stable")]
                used, first = np.unique(column[here], return_index=True)
                out[used - start] += np.add.reduceat(share.T[here], first)
        return np.ascontiguousarray(out.T)

    absolute = linear

    def rises(self, k: int) -> bool:
        return True

    def widest(self, size: np.ndarray) -> np.ndarray:
        return size * self.divisor  # the sum comes before its division


class Add(Affine):
    """Sum of the arguments with signs +1 or -1."""

    def __init__(self, signs: list[int]):
        self.signs, self.terms, self.steps = signs, 1, len(signs)

    def linear(self, k: int, x: np.ndarray) -> np.ndarray:
        return x if self.signs[k] > 0 else -x

    def adjoint(self, k: int, a: np.ndarray) -> np.ndarray:
        return self.linear(k, a)

    def absolute(self, k: int, x: np.ndarray) -> np.ndarray:
        return x

    def rises(self, k: int) -> bool:
        return self.signs[k] > 0


class Entrywise(Affine):
    """y = factor * x + offset, all (entries,)."""

    def __init__(self, factor: np.ndarray, offset: np.ndarray | None = None):
        self.factor, self.bias, self.terms, self.steps = factor, offset, 1, 1
        self.bias_size = None if offset is None else np.abs(offset)
        self.largest = float(np.max(np.abs(factor), initial=0))

    def linear(self, k: int, x: np.ndarray) -> np.ndarray:
        return x * self.factor

    def adjoint(self, k: int, a: np.ndarray) -> np.ndarray:
        return self.linear(k, a)

    def absolute(self, k: int, x: np.ndarray) -> np.ndarray:
        return x * np.abs(self.factor)

    def rises(self, k: int) -> np.ndarray | None:
        return self.factor >= 0 if self.doubt == 0 else None


class Divide(Entrywise):
    """y = x / divisor, a quotient that is rounded once; divisor (entries,) without zeros. Rejects one whose reciprocal
    is out of float64's safe range."""

    def __init__(self, number: Arithmetic, divisor: np.ndarray):
        self.divisor = number.of(divisor)
        if not bool((np.abs(divisor.astype(np.float64)) > 2.0**-200).all()):
            raise Rejected("a division has a divisor of 2^-200 or less")
        super().__init__(1 / self.divisor)
        self.largest = float(np.nextafter(self.largest, np.inf))  # the reciprocal is rounded

    def linear(self, k: int, x: np.ndarray) -> np.ndarray:
        return x / self.divisor

    def absolute(self, k: int, x: np.ndarray) -> np.ndarray:
        return x / np.abs(self.divisor)


class Norm(Entrywise):
    """Batch normalisation: (x - mean) / sqrt(variance + eps) * weight + bias, each (entries,), variance >= 0.

    The root is irrational: its float64 value stands for it, within a relative `doubt` that also covers the products
    with it. Rejects factors out of float64's safe range. Float32 programs compute it in different ways, so it is not
    covered at level F.
    """

    doubt = 2.0**-48
    single = False

    def __init__(self, number: Arithmetic, parts: list[np.ndarray], eps: float):
        weight, bias, mean, variance = (part.astype(np.float64) for part in parts)
        factor = weight / np.sqrt(variance + eps)
        size = np.abs(factor[weight != 0])
        if not bool(((size > 2.0**-200) & (size < 2.0**200)).all()):
            raise Rejected("a batch normalisation has a factor beyond 2^200 or below 2^-200")
        moved = number.of(mean * factor)
        super().__init__(number.of(factor), number.of(bias) - moved)
        self.bias_size = np.abs(number.of(bias)) + np.abs(moved)


class Piecewise:
    """An elementwise continuous function with rational `slopes` on the pieces between rational `breakpoints`, through
    `anchor` (x, f(x))."""

    held = 0

    def __init__(self, breakpoints: list[Fraction], slopes: list[Fraction], anchor: tuple[Fraction, Fraction]):
        if len(slopes) != len(breakpoints) + 1 or any(b <= a for a, b in pairwise(breakpoints)):
            raise Rejected("a piecewise op does not have ascending breakpoints and one slope more")
        self.breakpoints, self.slopes = breakpoints, slopes
        at, value = anchor
        home = sum(b < at for b in breakpoints)
        found = {home: value - slopes[home] * at}
        for i in range(home, len(breakpoints)):
            found[i + 1] = found[i] + (slopes[i] - slopes[i + 1]) * breakpoints[i]
        for i in range(home, 0, -1):
            found[i - 1] = found[i] + (slopes[i] - slopes[i - 1]) * breakpoints[i - 1]
        self.intercepts = [found[i] for i in range(len(slopes))]

    @property
    def is_hinge(self) -> bool:
        return len(self.breakpoints) == 1

    @property
    def is_clamp(self) -> bool:
        """Whether float32 computes it without rounding: every piece is x, -x or a float32, as in ReLU or Clip."""
        pieces = zip(self.slopes, self.intercepts, strict=True)
        return all((s == 0 and float(np.float32(c)) == c) or (abs(s) == 1 and c == 0) for s, c in pieces)


class Max:
    """The largest of each group of entries; groups (entries, size), members may repeat."""

    def __init__(self, groups: np.ndarray):
        self.groups, self.held = groups, groups.size
