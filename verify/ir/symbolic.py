"""Symbolic values: arithmetic on a variable, and networks called on it, build a graph.

    x = verify.variable(network.input_shape)
    front = ((x - 0.1307) / 0.3081).network()
    both = verify.concatenate([network(first + x), network(second + x)]).network()
    distance = ((first - second) ** 2).network()

Numbers are the rationals that they look like, 0.1307 is 1307/10000. Constants are collected as rationals, a x + b,
until another operation needs the value, and are then stated as (k a x + k b) / k with the least k for which the graph's
floats hold k a and k b exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import lcm, prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verify.errors import InputError, UnsupportedOp
from verify.ir.builder import GraphBuilder
from verify.ir.compose import Composer
from verify.ir.graph import Network, Symbolic
from verify.ops import Add, Clip, Concat, Cos, Divide, Entrywise, Reshape, Scale, Select, Shift, Sin, Sum
from verify.rationals import Number, exact_array, rational
from verify.sets import InputSet

Constant = Number | Tensor | np.ndarray | Sequence[Number]
KINDS = {torch.float32: np.float32, torch.float64: np.float64}
ONE, ZERO = np.array(Fraction(1), object), np.array(Fraction(0), object)


@dataclass(frozen=True, eq=False)
class SymbolicValue(Symbolic):
    """A value of a graph in the making: factor * the value `name` + offset, rationals that broadcast to its shape.

    Values that meet must come of one variable. A constant is a number, see `verify.rationals.rational`, a list of
    such, or floats in a tensor or array, which stand for what they are exactly; it broadcasts as in NumPy, to the
    value's shape. Where no k is small enough the constants are rounded to the graph's floats, and the graph states the
    rounded ones. Products, quotients and matrix products of two values are nodes of the graph. Raises InputError for
    shapes that do not fit.
    """

    builder: GraphBuilder = field(repr=False)
    name: str
    factor: np.ndarray = field(default_factory=ONE.copy, repr=False)
    offset: np.ndarray = field(default_factory=ZERO.copy, repr=False)

    __array_ufunc__ = None  # NumPy leaves array + value to the value

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample of the value, batch axis excluded."""
        return self.builder.shapes[self.name]

    def network(self) -> Network:
        """The network from the variable to this value."""
        return self.builder.finish(self._stated())

    def through(self, network: Network) -> SymbolicValue:
        """What the network makes of this value; `network(value)` is the same."""
        if network.dtype != self.builder.dtype:
            raise InputError(f"the network computes in {network.dtype} but its argument in {self.builder.dtype}; make "
                             f"the variable with dtype={network.dtype}")
        return SymbolicValue(self.builder, self.builder.inline(network, self._stated()))

    def __add__(self, other: SymbolicValue | Constant) -> SymbolicValue:
        return self._joined(other, 1) if isinstance(other, SymbolicValue) else self._moved(self._constant(other))

    def __sub__(self, other: SymbolicValue | Constant) -> SymbolicValue:
        return self._joined(other, -1) if isinstance(other, SymbolicValue) else self._moved(-self._constant(other))

    def __mul__(self, other: SymbolicValue | Constant) -> SymbolicValue:
        if isinstance(other, SymbolicValue):
            return self._pair(other, "product", "multiplied")
        return self._scaled(self._constant(other))

    def __truediv__(self, other: SymbolicValue | Constant) -> SymbolicValue:
        if isinstance(other, SymbolicValue):
            return self._pair(other, "quotient", "divided")
        divisor = self._constant(other)
        if not divisor.astype(bool).all():
            raise InputError("a symbolic value is divided by zero; check the constant")
        return self._scaled(np.asarray(1 / divisor, object))

    def __rtruediv__(self, other: Constant) -> SymbolicValue:
        return self**-1 * other

    def __pow__(self, exponent: Number) -> SymbolicValue:
        power = _exact(exponent)
        return self._composed("power", lambda w: w.power(self._stated(), power))

    def __matmul__(self, other: SymbolicValue) -> SymbolicValue:
        """The matrix product of values (..., n, k) and (..., k, m), whose leading axes broadcast."""
        if not isinstance(other, SymbolicValue):
            return NotImplemented
        self._meets(other)
        if min(len(self.shape), len(other.shape)) < 2 or self.shape[-1] != other.shape[-2]:
            raise InputError(f"a value of shape {self.shape} and one of shape {other.shape} have no matrix product; "
                             "reshape one of them")
        return self._composed("matrix_product", lambda w: w.matrix_product(self._stated(), other._stated()))

    def __neg__(self) -> SymbolicValue:
        return self * -1

    def __rsub__(self, other: Constant) -> SymbolicValue:
        return -self + other

    __radd__, __rmul__ = __add__, __mul__

    def __getitem__(self, key: Any) -> SymbolicValue:
        """Entries as NumPy's indexing picks them."""
        try:
            index = np.arange(prod(self.shape)).reshape(self.shape)[key]
        except (IndexError, TypeError) as problem:
            raise InputError(f"a value of shape {self.shape} has no entries {key!r:.60}: {problem}") from None
        return self.picked(index)

    def __len__(self) -> int:
        if not self.shape:
            raise InputError("a value that is one number has no length")
        return self.shape[0]

    def picked(self, places: np.ndarray) -> SymbolicValue:
        """The entries at flat places, 0 at -1; of the shape of `places`, whole numbers."""
        if places.size and not -1 <= places.min() <= places.max() < prod(self.shape):
            raise InputError(f"a value of shape {self.shape} has no entries at flat places from {places.min()} to "
                             f"{places.max()}; count from 0, or -1 for a zero")
        where = self.builder.parameter("index", torch.from_numpy(np.array(places, np.int64)))
        return self._node("entries", Select(), (self._stated(),), (where,))

    def sin(self) -> SymbolicValue:
        """The sine, of radians."""
        return self._node("sine", Sin(), (self._stated(),))

    def cos(self) -> SymbolicValue:
        """The cosine, of radians."""
        return self._node("cosine", Cos(), (self._stated(),))

    def sum(self, axis: int) -> SymbolicValue:
        """The sum along an axis, batch excluded."""
        if not 0 <= axis < len(self.shape):
            raise InputError(f"a value of shape {self.shape} has no axis {axis}; count axes from 0")
        return self._node("total", Sum((axis,), False, False), (self._stated(),))

    def reshape(self, *shape: int) -> SymbolicValue:
        """The same entries in another shape; one length may be -1."""
        try:
            full = np.empty(self.shape, bool).reshape(shape).shape
        except ValueError:
            raise InputError(f"a value of shape {self.shape} cannot be reshaped to {shape}") from None
        return self._node("reshaped", Reshape(full), (self._stated(),))

    def clip(self, low: Number, high: Number) -> SymbolicValue:
        """Every entry moved into [low, high]. Raises InputError unless low < high."""
        ends = _exact(low), _exact(high)
        if ends[0] >= ends[1]:
            raise InputError(f"a value is clipped to [{low}, {high}]; the lower end must be below the upper one")
        return self._node("clipped", Clip(*ends), (self._stated(),))

    def flatten(self) -> SymbolicValue:
        """The entries in one axis."""
        return self.reshape(-1)

    def _meets(self, other: SymbolicValue) -> None:
        if other.builder is not self.builder:
            raise InputError("two values come of different variables; make one variable that holds both, and index it")

    def _alike(self, other: SymbolicValue, done: str) -> None:
        self._meets(other)
        if other.shape != self.shape:
            raise InputError(f"a value of shape {self.shape} and one of shape {other.shape} are {done}; reshape or "
                             "index one of them")

    def _joined(self, other: SymbolicValue, sign: int) -> SymbolicValue:
        self._alike(other, "added")
        return self._node("sum", Add((1, sign)), (self._stated(), other._stated()))

    def _pair(self, other: SymbolicValue, how: str, done: str) -> SymbolicValue:
        self._alike(other, done)
        first = self._stated()
        second = first if other is self else other._stated()
        return self._composed(how, lambda w: (w.product if how == "product" else w.quotient)(first, second))

    def _composed(self, name: str, compose: Callable[[Composer], str]) -> SymbolicValue:
        try:
            return SymbolicValue(self.builder, compose(Composer(self.builder, name)))
        except (UnsupportedOp, ValueError) as refusal:
            raise InputError(str(refusal)) from None

    def _moved(self, by: np.ndarray) -> SymbolicValue:
        return replace(self, offset=np.asarray(self.offset + by, object))

    def _scaled(self, by: np.ndarray) -> SymbolicValue:
        factor, offset = np.asarray(self.factor * by, object), np.asarray(self.offset * by, object)
        return replace(self, factor=factor, offset=offset)

    def _constant(self, value: object) -> np.ndarray:
        """The constant as rationals."""
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            value = torch.from_numpy(value)
        exact = exact_array(value) if isinstance(value, Tensor) else np.vectorize(_exact, otypes=[object])(value)
        exact = np.asarray(exact, object)
        try:
            np.broadcast_to(exact, self.shape)
        except ValueError:
            raise InputError(f"a constant of shape {exact.shape} does not broadcast to a value of shape {self.shape}; "
                             "reshape it") from None
        return exact

    def _stated(self) -> str:
        """The name of the value, once its constants are nodes of the graph."""
        name, dtype = self.name, self.builder.dtype
        parts = over_one(self.factor, self.offset, dtype) or (self.factor, self.offset, ONE)
        ways: list[tuple[str, type[Entrywise], np.ndarray, int]] = [
            ("scaled", Scale, parts[0], 1), ("shifted", Shift, parts[1], 0), ("divided", Divide, parts[2], 1)]
        for title, op, constant, neutral in ways:
            if (constant != neutral).any():
                values = torch.from_numpy(constant.astype(np.float64)).to(dtype)
                own = self.builder.parameter(title, values.reshape(-1))
                name = self.builder.add(title, op.broadcast(constant.shape, self.shape), (name,), (own,))
        return name

    def _node(self, name: str, op: Any, inputs: tuple[str, ...], parameters: tuple[str, ...] = ()) -> SymbolicValue:
        try:
            return SymbolicValue(self.builder, self.builder.add(name, op, inputs, parameters))
        except UnsupportedOp as refusal:
            raise InputError(str(refusal)) from None


def variable(of: Sequence[int] | InputSet, dtype: torch.dtype = torch.float32) -> SymbolicValue:
    """A variable of this shape (without batch), or of the shape of a set: what symbolic values are made of.

    dtype: torch.float32 or torch.float64, that of the networks which are called on it.
    """
    if dtype not in KINDS:
        raise InputError(f"a variable has the type {dtype}; choose torch.float32 or torch.float64")
    shape = tuple(of.shape if isinstance(of, InputSet) else of)
    if not all(isinstance(n, int) and n > 0 for n in shape):
        raise InputError(f"a variable has the shape {shape}; give lengths of at least 1")
    return SymbolicValue(GraphBuilder("x", shape, dtype), "x")


def concatenate(values: Sequence[SymbolicValue], axis: int = 0) -> SymbolicValue:
    """Values side by side along an axis, batch excluded. Raises InputError where they do not fit."""
    if not values or any(value.builder is not values[0].builder for value in values):
        raise InputError("values are concatenated that come of different variables, or none; make one variable that "
                         "holds all, and index it")
    shapes = [value.shape for value in values]
    rank = len(shapes[0])
    rest = {shape[:axis] + shape[axis + 1 :] for shape in shapes}
    if not 0 <= axis < rank or len(rest) != 1 or any(len(shape) != rank for shape in shapes):
        raise InputError(f"values of shapes {shapes} do not fit along axis {axis}; reshape or flatten them")
    sizes = tuple(shape[axis] for shape in shapes)
    return values[0]._node("concatenated", Concat(axis, sizes), tuple(value._stated() for value in values))


def over_one(
    factor: np.ndarray, offset: np.ndarray, dtype: torch.dtype
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(a, b, k) with factor x + offset = (a x + b) / k, k natural, all floats of the dtype; entry by entry the least
    such k. None where there is none. Rationals, in object arrays that broadcast."""
    odd = np.vectorize(lambda a, b: Fraction(lcm(_odd(a.denominator), _odd(b.denominator))), otypes=[object])
    over = np.asarray(odd(factor, offset), object)
    parts = np.asarray(factor * over, object), np.asarray(offset * over, object), over
    kind = KINDS[dtype]
    largest = Fraction(float(np.finfo(kind).max))
    numbers = {value for part in parts for value in part.ravel().tolist()}
    exact = all(abs(value) <= largest and Fraction(float(kind(float(value)))) == value for value in numbers)
    return parts if exact else None


def _odd(n: int) -> int:
    """The largest odd divisor."""
    return n // (n & -n)


def _exact(value: Any) -> Fraction:
    return rational(value, "the constant")
