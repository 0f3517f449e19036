"""One node of a traced program: translated where it depends on the input, run where it does not."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx

from verify.ir import (
    aten_assign,
    aten_curves,
    aten_heads,
    aten_linear,
    aten_norms,
    aten_ops,
    aten_products,
    aten_reduce,
    aten_resize,
    aten_shapes,
    aten_where,
)
from verify.ir.aten import COMPARING, OPS, Constant, Context
from verify.ir.aten_layout import TracedValue
from verify.ir.aten_where import JUMPS, Comparison

TRANSLATIONS = (  # they fill OPS
    aten_assign, aten_curves, aten_heads, aten_linear, aten_norms, aten_ops, aten_products, aten_reduce, aten_resize,
    aten_shapes, aten_where,
)

SORTS = "picks entries by the order of values that vary, which jumps; use amax or amin, or a fixed choice"
REASONS = {
    **{f"aten.{name}": SORTS for name in ("argmax.default", "argmin.default", "topk.default", "sort.default",
                                          "argsort.default", "median.dim", "kthvalue.default")},
    "aten._native_batch_norm_legit.no_stats": "normalises by the statistics of a batch, so that samples depend on each "
                                              "other; use batch normalisation with running statistics",
    "aten.native_dropout.default": "drops entries at random; export the module in eval mode, and call F.dropout with "
                                   "training=self.training",
    "aten._native_batch_norm_legit_functional.default": "is a training operator; export the module in eval mode",
}


def translated(c: Context, node: fx.Node, values: dict[str, Any]) -> Any:
    """The translation of one node: a TracedValue, a Constant, a number, or a list of these."""
    given = fx.map_arg((node.args, node.kwargs), lambda n: values[n.name])
    args: list[Any] = list(given[0])
    kwargs: dict[str, Any] = dict(given[1])
    if node.target is operator.getitem and isinstance(args[0], list):
        result = operator.getitem(*args)
        if result is None:
            raise c.refuse(f"is output {args[1]} of {node.args[0]}, which has no place in the IR; use output 0")
    elif any(isinstance(x, (TracedValue, Comparison)) for x in _leaves((args, kwargs))):
        result = _converted(c, node, args, kwargs)
    else:
        return _evaluated(c, node, args, kwargs)
    _check(c, node, result)
    return result


def _converted(c: Context, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    handler = OPS.get(str(node.target))
    if str(node.target) not in COMPARING and any(isinstance(x, Comparison) for x in _leaves((args, kwargs))):
        raise c.refuse(f"takes a comparison for a number, which jumps; {JUMPS}")
    if handler is None or not isinstance(node.target, torch._ops.OpOverload):
        raise c.refuse(REASONS.get(str(node.target), "is outside the operator families of the IR; replace it by "
                                                     "supported operators"))
    declared = node.target._schema.arguments
    filled = [args[i] if i < len(args) else kwargs.get(a.name, a.default_value) for i, a in enumerate(declared)]
    try:
        return handler(c, *filled)
    except (RuntimeError, IndexError, ValueError) as problem:
        raise c.refuse(f"does not fit the IR ({first_line(problem)}); write it in other operators") from problem


def _evaluated(c: Context, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """A node that does not depend on the input, by running it."""
    target = node.target
    name = str(target)
    random = isinstance(target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in target.tags
    if random or not callable(target):
        raise c.refuse("makes values that differ from run to run; make them once, in the module's constructor")
    if name == "aten.view.default":  # a constant may lie otherwise in memory than when it was traced
        target = torch.ops.aten.reshape.default
    if "device" in kwargs:  # constants are made where the network is, on the CPU
        kwargs["device"] = torch.device("cpu")
    with torch.no_grad():
        result = target(*_stripped(args), **_stripped(kwargs))
    if "empty" in name:  # what is never set may be anything
        if not result.is_floating_point():
            raise c.refuse("makes a tensor of integers without values; make it with torch.zeros")
        result.fill_(torch.nan)
    trained = any(isinstance(x, Constant) and x.trained for x in _leaves((args, kwargs)))
    if isinstance(result, (list, tuple)):
        return [Constant(t, None, trained) if isinstance(t, Tensor) else t for t in result]
    if not isinstance(result, Tensor):
        return result
    first = args[0] if args and isinstance(args[0], Constant) else None
    if first is not None and OPS.get(name) is aten_shapes.same and result.dtype == first.tensor.dtype:
        return first
    turned = name == "aten.permute.default" and list(args[1]) in ([1, 0], [-1, -2])
    return Constant(result, None, trained, first if turned else None)


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        for part in tree:
            yield from _leaves(part)
    else:
        yield tree


def _stripped(tree: Any) -> Any:
    """The same with tensors in place of constants."""
    if isinstance(tree, dict):
        return {key: _stripped(part) for key, part in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_stripped(part) for part in tree]
    return tree.tensor if isinstance(tree, Constant) else tree


def _check(c: Context, node: fx.Node, result: Any) -> None:
    """Compares type and shape with what torch.export recorded: a translation that disagrees is refused."""
    known = node.meta.get("val")
    if not isinstance(known, Tensor) or not isinstance(result, TracedValue):
        return
    if not known.dtype.is_floating_point:
        raise c.refuse(f"makes {known.dtype} of values that vary, which jumps; {JUMPS}")
    if known.dtype not in (c.builder.dtype, torch.float64):  # what is done in a wider type is not rounded by more
        raise c.refuse(f"makes {known.dtype} of a network in {c.builder.dtype}; keep one floating type")
    shape = c.full(result)
    fixed = tuple(m if not isinstance(n, int) else n for n, m in zip(known.shape, shape, strict=False))
    if len(shape) != known.ndim or fixed != shape:
        raise c.refuse(f"would have shape {shape} in the IR; export the model with a batch of 1")


def first_line(problem: Exception) -> str:
    """What an error says, in one line."""
    return next(iter(str(problem).strip().splitlines()), type(problem).__name__)
