"""Activations, and arithmetic of varying tensors with constants and with each other."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import prod

import numpy as np
import torch

from verify.ir.onnx_reader.reader import NUMPY, Call, Operand, Reader, handles
from verify.ir.onnx_reader.values import Const, Shape, Value, ir_shape
from verify.ops import Add, Clip, Concat, HardSigmoid, LeakyReLU, Max, Op, ReLU, Reshape, piecewise, steps
from verify.ops.smooth import exponential, gated, power, trigonometric

PLAIN: dict[str, Op] = {
    "Relu": piecewise.ReLU(),
    "Abs": piecewise.Abs(),
    "Sigmoid": exponential.Sigmoid(),
    "Softplus": exponential.Softplus(),
    "Tanh": exponential.Tanh(),
    "Mish": gated.Mish(),
    "HardSwish": gated.HardSwish(),
    "Softsign": gated.Softsign(),
    "Sign": steps.sign(),
    "Floor": steps.Floor(),
    "Ceil": steps.Ceil(),
    "Round": steps.RoundToEven(),
    "Exp": exponential.Exp(),
    "Log": exponential.Log(),
    "Erf": exponential.Erf(),
    "Sin": trigonometric.Sin(),
    "Cos": trigonometric.Cos(),
    "Atan": trigonometric.Atan(),
    "Sqrt": power.Power(Fraction(1, 2)),
    "Reciprocal": power.Power(Fraction(-1)),
}


@handles(*PLAIN)
def plain(r: Reader, c: Call) -> Value:
    """Ops of one argument that have an op of their own and no attributes."""
    return r.like(c, PLAIN[c.op], c.value())


@handles("LeakyRelu")
def leaky_relu(r: Reader, c: Call) -> Value:
    return r.like(c, LeakyReLU(float32(c.attribute("alpha", 0.01))), c.value())


@handles("HardSigmoid")
def hard_sigmoid(r: Reader, c: Call) -> Value:
    slope, offset = float32(c.attribute("alpha", 0.2)), float32(c.attribute("beta", 0.5))
    if slope == 0:
        c.refuse("has alpha 0, so its output is constant")
    x = c.value() if slope > 0 else r.negate(c, c.value())
    return r.like(c, HardSigmoid(abs(slope), offset), x)


@handles("Clip")
def clip(r: Reader, c: Call) -> Value:
    """With one finite side it is a ReLU between shifts: max(x, low) = relu(x - low) + low."""
    low, high = _bound(r, c, 1, "min", -np.inf), _bound(r, c, 2, "max", np.inf)
    if low >= high:
        c.refuse(f"clips to [{low}, {high}], so its output is constant")
    x, kind = c.value(), NUMPY[r.builder.dtype]
    if np.isfinite(low) and np.isfinite(high):
        return r.like(c, Clip(Fraction(low), Fraction(high)), x)
    if np.isfinite(low):
        return _at_least(r, c, x, np.array(low, kind), c.name)
    if np.isfinite(high):
        return r.negate(c, _at_least(r, c, r.negate(c, x), np.array(-high, kind), c.name))
    return x


def _bound(r: Reader, c: Call, place: int, attribute: str, infinite: float) -> float:
    """A clip bound; none, and the largest number of the network's type, which older opsets use for none, are
    infinite."""
    bound = c.const(place).array.item() if c.has(place) else c.attribute(attribute)
    if bound is None or (abs(bound) >= np.finfo(NUMPY[r.builder.dtype]).max and bound * infinite > 0):
        return infinite
    if np.isnan(bound) or np.isinf(bound):
        c.refuse(f"has the bound {bound}")
    return float(bound)


def float32(number: float) -> Fraction:
    """An attribute as the file stores it."""
    return Fraction(float(np.float32(number)))


@handles("Identity", "Dropout", "Cast")
def alias(r: Reader, c: Call) -> Value:
    c.attribute("seed")
    c.attribute("ratio")
    if c.has(2) and bool(c.const(2).array):
        c.refuse("drops at random in training mode", "export the model in evaluation mode")
    if c.attribute("saturate", 1) != 1 or c.attribute("round_mode", "up") != "up":
        c.refuse("casts in a way that is not supported")
    kind = c.attribute("to", 1)
    if 2 <= kind <= 9 or 12 <= kind <= 13:
        c.refuse(f"casts values that depend on the network's input to whole numbers (type {kind}), which jumps",
                 "compute with floats, and pick entries by fixed positions")
    if kind not in (1, 11):
        c.refuse(f"casts to a type (number {kind}) that is neither float32 nor float64", "export the model in float32")
    if kind == 1 and r.builder.dtype == torch.float64 and c.op == "Cast":
        c.refuse("rounds float64 values to float32, beyond whose largest number they may be",
                 "export the whole model in one type")
    return c.value()


def joint_shape(r: Reader, c: Call, operands: Sequence[Operand]) -> tuple[Shape, int | None]:
    """The shape that operands broadcast to, and its batch axis."""
    shape = tuple(np.broadcast_shapes(*(o.shape for o in operands)))
    axes = {len(shape) - v.rank + v.batch for v in operands if isinstance(v, Value) and v.batch is not None}
    batch = next((i for i in sorted(axes) if shape[i] == 1), None)
    if r.symbolic and axes != {batch}:
        c.refuse_batch()
    return shape, batch


def broadcast(r: Reader, c: Call, value: Value, shape: Shape, batch: int | None) -> Value:
    """The value repeated to this shape."""
    if shape == value.shape:
        return r.lay(c, value, shape, batch)
    r.spend(c, prod(shape))
    return r.move(c, value, np.broadcast_to(value.positions(), shape), batch)


def entries(r: Reader, c: Call, const: Const, shape: Shape, batch: int | None) -> np.ndarray:
    """A constant that broadcasts to `shape`, without the batch axis."""
    array = r.constant(c, const)
    array = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    return array if batch is None else array.squeeze(batch)


@handles("PRelu")
def prelu(r: Reader, c: Call) -> Value:
    """max(x, 0) + slope min(x, 0), with one ReLU: min(x, 0) is x - max(x, 0)."""
    x, slope = c.value(), c.const(1)
    shape, batch = joint_shape(r, c, (x, slope))
    if shape != x.shape:
        c.refuse("has slopes that do not broadcast to its input")
    above = r.like(c, ReLU(), x)
    below = r.emit(c, Add((1, -1)), [x, above], shape=x.shape, batch=x.batch)
    scaled = r.scale(c, below, entries(r, c, slope, shape, batch), slope.name)
    return r.emit(c, Add((1, 1)), [above, scaled], shape=x.shape, batch=x.batch)


@handles("Shrink")
def shrink(r: Reader, c: Call) -> Value:
    """Toward 0 by bias beyond lambd, else 0; x less its part in [-lambd, lambd] if both are one number."""
    threshold, bias = float32(c.attribute("lambd", 0.5)), float32(c.attribute("bias", 0.0))
    if threshold <= 0:
        c.refuse(f"has lambd {float(threshold)}", "use a positive one")
    x = c.value()
    if threshold != bias:
        return r.like(c, steps.shrink(threshold, bias), x)
    inner = r.like(c, Clip(-threshold, threshold), x)
    return r.emit(c, Add((1, -1)), [x, inner], shape=x.shape, batch=x.batch)


@handles("ThresholdedRelu")
def thresholded_relu(r: Reader, c: Call) -> Value:
    """x above alpha, else 0."""
    threshold = float32(c.attribute("alpha", 1.0))
    return r.like(c, steps.threshold(threshold, Fraction(0)) if threshold else ReLU(), c.value())


@handles("Neg")
def neg(r: Reader, c: Call) -> Value:
    return r.negate(c, c.value())


@handles("Add", "Sub", "Sum", "Mean")
def add(r: Reader, c: Call) -> Value:
    """Terms of the same value are merged, so that an addition has one term for each argument."""
    operands = [c.operand(i) for i in range(len(c.inputs))]
    shape, batch = joint_shape(r, c, operands)
    total: dict[str, int] = {}
    offsets: list[tuple[np.ndarray, str]] = []
    values: dict[str, Value] = {}
    for i, operand in enumerate(operands):
        sign = -1 if c.op == "Sub" and i == 1 else 1
        if isinstance(operand, Const):
            offsets.append((sign * entries(r, c, operand, shape, batch), operand.name))
        else:
            wide = broadcast(r, c, operand, shape, batch)
            values[wide.name] = wide
            total[wide.name] = total.get(wide.name, 0) + sign
    terms = [(_times(r, c, values[name], count), np.sign(count)) for name, count in total.items()]
    out = terms[0][0]
    if len(terms) > 1:
        op = Add(tuple(-1 if sign < 0 else 1 for _, sign in terms))
        out = r.emit(c, op, [v for v, _ in terms], shape=shape, batch=batch)
    elif terms[0][1] < 0:
        out = r.negate(c, out)
    for offset, name in offsets:
        out = r.shift(c, out, offset, name)
    if c.op == "Mean" and len(operands) > 1:
        out = r.divide(c, out, np.array(len(operands), NUMPY[r.builder.dtype]), f"{c.name}.count")
    return out


def _times(r: Reader, c: Call, value: Value, count: int) -> Value:
    if abs(count) == 1:
        return value
    return r.scale(c, value, np.array(abs(count), NUMPY[r.builder.dtype]), f"{c.name}.count")


@handles("Mul", "Div")
def multiply(r: Reader, c: Call) -> Value:
    """With two varying operands a product, or one with a reciprocal."""
    a, b = operands = [c.operand(0), c.operand(1)]
    shape, batch = joint_shape(r, c, operands)
    if isinstance(a, Value) and isinstance(b, Value):
        left, right = (r.finite(c, broadcast(r, c, value, shape, batch)).name for value in (a, b))
        return r.write(c, lambda w: (w.product if c.op == "Mul" else w.quotient)(left, right), shape, batch)
    value, const, right_is_constant = c.value_and_const()
    factor = entries(r, c, const, shape, batch)
    if c.op == "Mul":
        return r.scale(c, broadcast(r, c, value, shape, batch), factor, const.name)
    if right_is_constant:
        if not factor.all():
            c.refuse("divides by zero")
        return r.divide(c, broadcast(r, c, value, shape, batch), factor, const.name)
    return r.scale(c, broadcast(r, c, raised(r, c, value, Fraction(-1)), shape, batch), factor, const.name)


def raised(r: Reader, c: Call, value: Value, exponent: Fraction) -> Value:
    """value^exponent."""
    name = r.finite(c, value).name
    return r.write(c, lambda w: w.power(name, exponent), value.shape, value.batch)


@handles("Max", "Min")
def extremum(r: Reader, c: Call) -> Value:
    """A minimum is the negative of the maximum of the negatives."""
    operands = [c.operand(i) for i in range(len(c.inputs))]
    shape, batch = joint_shape(r, c, operands)
    smallest = c.op == "Min"
    values = list(dict.fromkeys(broadcast(r, c, v, shape, batch) for v in operands if isinstance(v, Value)))
    largest = _largest(r, c, [r.negate(c, v) for v in values] if smallest else values)
    consts = [(entries(r, c, o, shape, batch), o.name) for o in operands if isinstance(o, Const)]
    for floor, name in consts:
        largest = _at_least(r, c, largest, -floor if smallest else floor, name)
    return r.negate(c, largest) if smallest else largest


def _largest(r: Reader, c: Call, values: Sequence[Value]) -> Value:
    """The largest of values of one shape, entry by entry."""
    first = values[0]
    if len(values) == 1:
        return first
    size = prod(first.shape)
    flat = [r.emit(c, Reshape((size,)), (v,), shape=(size,), batch=None) for v in values]
    row = r.emit(c, Concat(0, (size,) * len(values)), flat, batch=None)
    groups = np.arange(size * len(values)).reshape(len(values), *ir_shape(first.shape, first.batch))
    return r.emit(c, Max(), (row,), (r.index(c, np.moveaxis(groups, 0, -1)),), shape=first.shape, batch=first.batch)


def _at_least(r: Reader, c: Call, value: Value, floor: np.ndarray, name: str) -> Value:
    """max(value, floor)."""
    return r.shift(c, r.like(c, ReLU(), r.shift(c, value, -floor, name)), floor, name)
