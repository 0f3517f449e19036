"""How operators of ONNX are evaluated by torch for their gradients; see `verify.ir.opaque.gradients`.

Where a function is flat but at jumps, its gradient is that of what it rounds (a straight-through estimate, Bengio et
al. 2013), which says more about where to look than 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor

from verify.ir.opaque.gradients import RULES, Given, NodeSettings, Untranslated, at, rule, tensor

Unary = Callable[[Tensor], Tensor]
PLAIN: dict[str, Unary] = {
    "Relu": torch.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "Exp": torch.exp, "Log": torch.log,
    "Sqrt": torch.sqrt, "Abs": torch.abs, "Neg": torch.neg, "Reciprocal": torch.reciprocal, "Erf": torch.erf,
    "Sin": torch.sin, "Cos": torch.cos, "Tan": torch.tan, "Atan": torch.atan,
    "Sinh": torch.sinh, "Cosh": torch.cosh, "Softplus": F.softplus, "Softsign": F.softsign, "HardSwish": F.hardswish,
    "Mish": F.mish, "Identity": lambda x: x, "Not": torch.logical_not, "IsNaN": torch.isnan, "IsInf": torch.isinf,
    "NonZero": lambda x: torch.stack(x.nonzero(as_tuple=True)),
    "Floor": lambda x: _through(x, torch.floor(x)), "Ceil": lambda x: _through(x, torch.ceil(x)),
    "Round": lambda x: _through(x, torch.round(x)), "Sign": lambda x: _through(x.clamp(-1, 1), torch.sign(x)),
    "Size": lambda x: torch.tensor(x.numel()),
}
PAIRS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Pow": torch.pow, "MatMul": torch.matmul,
    "Equal": torch.eq, "Greater": torch.gt, "Less": torch.lt, "GreaterOrEqual": torch.ge, "LessOrEqual": torch.le,
    "And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor,
}
MANY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"Max": torch.maximum, "Min": torch.minimum, "Sum": torch.add}
REDUCE: dict[str, Callable[..., Tensor]] = {
    "ReduceSum": torch.sum, "ReduceMean": torch.mean, "ReduceMax": torch.amax, "ReduceMin": torch.amin,
    "ReduceL1": lambda x, dim, keepdim: x.abs().sum(dim, keepdim),
    "ReduceL2": lambda x, dim, keepdim: torch.linalg.vector_norm(x, 2, dim, keepdim),
    "ReduceSumSquare": lambda x, dim, keepdim: (x * x).sum(dim, keepdim),
    "ReduceLogSumExp": torch.logsumexp,
}
KINDS = {  # by their numbers in ONNX
    1: torch.float32, 11: torch.float64, 7: torch.int64, 6: torch.int32, 9: torch.bool, 3: torch.int8, 2: torch.uint8,
}


def _through(smooth: Tensor, value: Tensor) -> Tensor:
    """The value with the gradient of something smooth."""
    return smooth + (value - smooth).detach()


def _plain(function: Unary) -> Callable[[Given, NodeSettings], Tensor]:
    return lambda given, how: function(at(given, 0))


def _pair(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Given, NodeSettings], Tensor]:
    return lambda given, how: function(at(given, 0), at(given, 1))


def _fold(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Given, NodeSettings], Tensor]:
    def evaluate(given: Given, how: NodeSettings) -> Tensor:
        found = at(given, 0)
        for k in range(1, len(given)):
            found = function(found, at(given, k))
        return found

    return evaluate


def _reduce(function: Callable[..., Tensor]) -> Callable[[Given, NodeSettings], Tensor]:
    def evaluate(given: Given, how: NodeSettings) -> Tensor:
        x, axes = at(given, 0), how.listed(given, 1, "axes")
        if not axes and how.get("noop_with_empty_axes", 0):
            return x
        return function(x, axes or list(range(x.ndim)), bool(how.get("keepdims", 1)))

    return evaluate


RULES.update({name: _plain(function) for name, function in PLAIN.items()})
RULES.update({name: _pair(function) for name, function in PAIRS.items()})
RULES.update({name: _fold(function) for name, function in MANY.items()})
RULES.update({name: _reduce(function) for name, function in REDUCE.items()})


@rule("Div")
def _div(given: Given, how: NodeSettings) -> Tensor:
    a, b = at(given, 0), at(given, 1)
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


@rule("Dropout")
def _dropout(given: Given, how: NodeSettings) -> Tensor:
    return at(given, 0)


@rule("LeakyRelu")
def _leaky(given: Given, how: NodeSettings) -> Tensor:
    return F.leaky_relu(at(given, 0), how.get("alpha", 0.01))


@rule("Elu")
def _elu(given: Given, how: NodeSettings) -> Tensor:
    return F.elu(at(given, 0), how.get("alpha", 1.0))


@rule("Selu")
def _selu(given: Given, how: NodeSettings) -> Tensor:
    return F.selu(at(given, 0))


@rule("HardSigmoid")
def _hard_sigmoid(given: Given, how: NodeSettings) -> Tensor:
    return (how.get("alpha", 0.2) * at(given, 0) + how.get("beta", 0.5)).clamp(0, 1)


@rule("Gelu")
def _gelu(given: Given, how: NodeSettings) -> Tensor:
    return F.gelu(at(given, 0), approximate=how.get("approximate", "none"))


@rule("PRelu")
def _prelu(given: Given, how: NodeSettings) -> Tensor:
    return torch.where(at(given, 0) < 0, at(given, 1) * at(given, 0), at(given, 0))


@rule("Clip")
def _clip(given: Given, how: NodeSettings) -> Tensor:
    low, high = (given[k] if k < len(given) else how.get(name) for k, name in ((1, "min"), (2, "max")))
    return torch.clamp(at(given, 0), low, high) if low is not None or high is not None else at(given, 0)


def _along(function: Callable[[Tensor, int], Tensor], x: Tensor, how: NodeSettings) -> Tensor:
    """The function along an axis; before opset 13 along all axes from that one on."""
    if how.opset >= 13:
        return function(x, how.get("axis", -1))
    return function(x.flatten(how.get("axis", 1)), -1).reshape(x.shape)


@rule("Softmax")
def _softmax(given: Given, how: NodeSettings) -> Tensor:
    return _along(torch.softmax, at(given, 0), how)


@rule("LogSoftmax")
def _log_softmax(given: Given, how: NodeSettings) -> Tensor:
    return _along(torch.log_softmax, at(given, 0), how)


@rule("Gemm")
def _gemm(given: Given, how: NodeSettings) -> Tensor:
    a, b = at(given, 0), at(given, 1)
    product = (a.T if how.get("transA", 0) else a) @ (b.T if how.get("transB", 0) else b)
    bias = how.get("beta", 1.0) * at(given, 2) if len(given) > 2 and given[2] is not None else 0.0
    return how.get("alpha", 1.0) * product + bias


@rule("Einsum")
def _einsum(given: Given, how: NodeSettings) -> Tensor:
    return torch.einsum(how.get("equation"), *(at(given, k) for k in range(len(given))))


@rule("Cast")
def _cast(given: Given, how: NodeSettings) -> Tensor:
    return at(given, 0).to(KINDS[how.get("to")])


@rule("Constant")
def _constant(given: Given, how: NodeSettings) -> Tensor:
    ((kind, value),) = how.attributes.items()
    plain = {"value_float": torch.float32, "value_floats": torch.float32, "value_int": torch.int64,
             "value_ints": torch.int64}
    return tensor(numpy_helper.to_array(value)) if kind == "value" else torch.tensor(value, dtype=plain[kind])


@rule("ConstantOfShape")
def _constant_of_shape(given: Given, how: NodeSettings) -> Tensor:
    value = tensor(numpy_helper.to_array(how.get("value"))) if how.get("value") is not None else torch.zeros(1)
    return value.expand(at(given, 0).tolist()).clone()


@rule("Range")
def _range(given: Given, how: NodeSettings) -> Tensor:
    start, end, step = (at(given, k).item() for k in range(3))
    return torch.arange(start, end, step, dtype=at(given, 0).dtype)


@rule("ArgMax")
def _arg_max(given: Given, how: NodeSettings) -> Tensor:
    return at(given, 0).argmax(how.get("axis", 0), bool(how.get("keepdims", 1)))


@rule("ArgMin")
def _arg_min(given: Given, how: NodeSettings) -> Tensor:
    return at(given, 0).argmin(how.get("axis", 0), bool(how.get("keepdims", 1)))


@rule("TopK")
def _top(given: Given, how: NodeSettings) -> list[Tensor]:
    return [*at(given, 0).topk(int(at(given, 1)), how.get("axis", -1), bool(how.get("largest", 1)))]


@rule("CumSum")
def _cumsum(given: Given, how: NodeSettings) -> Tensor:
    if how.get("exclusive", 0) or how.get("reverse", 0):
        raise Untranslated("CumSum from the end")
    return at(given, 0).cumsum(int(at(given, 1)))

