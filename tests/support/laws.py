"""What the law suites share: an independent oracle for every registered op, boundary boxes, and points inside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erf, expit, ndtr
from torch import Tensor, nn

from verify.ops import (
    REGISTRY,
    Affine,
    BatchNorm,
    Curve,
    Domain,
    Example,
    IntervalBounds,
    Lines,
    MatMul,
    Nonlinear,
    Op,
    Parameters,
    Piecewise,
    Product,
    Relaxation,
)

EXAMPLES = {
    f"{name}-{i}": example for name, (_, examples) in sorted(REGISTRY.items()) for i, example in enumerate(examples())
}

# ---- oracles: each op as torch or NumPy computes it ----


def _module(module: nn.Module, weights: Parameters, *xs: Tensor) -> Tensor:
    """A torch module in eval mode with these parameters and buffers, in the order of its state."""
    module = module.eval().to(xs[0].dtype)
    names = [name for name in module.state_dict() if "num_batches" not in name]
    with torch.no_grad():
        module.load_state_dict(dict(zip(names, weights, strict=True)), strict=False)
        return module(*xs)


def _conv(op: Any, p: Parameters, x: Tensor) -> Tensor:
    kind: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(op.stride) - 1]
    sizes = (p[0].shape[1] * op.groups, p[0].shape[0], tuple(p[0].shape[2:]))
    return _module(kind(*sizes, op.stride, op.padding, op.dilation, op.groups, bias=len(p) > 1), p, x)


def _conv_transpose(op, p: Parameters, x: Tensor) -> Tensor:
    kind: Any = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[len(op.stride) - 1]
    sizes = (p[0].shape[0], p[0].shape[1] * op.groups, tuple(p[0].shape[2:]))
    settings = (op.stride, op.padding, op.output_padding, op.groups, len(p) > 1, op.dilation)
    return _module(kind(*sizes, *settings), p, x)


def _avg_pool(op, p: Parameters, x: Tensor) -> Tensor:
    kind = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[len(op.kernel) - 1]
    return kind(op.kernel, op.stride, op.padding, op.ceil_mode, op.count_include_pad)(x)


def _batch_norm(op, p: Parameters, x: Tensor) -> Tensor:
    kind = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[op.spatial]
    return _module(kind(len(p[0]), op.eps), p, x)


def _select(op, p: Parameters, x: Tensor) -> Tensor:
    rows = [[0.0 if i < 0 else row[i] for i in p[0].flatten().tolist()] for row in x.flatten(1).tolist()]
    return torch.tensor(rows, dtype=x.dtype).reshape(len(x), *p[0].shape)


def _max(op, p: Parameters, x: Tensor) -> Tensor:
    rows = [[max(row[i] for i in group) for group in p[0].flatten(0, -2).tolist()] for row in x.flatten(1).tolist()]
    return torch.tensor(rows, dtype=x.dtype).reshape(len(x), *p[0].shape[:-1])


def _sum(op, p: Parameters, x: Tensor) -> Tensor:
    reduce = np.mean if op.mean else np.sum
    return torch.from_numpy(np.asarray(reduce(x.numpy(), axis=tuple(i + 1 for i in op.axes), keepdims=op.keepdim)))


def _product(op, p: Parameters, x: Tensor) -> Tensor:
    parts = np.split(x.numpy(), [int(np.prod(op.left))], axis=1)
    left, right = (part.reshape(len(x), *shape) for part, shape in zip(parts, (op.left, op.right), strict=True))
    return torch.from_numpy(np.matmul(left, right) if isinstance(op, MatMul) else np.multiply(left, right))


def _in_double(function: Callable[[np.ndarray], np.ndarray], x: Tensor) -> Tensor:
    return torch.from_numpy(function(x.double().numpy())).to(x.dtype)


def _jumping(op, p: Parameters, x: Tensor) -> Tensor:
    """Each entry by the list of pieces, in Python."""
    out = []
    for v in x.flatten().tolist():
        at = [float(value) for b, value in zip(op.places, op.values, strict=True) if b == v]
        slope, intercept = op.lines[sum(b < v for b in op.places)]
        out.append(at[0] if at else float(slope) * v + float(intercept))
    return torch.tensor(out, dtype=x.dtype).reshape(x.shape)


def _elu(op, p: Parameters, x: Tensor) -> Tensor:
    alpha, scale, rate = float(op.alpha), float(op.scale), float(op.rate)
    return _in_double(lambda v: scale * np.where(v > 0, v, alpha * np.expm1(rate * np.minimum(v, 0))), x)


ORACLES: dict[str, Callable[..., Tensor]] = {
    "Linear": lambda op, p, x: torch.einsum("...i,oi->...o", x, p[0]) + (p[1] if len(p) > 1 else 0),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "AvgPool": _avg_pool,
    "BatchNorm": _batch_norm,
    "Reshape": lambda op, p, x: torch.from_numpy(np.reshape(x.numpy(), (len(x), *op.shape))),
    "Permute": lambda op, p, x: torch.from_numpy(np.transpose(x.numpy(), (0, *(i + 1 for i in op.order)))),
    "Select": _select,
    "Concat": lambda op, p, *xs: torch.from_numpy(np.concatenate([x.numpy() for x in xs], op.axis + 1)),
    "Sum": _sum,
    "Add": lambda op, p, *xs: torch.stack([s * x for s, x in zip(op.signs, xs, strict=True)]).sum(0),
    "Scale": lambda op, p, x: torch.from_numpy(np.multiply(x.numpy(), p[0].numpy())),
    "Divide": lambda op, p, x: torch.from_numpy(np.divide(x.numpy(), p[0].numpy())),
    "Shift": lambda op, p, x: torch.from_numpy(np.add(x.numpy(), p[0].numpy())),
    "ReLU": lambda op, p, x: nn.ReLU()(x),
    "LeakyReLU": lambda op, p, x: nn.LeakyReLU(float(op.negative_slope))(x),
    "Abs": lambda op, p, x: torch.abs(x),
    "Clip": lambda op, p, x: nn.Hardtanh(float(op.low), float(op.high))(x),
    "HardSigmoid": lambda op, p, x: nn.Hardsigmoid()(x),
    "Max": _max,
    "Atan": lambda op, p, x: torch.from_numpy(np.arctan(x.numpy())),
    "Cos": lambda op, p, x: torch.from_numpy(np.cos(x.numpy())),
    "Sin": lambda op, p, x: torch.from_numpy(np.sin(x.numpy())),
    "ELU": _elu,
    "Floor": lambda op, p, x: torch.from_numpy(np.floor(x.numpy())),
    "Ceil": lambda op, p, x: torch.from_numpy(np.ceil(x.numpy())),
    "RoundToEven": lambda op, p, x: torch.from_numpy(np.round(x.numpy())),
    "JumpingLines": _jumping,
    "GELU": lambda op, p, x: _in_double(lambda v: v * ndtr(np.sqrt(2) * float(op.rate) * v), x),
    "HardSwish": lambda op, p, x: nn.functional.hardswish(x),
    "Mish": lambda op, p, x: _in_double(lambda v: v * np.tanh(np.logaddexp(v, 0)), x),
    "Softsign": lambda op, p, x: nn.functional.softsign(x),
    "Swish": lambda op, p, x: torch.from_numpy(x.numpy() * expit(float(op.beta) * x.numpy())),
    "TanhGELU": lambda op, p, x: _in_double(lambda v: v * expit(np.sqrt(8 / np.pi) * (v + 0.044715 * v**3)), x),
    "Erf": lambda op, p, x: torch.from_numpy(erf(x.numpy())),
    "Exp": lambda op, p, x: torch.from_numpy(np.exp(x.numpy())),
    "Log": lambda op, p, x: torch.from_numpy(np.log(x.numpy())),
    "Power": lambda op, p, x: torch.from_numpy(np.power(x.numpy(), float(op.exponent))),
    "Multiply": _product,
    "MatMul": _product,
    "Sigmoid": lambda op, p, x: torch.from_numpy(expit(x.numpy())),
    "Softplus": lambda op, p, x: torch.from_numpy(np.logaddexp(x.numpy(), np.zeros((), x.numpy().dtype))),
    "Tanh": lambda op, p, x: torch.from_numpy(np.tanh(x.numpy())),
}

EXACT: dict[str, Callable[[Any, Fraction], Fraction]] = {  # the piecewise ops in rationals
    "ReLU": lambda op, x: max(x, Fraction(0)),
    "LeakyReLU": lambda op, x: x if x > 0 else op.negative_slope * x,
    "Abs": lambda op, x: abs(x),
    "Clip": lambda op, x: min(max(x, op.low), op.high),
    "HardSigmoid": lambda op, x: min(max(op.slope * x + op.offset, Fraction(0)), Fraction(1)),
}


# ---- boxes and points ----


def cast(example: Example, dtype: torch.dtype) -> Parameters:
    """The example's parameters in this float type."""
    return tuple(t.to(dtype) if t.is_floating_point() else t for t in example.parameters)


def boundary_pairs(op: Op, dtype: torch.dtype) -> list[tuple[float, float]]:
    """(low, high) pairs where bounds go wrong: signs, points, breakpoints and their neighbours, huge, tiny, saturated;
    those over which an elementwise op has numbers."""
    pairs = [(-2, -1), (1, 2), (-1, 2), (-2, 1), (-3, 1.2), (0, 1), (-1, 0), (0, 0), (0.3, 0.3), (-0.7, -0.7), (-1, 1)]
    pairs += [(-1e30, 1e30), (-1e30, -1), (1, 1e30), (1e30, 1e30), (-5, 1e30), (-1e30, 5), (-1, 100), (-100, 2)]
    pairs += [(20, 30), (-30, -20), (80, 120), (-120, -80), (-120, 80), (-9, 12), (4, 4.001), (-1e-3, 1e-3)]
    least = float(torch.nextafter(torch.zeros((), dtype=dtype), torch.ones((), dtype=dtype)))
    pairs += [(-least, least), (0, least), (-least, 0), (1e-40, 3e-40), (-1e-39, 1)]
    places = (Fraction(0), Fraction(1))
    if isinstance(op, Curve) and op.breakpoints:
        places = op.breakpoints if isinstance(op, Piecewise) else (*op.breakpoints, *op.turns, *places)
    for breakpoint in places:
        at = torch.tensor(float(breakpoint), dtype=dtype)
        below, above = (float(torch.nextafter(at, torch.full_like(at, end))) for end in (-torch.inf, torch.inf))
        b = float(at)
        pairs += [(below, b), (b, above), (below, above), (b, b), (b - 1, above), (below, b + 1)]
        pairs += [(b, b + 1), (b - 1, b)]
    if isinstance(op, Product):  # whose squares are floats
        pairs = [pair for pair in pairs if max(map(abs, pair)) < 1e15]
    if isinstance(op, Curve):
        ends = torch.tensor(pairs, dtype=dtype)
        gone = op.domain.left_by(IntervalBounds(*ends.T))
        finite = torch.isfinite(op.forward((), ends)).all(1) & (True if gone is None else ~gone)
        pairs = [pair for pair, is_finite in zip(pairs, finite.tolist(), strict=True) if is_finite]
    return pairs


def boundary_boxes(example: Example, dtype: torch.dtype, seed: int) -> tuple[IntervalBounds, ...]:
    """For each argument a batch of boxes: every boundary pair in all coordinates, then pairs mixed at random."""
    random = np.random.default_rng(seed)
    pairs = np.array(boundary_pairs(example.op, dtype))
    boxes = []
    for k, shape in enumerate(example.shapes):
        size = int(np.prod(shape))
        picked = np.concatenate([
            np.roll(np.repeat(np.arange(len(pairs))[:, None], size, axis=1), k, axis=0),
            random.integers(0, len(pairs), (20, size)),
        ])
        low, high = (torch.tensor(pairs[picked, end]).to(dtype).reshape(-1, *shape) for end in (0, 1))
        boxes.append(IntervalBounds(low, high))
    return tuple(boxes)


def plain_boxes(example: Example, dtype: torch.dtype, seed: int) -> tuple[IntervalBounds, ...]:
    """Three boxes of moderate random size for each argument; where an op is not defined everywhere, of positive
    numbers."""
    generator = torch.Generator().manual_seed(seed)
    boxes = []
    for shape in example.shapes:
        center, radius = (torch.randn((3, *shape), generator=generator, dtype=dtype) for _ in range(2))
        box = IntervalBounds(center - radius.abs(), center + radius.abs())
        boxes.append(IntervalBounds(box.low.exp(), box.high.exp()) if is_partial(example.op) else box)
    return tuple(boxes)


def is_partial(op: Op) -> bool:
    """Whether an op has no value at some numbers."""
    return isinstance(op, Curve) and op.domain != Domain()


def points(boxes: tuple[IntervalBounds, ...], count: int, seed: int) -> Iterator[tuple[Tensor, ...]]:
    """Points of the boxes, for each argument (batch, *shape): both ends, an even grid, corners, random ones."""
    generator = torch.Generator().manual_seed(seed)
    for i in range(3 * count):
        drawn = []
        for low, high in boxes:
            random = torch.rand(low.shape, generator=generator, dtype=low.dtype)
            even = torch.full_like(low, i / (count - 1))
            t = (even, random.round(), random)[i // count]
            x = torch.where(t == 1, high, low + t * (high - low))
            drawn.append(x.clamp(low, high))
        yield tuple(drawn)


def relaxation_of(op: Op, p: Parameters, box: IntervalBounds) -> Relaxation:
    """The relaxation of a nonlinear op."""
    assert isinstance(op, Nonlinear)
    return op.relax(p, box)


def lines_of(op: Op, box: IntervalBounds) -> Lines:
    """The lines of an elementwise op."""
    lines = relaxation_of(op, (), box)
    assert isinstance(lines, Lines)
    return lines


def along(relaxation: Relaxation, x: Tensor) -> tuple[Tensor, Tensor]:
    """Values of the (lower, upper) functions at inputs x, in float64."""
    below, above = (relaxation.linear(x.double(), is_upper) for is_upper in (False, True))
    return below + relaxation.lower_intercept.double(), above + relaxation.upper_intercept.double()


def rational_input(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Random rationals with small denominators, object array."""
    random = np.random.default_rng(seed)
    out = np.empty(shape, dtype=object)
    for place in np.ndindex(shape):
        out[place] = Fraction(int(random.integers(-60, 60)), int(random.integers(1, 9)))
    return out


# ---- choosing and comparing ----

DTYPES = (torch.float32, torch.float64)
every_op = pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=("float32", "float64"))


def of_family(*families: type, but: type | None = None) -> pytest.MarkDecorator:
    """Parametrizes a test over the examples of these families."""
    chosen = {name: e for name, e in EXAMPLES.items() if isinstance(e.op, families) and type(e.op) is not but}
    return pytest.mark.parametrize("example", chosen.values(), ids=chosen)


def magnitude(example: Example, p: tuple[Tensor, ...], *xs: Tensor) -> Tensor:
    """What rounding errors of the op are proportional to, float64: |A| |x| + |b|, |x| + |f(x)| or |f(x)|."""
    op = example.op
    if isinstance(op, Curve) and op.ulps:
        return op.forward((), xs[0].double()).abs()
    xs = tuple(x.double().abs() for x in xs)
    p = tuple(t.double() if t.is_floating_point() else t for t in p)
    if not isinstance(op, Affine):
        return op.forward(p, *xs).abs() + (xs[0] if isinstance(op, Piecewise) else 0)
    if isinstance(op, BatchNorm):
        p = (p[0].abs(), p[1].abs(), -p[2].abs(), p[3])
    total = sum((op.absolute(p, k, x) for k, x in enumerate(xs)), torch.zeros(()))
    bias = op.bias(p)
    return total if bias is None else total + bias.abs()


def rounding(example: Example, p: tuple[Tensor, ...], *xs: Tensor) -> Tensor:
    """A few units in the last place of the inputs' dtype, on the scale of `magnitude`."""
    kind = torch.finfo(xs[0].dtype)
    tail = example.op.tail if isinstance(example.op, Curve) else 0
    return 32 * (kind.eps * magnitude(example, p, *xs) + kind.tiny) + tail * kind.eps


def is_rounded_outward(op: Op) -> bool:
    """Whether bounds hold in real arithmetic as far as the library's f is trusted."""
    return isinstance(op, Curve) and op.ulps > 0
