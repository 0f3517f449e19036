"""An ONNX file as a function of torch tensors, node by node, for its gradients.

It is a guide for searches and no reading of the file: what it says is believed by nobody, every point is replayed in
onnxruntime. So it may be short, and approximate what is awkward. Loops and branches are not followed.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor

from verify.deadline import check_time

LARGEST = 1 << 26  # entries of all values together

Given = list[Tensor | None]  # operands, None where one is left out


class Untranslated(Exception):
    """A file that does not convert: it is searched without gradients."""


@dataclass(frozen=True)
class NodeSettings:
    """The attributes of a node, and the opset that it is written in."""

    attributes: dict[str, Any]
    opset: int

    def get(self, name: str, default: Any = None) -> Any:
        found = self.attributes.get(name, default)
        return found.decode() if isinstance(found, bytes) else found

    def listed(self, given: Given, place: int, name: str) -> list[int] | None:
        """Whole numbers of an operand, or of the attribute that older opsets have in its stead."""
        operand = given[place] if place < len(given) else None
        found = self.attributes.get(name) if operand is None else operand.flatten().tolist()
        return None if found is None else [int(n) for n in found]


Rule = Callable[[Given, NodeSettings], "Tensor | list[Tensor]"]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Names the operators that a function evaluates."""

    def add(evaluate: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, evaluate))
        return evaluate

    return add


def at(given: Given, place: int) -> Tensor:
    """The operand at this place. Raises Untranslated where the node lacks it."""
    found = given[place] if place < len(given) else None
    if found is None:
        raise Untranslated(f"lacks operand {place}")
    return found


@dataclass(frozen=True, eq=False)
class TorchCopy:
    """The nodes of a file in their order, its stored tensors, and the names of its input and output."""

    nodes: tuple[onnx.NodeProto, ...]
    stored: dict[str, Tensor]
    input: str
    output: str
    shape: tuple[int, ...]
    opset: int

    def __call__(self, x: Tensor) -> Tensor:
        """The output, flat, at one sample of any shape. Raises Untranslated, or what torch raises, where it has none.
        """
        values, left = {**self.stored, self.input: x.reshape(self.shape)}, LARGEST
        for node in self.nodes:
            check_time()
            given = [values[name] if name else None for name in node.input]
            how = NodeSettings({a.name: helper.get_attribute_value(a) for a in node.attribute}, self.opset)
            try:
                made = RULES[node.op_type](given, how)
            except (TypeError, AttributeError, KeyError) as problem:  # operands that a rule did not expect
                raise Untranslated(f"{node.op_type}: {problem}") from None
            made = [made] if isinstance(made, Tensor) else made
            values.update(zip(node.output, made, strict=False))
            left -= sum(value.numel() for value in made)
            if left < 0:
                raise Untranslated(f"values have more than {LARGEST} entries")
        return values[self.output].reshape(-1)


def translation(path: Path, dtype: torch.dtype) -> TorchCopy:
    """The file as a function of torch tensors. Raises Untranslated for operators without a rule."""
    data = path.read_bytes() if path.suffix == ".gz" else None
    model = onnx.load(str(path)) if data is None else onnx.load_model_from_string(gzip.decompress(data))
    graph = model.graph
    missing = sorted({node.op_type for node in graph.node if node.domain not in ("", "ai.onnx")
                      or node.op_type not in RULES})
    if missing:
        raise Untranslated(f"operators without a gradient: {', '.join(missing)}")
    stored = {t.name: tensor(numpy_helper.to_array(t)) for t in graph.initializer}
    (source,) = (i for i in graph.input if i.name not in stored)
    shape = tuple(d.dim_value if d.dim_value > 0 else 1 for d in source.type.tensor_type.shape.dim)
    opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if any(value.is_floating_point() and value.dtype != dtype for value in stored.values()) or prod(shape) < 1:
        raise Untranslated("floats of several types")
    return TorchCopy(tuple(graph.node), stored, source.name, graph.output[0].name, shape, opset)


def tensor(array: Any) -> Tensor:
    """A stored array as a tensor of its own. Raises Untranslated for kinds that torch lacks."""
    try:
        return torch.from_numpy(array.copy())
    except TypeError:
        raise Untranslated(f"torch has no {array.dtype}") from None
