"""ONNX operators that compute: products with constant matrices, convolutions, normalisation, sums, activations."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import prod

import numpy as np

from verify.check.onnx_composed import group_norm, layer_norm, softmax
from verify.check.onnx_constants import FLOATS
from verify.check.onnx_curves import CURVES
from verify.check.onnx_graph import Call, Shape, Value, Writer
from verify.check.onnx_moves import broadcast
from verify.check.onnx_products import matrix_product, power, product, quotient
from verify.check.onnx_quantised import MAKES, READS, dequantised, quantised
from verify.check.onnx_windows import averaged, pad_lengths, pooled, reduced, sample

Layer = Callable[[Writer, Call], Value]


def _product(w: Writer, c: Call, x: Value, weight: np.ndarray, bias: np.ndarray | None = None) -> Value:
    """x @ weight + bias over the last axis of x; weight (k, n) or (k,)."""
    if x.rank == 0 or x.shape[-1] != len(weight):
        c.refuse(f"multiplies rows of shape {x.shape} with a matrix of {len(weight)} rows")
    columns = w.floats(c, weight.reshape(len(weight), -1).T)
    shape = (*x.shape[:-1], len(columns))
    out = w.emit(c, "linear", [x], shape, weight=columns, bias=bias)
    return out if weight.ndim == 2 else w.reshape(c, out, x.shape[:-1])


def _swapped(w: Writer, c: Call, x: Value) -> Value:
    """With its last two axes exchanged."""
    return w.transpose(c, x, (*range(x.rank - 2), x.rank - 1, x.rank - 2))


def _matmul(w: Writer, c: Call) -> Value:
    if c.vary(2):
        return matrix_product(w, c, c.value(0), c.value(1))
    x, weight, right = c.value_and_const()
    if weight.ndim not in (1, 2):
        c.refuse(f"multiplies with a constant of shape {weight.shape}, neither matrix nor vector")
    if right:
        return _product(w, c, x, weight)
    if x.rank == 1:
        return _product(w, c, x, weight.T)
    out = _product(w, c, _swapped(w, c, x), weight.T)
    return _swapped(w, c, out) if weight.ndim == 2 else out


def _gemm(w: Writer, c: Call) -> Value:
    """alpha A B + beta C; a bias of one row joins the product where alpha is 1. A constant A transposes everything."""
    x, weight, right = c.value_and_const()
    flips = [bool(c.integer(name, 0)) for name in ("transA", "transB")]
    alpha, beta = (np.array(c.number(name, 1.0), w.kind) for name in ("alpha", "beta"))
    if x.rank != 2 or weight.ndim != 2:
        c.refuse("needs two matrices")
    x = _swapped(w, c, x) if flips[0 if right else 1] == right else x
    weight = weight if flips[1 if right else 0] != right else weight.T
    offset = w.floats(c, c.const(2)) if c.has(2) else np.zeros((), w.kind)
    with np.errstate(all="ignore"):
        added = np.asarray(beta * offset, w.kind)
    if beta != 1 and any(Fraction(float(beta)) * Fraction(o) != Fraction(a)
                         for o, a in zip(offset.ravel().tolist(), added.ravel().tolist(), strict=True)):
        c.refuse(f"rounds its beta {beta} times its bias")
    if right and alpha == 1 and added.shape in (weight.shape[1:], (1, *weight.shape[1:])):
        return _product(w, c, x, weight, added.reshape(-1))
    out = _product(w, c, x, weight)
    out = out if right else _swapped(w, c, out)
    if alpha != 1:
        out = w.scale(c, out, alpha)
    return w.shift(c, out, added)


def _conv(w: Writer, c: Call) -> Value:
    """Uneven padding is a move in front; a node of zero padding before this one joins its own."""
    x, weight = sample(w, c), c.const(1)
    stride, dilation = _spatial(c, x, weight)
    low, high = pad_lengths(c, x.shape[2:], weight.shape[2:], stride, dilation)
    if x.name in w.padded:
        x, more_low, more_high = w.padded[x.name]
        low, high = low + more_low, high + more_high
    both = np.minimum(low, high)
    if (low != high).any():
        widths = [(0, 0), (0, 0), *zip((low - both).tolist(), (high - both).tolist(), strict=True)]
        w.spend(c, *(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True)))
        x = w.move(c, x, np.pad(w.positions(c, x), widths, constant_values=-1))
    spans = np.array(x.shape[2:]) + 2 * both - np.array(dilation) * (np.array(weight.shape[2:]) - 1) - 1
    groups = c.integer("group", 1)
    if (spans < 0).any() or groups < 1 or x.shape[1] != weight.shape[1] * groups or len(weight) % groups:
        c.refuse(f"has a kernel {weight.shape} that does not fit its maps {x.shape}")
    shape = (1, len(weight), *(int(n) for n in spans // np.array(stride) + 1))
    return _convolved(w, c, x, weight, shape, stride, both, dilation, groups, False)


def _conv_transpose(w: Writer, c: Call) -> Value:
    """`pads` cut the full output; what is uneven in them is cut off afterwards."""
    x, weight = sample(w, c), c.const(1)
    stride, dilation = _spatial(c, x, weight)
    axes = x.rank - 2
    extra, pads = c.lengths("output_padding", axes, 0), c.lengths("pads", 2 * axes, 0)
    groups = c.integer("group", 1)
    if c.text("auto_pad", "NOTSET") != "NOTSET" or any(e >= s for e, s in zip(extra, stride, strict=True)):
        c.refuse("has auto_pad, or output padding that is not less than its stride")
    if groups < 1 or x.shape[1] != len(weight) or len(weight) % groups:
        c.refuse(f"has a kernel {weight.shape} that does not fit its maps {x.shape}")
    low, high = np.array(pads).reshape(2, -1)
    both = np.minimum(low, high)
    span = np.multiply(dilation, np.subtract(weight.shape[2:], 1)) + 1
    lengths = np.multiply(stride, np.subtract(x.shape[2:], 1)) + span + extra - 2 * both
    if (lengths - (low - both) - (high - both) < 1).any():
        c.refuse("cuts all of its output away")
    shape = (1, weight.shape[1] * groups, *(int(n) for n in lengths))
    out = _convolved(w, c, x, weight, shape, stride, both, dilation, groups, True)
    kept = tuple(slice(int(a), n - int(b)) for n, a, b in zip(out.shape[2:], low - both, high - both, strict=True))
    return w.move(c, out, w.positions(c, out)[(slice(None), slice(None), *kept)])


def _convolved(w: Writer, c: Call, x: Value, weight: np.ndarray, shape: Shape, stride: Shape, padding: np.ndarray,
               dilation: Shape, groups: int, transposed: bool) -> Value:
    bias = w.floats(c, c.const(2)) if c.has(2) else None
    if bias is not None and bias.shape != (shape[1],):
        c.refuse(f"has a bias of shape {bias.shape} for {shape[1]} channels")
    return w.emit(
        c, "conv", [x], shape, weight=w.floats(c, weight), bias=bias, stride=list(stride), padding=padding.tolist(),
        dilation=list(dilation), groups=groups, transposed=transposed,
    )


def _spatial(c: Call, x: Value, weight: np.ndarray) -> tuple[Shape, Shape]:
    """Stride and dilation of a convolution."""
    axes = x.rank - 2
    if not 1 <= axes <= 3 or weight.ndim != x.rank or 0 in weight.shape:
        c.refuse(f"has a kernel of shape {weight.shape} for maps of shape {x.shape}")
    stride, dilation = c.lengths("strides", axes, 1), c.lengths("dilations", axes, 1)
    kernel = c.listed("kernel_shape")
    if 0 in stride or 0 in dilation or (kernel is not None and tuple(kernel) != weight.shape[2:]):
        c.refuse("has a stride or a dilation of 0, or a kernel_shape that is not its kernel's")
    return stride, dilation


def _norm(w: Writer, c: Call) -> Value:
    c.number("momentum", 0)
    if c.integer("training_mode", 0) or not c.integer("spatial", 1) or (c.opset < 14 and c.outputs > 1):
        c.refuse("is in training mode or normalises each place by itself")
    x, roles = sample(w, c), ("weight", "bias", "mean", "variance")
    parts = {role: w.floats(c, c.const(i)) for i, role in enumerate(roles, start=1)}
    eps = c.number("epsilon", float(np.float32(1e-5)))
    if any(part.shape != (x.shape[1],) for part in parts.values()):
        c.refuse(f"has statistics that do not fit {x.shape[1]} channels")
    if not 0 <= eps < 1 or not (parts["variance"].astype(np.float64) + eps > 0).all():
        c.refuse("normalises by a variance that is not positive")
    return w.emit(c, "norm", [x], x.shape, **parts, eps=eps)


def _sum(w: Writer, c: Call) -> Value:
    """Terms of the same value become a factor; constants are added one by one."""
    operands = [c.operand(i) for i in range(len(c.inputs))]
    if c.op == "Sub" and len(operands) != 2:
        c.refuse(f"subtracts {len(operands)} tensors")
    shape = tuple(np.broadcast_shapes(*(o.shape for o in operands)))
    counts: dict[Value, int] = {}
    for i, operand in enumerate(operands):
        if isinstance(operand, Value):
            wide = broadcast(w, c, operand, shape)
            counts[wide] = counts.get(wide, 0) + (-1 if c.op == "Sub" and i == 1 else 1)
    if 0 in counts.values():
        c.refuse("subtracts a tensor from itself")
    if any(abs(n) > 2 for n in counts.values()):
        c.refuse("adds a tensor more than twice")  # whose rounding is not that of a product
    terms = [v if abs(n) == 1 else w.scale(c, v, np.array(abs(n), w.kind)) for v, n in counts.items()]
    signs = [1 if n > 0 else -1 for n in counts.values()]
    if len(terms) > 1:
        out = w.emit(c, "add", terms, shape, signs=signs)
    else:
        out = terms[0] if signs[0] > 0 else w.negate(c, terms[0])
    for i, operand in enumerate(operands):
        if isinstance(operand, np.ndarray):
            out = w.shift(c, out, -operand if c.op == "Sub" and i == 1 else operand)
    return out


def _multiply(w: Writer, c: Call) -> Value:
    if c.vary(2):
        return (product if c.op == "Mul" else quotient)(w, c, c.value(0), c.value(1))
    value, const, right = c.value_and_const()
    factor = w.floats(c, const)
    shape = tuple(np.broadcast_shapes(value.shape, factor.shape))
    wide = broadcast(w, c, value, shape)
    if c.op == "Mul":
        return w.scale(c, wide, factor)
    if not right:
        below = power(w, c, value, -1)
        return w.scale(c, broadcast(w, c, below, shape), factor)
    if not factor.all():
        c.refuse("divides by something else than constants without zeros")
    return w.divide(c, wide, factor)


def _leaky_relu(w: Writer, c: Call) -> Value:
    slope = c.number("alpha", float(np.float32(0.01)))
    if not np.isfinite(slope):
        c.refuse("has a slope that is not finite")
    return w.piecewise(c, c.value(), [0], [Fraction(slope), 1], (0, 0))


def _clip(w: Writer, c: Call) -> Value:
    """With one finite side it is a ReLU between shifts: max(x, low) = relu(x - low) + low."""
    low, high = _bound(w, c, 1, "min", -np.inf), _bound(w, c, 2, "max", np.inf)
    if not low < high:
        c.refuse(f"clips to [{low}, {high}]")
    x = c.value()
    if np.isfinite(low) and np.isfinite(high):
        ends = Fraction(low), Fraction(high)
        return w.piecewise(c, x, [*ends], [0, 1, 0], (ends[0], ends[0]))
    if np.isfinite(low):
        return _at_least(w, c, x, low)
    return w.negate(c, _at_least(w, c, w.negate(c, x), -high)) if np.isfinite(high) else x


def _bound(w: Writer, c: Call, place: int, attribute: str, none: float) -> float:
    """A bound of Clip; none, and the type's largest number, which older opsets use for none, are infinite."""
    bound = float(c.const(place).item()) if c.has(place) else c.number(attribute, none)
    if abs(bound) >= float(np.finfo(w.kind).max) and bound * none > 0:
        return none
    if not np.isfinite(bound):
        c.refuse(f"has the bound {bound}")
    return bound


def _at_least(w: Writer, c: Call, x: Value, low: float) -> Value:
    floor = np.array(low, w.kind)
    return w.shift(c, w.piecewise(c, w.shift(c, x, -floor), [0], [0, 1], (0, 0)), floor)


def _same(w: Writer, c: Call) -> Value:
    """Identity, dropout in inference, and casts to the type that the network has."""
    c.number("ratio", 0)
    c.integer("seed", 0)
    if c.has(2) and c.const(2).any():
        c.refuse("drops at random in training mode")
    if c.op == "Cast" and FLOATS.get(c.integer("to", 0)) != w.kind:
        c.refuse("casts to a type that is not the network's")
    return c.value()


def _ended(w: Writer, c: Call) -> Value:
    """A softmax over all entries, or its logarithm, stands for its input, and one over others is composed: before opset
    13 over all axes from one on."""
    x = c.value()
    axis = c.axis(c.integer("axis", 1 if c.opset < 13 else -1), x.rank)
    end = x.rank if c.opset < 13 else axis + 1
    if len(c.inputs) != 1 or c.outputs != 1 or (w.symbolic and axis == 0):
        c.refuse(f"has a softmax over {x.shape[axis:end]} of its input {x.shape}, which mixes samples")
    return x if prod(x.shape[axis:end]) == x.size else softmax(w, c, x, axis, end)


HEADS = ("Softmax", "LogSoftmax")
LAYERS: dict[str, Layer] = {
    **CURVES,
    **dict.fromkeys(HEADS, _ended),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), layer_norm),
    **dict.fromkeys(("InstanceNormalization", "GroupNormalization"), group_norm),
    MAKES: quantised, READS: dequantised, "MatMul": _matmul, "Gemm": _gemm,
    "Conv": _conv, "ConvTranspose": _conv_transpose, "BatchNormalization": _norm,
    "Add": _sum, "Sub": _sum, "Sum": _sum, "Mul": _multiply, "Div": _multiply,
    "Neg": lambda w, c: w.negate(c, c.value()),
    "Relu": lambda w, c: w.piecewise(c, c.value(), [0], [0, 1], (0, 0)),
    "Abs": lambda w, c: w.piecewise(c, c.value(), [0], [-1, 1], (0, 0)),
    "LeakyRelu": _leaky_relu, "Clip": _clip, "Identity": _same, "Dropout": _same, "Cast": _same,
    "MaxPool": pooled, "AveragePool": averaged,
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), reduced),
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"), reduced),
}
