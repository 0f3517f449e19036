"""Composite ATen operators of exported programs in core ones, as torch's decompositions write them.

torch.export leaves `conv2d`, `flatten` and their like as they were called. Its decomposition prepares a table of all
operators anew for every program, which takes most of the time of reading a small model. Programs that are of core
operators once the common composites are written out do without.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import fx
from torch._ops import OpOverload
from torch.export import ExportedProgram

from verify.ir.aten import OPS

aten = torch.ops.aten
VIEWS = (aten.flatten.using_ints, aten.reshape.default)
CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)
NEW = (*CONVOLUTIONS, aten.linear.default, aten.batch_norm.default, aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor)
IGNORED = (aten._assert_tensor_metadata.default,)  # has no result


class CoreCall(NamedTuple):
    """A call of an operator, or the first of its results."""

    target: OpOverload
    arguments: tuple[Any, ...]
    is_first: bool = False
    named: Mapping[str, Any] = MappingProxyType({})


def write_out(program: ExportedProgram) -> bool:
    """Writes the composites of a program in core operators, in place; False, with nothing written, where that would
    leave an operator that only torch can take apart, or one that changes a tensor."""
    graph, calls = program.graph, dict[fx.Node, CoreCall]()
    _spell_out(program)
    targets = {node.target for node in graph.nodes}
    if aten.view.default in targets and not targets.isdisjoint(VIEWS):
        return False  # names of nodes would be counted otherwise than torch counts them
    for node in graph.nodes:
        if node.op != "call_function" or node.target in IGNORED:
            continue
        if (write := WRITERS.get(node.target)) is None and _is_core(node.target):
            continue
        call = _out_of_place(node) if write is None else write(node, _arguments(node))
        if call is None:
            return False
        calls[node] = call
    written: dict[fx.Node, fx.Node] = {}
    for node, call in calls.items():
        with graph.inserting_before(node):
            arguments, named = fx.map_arg((call.arguments, dict(call.named)), lambda n: written.get(n, n))
            new = _made(graph, call.target, arguments, named)
            new = _made(graph, operator.getitem, (new, 0)) if call.is_first else new
        _replace(program, node, new)
        written[node] = new
    return True


def _spell_out(program: ExportedProgram) -> None:
    """Softshrink as x less the nearest number of [-threshold, threshold]: torch would write it with jumps."""
    for node in list(program.graph.nodes):
        if node.target is aten.softshrink.default:
            x, threshold = (*node.args, 0.5)[:2]
            with program.graph.inserting_before(node):
                near = _made(program.graph, aten.clamp.default, (x, -threshold, threshold))
                near.meta = dict(node.meta)
                _replace(program, node, _made(program.graph, aten.sub.Tensor, (x, near)))


def _replace(program: ExportedProgram, node: fx.Node, new: fx.Node) -> None:
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    program.graph_signature.replace_all_uses(node.name, new.name)
    program.graph.erase_node(node)


def _is_core(target: Any) -> bool:
    """Whether there is a translation of an operator as it is, and it changes none of its arguments."""
    if target is operator.getitem:
        return True
    return isinstance(target, OpOverload) and not target._schema.is_mutable and str(target) in OPS


def _out_of_place(node: fx.Node) -> CoreCall | None:
    """An operator that changes its first argument, such as `relu_`, as the one that does not, where nothing else sees
    the change: that argument is the new tensor of another operator, and is used nowhere else. With arguments of several
    types the result would have another one."""
    target, x = node.target, node.args[0] if node.args else None
    if not isinstance(target, OpOverload) or not isinstance(x, fx.Node) or len(x.users) != 1 or not _is_new(x.target):
        return None
    if len({given.meta["val"].dtype for given in node.all_input_nodes}) != 1:
        return None
    name = target._schema.name.removeprefix("aten::")
    plain = getattr(getattr(aten, name[:-1], None), target._overloadname, None) if name.endswith("_") else None
    return CoreCall(plain, node.args, False, node.kwargs) if plain is not None and _is_core(plain) else None


def _is_new(target: Any) -> bool:
    """Whether an operator makes a tensor that is no other one, or was written as one that does."""
    return target in NEW or (isinstance(target, OpOverload) and target._schema.is_mutable)


def _arguments(node: fx.Node) -> dict[str, Any]:
    """All arguments of a call by name, defaults included."""
    assert isinstance(node.target, OpOverload)
    return {
        a.name: node.args[i] if i < len(node.args) else node.kwargs.get(a.name, a.default_value)
        for i, a in enumerate(node.target._schema.arguments)
    }


def _made(graph: fx.Graph, target: Any, arguments: Any, named: Any = None) -> fx.Node:
    """A call by the name that torch would give it."""
    packet = getattr(target, "overloadpacket", target)
    return graph.create_node("call_function", target, arguments, named, name=packet.__name__)


def _convolution(node: fx.Node, given: dict[str, Any]) -> CoreCall | None:
    """Of samples in a batch; paddings that are words are left to torch."""
    spatial = given["weight"].meta["val"].ndim - 2
    if given["input"].meta["val"].ndim != spatial + 2 or isinstance(given["padding"], str):
        return None
    lengths = [list(given[name]) for name in ("stride", "padding", "dilation")]
    lengths = [each * spatial if len(each) == 1 else each for each in lengths]
    x, weight, bias = (given[name] for name in ("input", "weight", "bias"))
    return CoreCall(aten.convolution.default, (x, weight, bias, *lengths, False, [0] * spatial, given["groups"]))


def _view(node: fx.Node, given: dict[str, Any]) -> CoreCall | None:
    shape = list(node.meta["val"].shape)
    return CoreCall(aten.view.default, (node.args[0], shape)) if all(type(n) is int for n in shape) else None


def _dropout(node: fx.Node, given: dict[str, Any]) -> CoreCall | None:
    return None if given["train"] else CoreCall(aten.alias.default, (node.args[0],))


def _batch_norm(node: fx.Node, given: dict[str, Any]) -> CoreCall | None:
    if given["training"] or given["running_mean"] is None or given["running_var"] is None:
        return None
    names = ("input", "weight", "bias", "running_mean", "running_var", "momentum", "eps")
    return CoreCall(aten._native_batch_norm_legit_no_training.default, tuple(given[name] for name in names), True)


def _adaptive_pool(node: fx.Node, given: dict[str, Any]) -> CoreCall:
    x, size = given["self"], given["output_size"]
    if list(size) == [1, 1]:
        return CoreCall(aten.mean.dim, (x, [-1, -2], True))
    return CoreCall(aten._adaptive_avg_pool2d.default, (x, size))


def _max_pool(node: fx.Node, given: dict[str, Any]) -> CoreCall:
    return CoreCall(aten.max_pool2d_with_indices.default, tuple(given.values()), True)


def _softmax(node: fx.Node, given: dict[str, Any]) -> CoreCall | None:
    if given["dtype"] not in (None, given["self"].meta["val"].dtype):
        return None
    plain = aten._softmax if node.target is aten.softmax.int else aten._log_softmax
    return CoreCall(plain.default, (given["self"], given["dim"], False))


WRITERS: dict[Any, Callable[[fx.Node, dict[str, Any]], CoreCall | None]] = {
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys(VIEWS, _view),
    **dict.fromkeys((aten.softmax.int, aten.log_softmax.int), _softmax),
    aten.adaptive_avg_pool2d.default: _adaptive_pool,
    aten.batch_norm.default: _batch_norm,
    aten.dropout.default: _dropout,
    aten.max_pool2d.default: _max_pool,
}
