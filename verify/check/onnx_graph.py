"""What the translations of ONNX operators share: values, a node with its operands, and the network being written.

A value has its ONNX shape with a batch of one; the canonical shape leaves out a leading axis of length 1. The entries
are the same in the same order, so a reshape is no more than another ONNX shape, and a move is an array of positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn

import numpy as np

from verify.check.protobuf import Unreadable

MOST_ENTRIES = 1 << 25  # of all arrays of positions together
MOST_AXES = 8
WHOLE = (np.dtype(np.int32), np.dtype(np.int64))  # the types of lengths and positions

# The opsets that have an attribute, and those that have an input; what is not listed is in all that are read.
ATTRIBUTES = {
    ("AveragePool", "ceil_mode"): range(10, 24), ("AveragePool", "dilations"): range(19, 24),
    ("BatchNormalization", "spatial"): range(8, 9), ("BatchNormalization", "training_mode"): range(14, 24),
    ("Clip", "max"): range(8, 11), ("Clip", "min"): range(8, 11), ("Dropout", "ratio"): range(8, 12),
    ("DequantizeLinear", "axis"): range(13, 24), ("Dropout", "seed"): range(12, 24),
    ("QuantizeLinear", "axis"): range(13, 24), ("QuantizeLinear", "output_dtype"): range(21, 24),
    **{(op, "block_size"): range(21, 24) for op in ("DequantizeLinear", "QuantizeLinear")},
    ("QuantizeLinear", "saturate"): range(19, 24), ("QuantizeLinear", "precision"): range(23, 24),
    ("MaxPool", "ceil_mode"): range(10, 24), ("MaxPool", "dilations"): range(10, 24),
    ("Pad", "pads"): range(8, 11), ("Pad", "value"): range(8, 11), ("ReduceMean", "axes"): range(8, 18),
    **{(op, "axes"): range(8, 18) for op in ("ReduceMax", "ReduceMin")},
    **{(op, "noop_with_empty_axes"): range(18, 24) for op in ("ReduceMax", "ReduceMean", "ReduceMin")},
    ("ReduceSum", "axes"): range(8, 13),
    ("ReduceSum", "noop_with_empty_axes"): range(13, 24), ("Reshape", "allowzero"): range(14, 24),
    **{(op, "layout"): range(14, 24) for op in ("RNN", "GRU", "LSTM")},
    ("Shape", "end"): range(15, 24), ("Shape", "start"): range(15, 24), ("Slice", "axes"): range(8, 10),
    ("Slice", "ends"): range(8, 10), ("Slice", "starts"): range(8, 10), ("Split", "num_outputs"): range(18, 24),
    ("Split", "split"): range(8, 13), ("Squeeze", "axes"): range(8, 13), ("Unsqueeze", "axes"): range(8, 13),
}
INPUTS = {"Clip": 11, "Dropout": 12, "Pad": 11, "ReduceMax": 18, "ReduceMean": 18, "ReduceMin": 18, "ReduceSum": 13,
          "Slice": 10, "Split": 13, "Squeeze": 13, "Unsqueeze": 13}  # since when they have more than one

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the input: the name of its canonical node and its ONNX shape for a batch of one."""

    name: str
    shape: Shape

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)


Operand = Value | np.ndarray


def canonical(shape: Shape) -> Shape:
    """Without a leading axis of length 1, but with one axis at least."""
    return (shape[1:] if len(shape) > 1 and shape[0] == 1 else shape) or (1,)


class Call:
    """One ONNX node with its operands. What no translation asks for among its attributes is refused at the end."""

    def __init__(self, op: str, name: str, opset: int, inputs: Sequence[Operand | None], attributes: dict[str, Any],
                 outputs: int):
        self.op, self.name, self.opset, self.inputs, self.outputs = op, name, opset, tuple(inputs), outputs
        self._attributes, self._asked = attributes, set()
        if len(self.inputs) > 1 and opset < INPUTS.get(op, 0):
            self.refuse(f"has {len(self.inputs)} inputs, and opset {opset} knows one")
        for attribute in attributes:
            if opset not in ATTRIBUTES.get((op, attribute), (opset,)):
                self.refuse(f"has an attribute {attribute}, which opset {opset} does not know")

    def refuse(self, reason: str) -> NoReturn:
        raise Unreadable(f"node {self.name!r:.200} ({self.op}) {reason}")

    def unasked(self) -> list[str]:
        return [name for name in self._attributes if name not in self._asked]

    def _attribute(self, name: str, kind: type, default: Any) -> Any:
        self._asked.add(name)
        found = self._attributes.get(name, default)
        if found is not default and type(found) is not kind:
            self.refuse(f"has an attribute {name} that is no {kind.__name__}")
        return found

    def integer(self, name: str, default: int) -> int:
        return self._attribute(name, int, default)

    def number(self, name: str, default: float) -> float:
        """A float32 attribute, exactly."""
        return self._attribute(name, float, default)

    def text(self, name: str, default: str) -> str:
        return self._attribute(name, str, default)

    def lengths(self, name: str, count: int, default: int) -> Shape:
        """One number of at least 0 for each of `count` axes."""
        given = self.listed(name)
        found = (default,) * count if given is None else tuple(given)
        if len(found) != count or min(found, default=0) < 0 or max(found, default=0) > MOST_ENTRIES:
            self.refuse(f"has {name} {list(found)[:8]} for {count} axes")
        return found

    def listed(self, name: str) -> list[int] | None:
        found = self._attribute(name, list, None)
        if found is not None and not all(isinstance(n, int) for n in found):
            self.refuse(f"has a {name} that is no list of integers")
        return found

    def names(self, name: str) -> bool:
        """Whether it has an attribute of this name."""
        return name in self._attributes

    def texts(self, name: str) -> list[str]:
        """An attribute that is a list of texts; none if absent."""
        found = self._attribute(name, list, [])
        if not all(isinstance(text, str) for text in found):
            self.refuse(f"has a {name} that is no list of texts")
        return found

    def tensor(self, name: str) -> np.ndarray:
        found = self._attribute(name, np.ndarray, None)
        return self.refuse(f"lacks its {name}") if found is None else found

    def has(self, place: int) -> bool:
        return place < len(self.inputs) and self.inputs[place] is not None

    def operand(self, place: int) -> Operand:
        found = self.inputs[place] if place < len(self.inputs) else None
        if found is None:
            self.refuse(f"lacks its input {place}")
        return found

    def value(self, place: int = 0) -> Value:
        """An input that depends on the network's."""
        found = self.operand(place)
        if not isinstance(found, Value):
            self.refuse(f"has a constant as its input {place}")
        return found

    def vary(self, count: int) -> bool:
        """Whether it has so many inputs, all of which depend on the network's."""
        return len(self.inputs) == count and all(isinstance(operand, Value) for operand in self.inputs)

    def const(self, place: int) -> np.ndarray:
        """A constant input."""
        found = self.operand(place)
        if isinstance(found, Value):
            self.refuse(f"has an input {place} that is not constant")
        return found

    def value_and_const(self) -> tuple[Value, np.ndarray, bool]:
        """The two inputs, and whether the constant is the right one."""
        a, b = self.operand(0), self.operand(1)
        if len(self.inputs) > 1 and isinstance(a, Value) and isinstance(b, np.ndarray):
            return a, b, True
        if isinstance(a, np.ndarray) and isinstance(b, Value):
            return b, a, False
        self.refuse("joins two tensors that both depend on the network's input")

    def integers(self, place: int, attribute: str | None = None) -> list[int] | None:
        """Whole numbers of an input, or of the attribute that older opsets have in its stead; None if absent."""
        if not self.has(place):
            return self.listed(attribute) if attribute else None
        found = self.const(place)
        if found.dtype not in WHOLE:
            self.refuse(f"has {found.dtype} numbers as its input {place}")
        return [int(n) for n in found.ravel()]

    def axis(self, axis: int, rank: int) -> int:
        """Counted from the front."""
        if not -rank <= axis < rank:
            self.refuse(f"names the axis {axis} of {rank}")
        return axis % rank


class Writer:
    """The canonical network under way; `kind` is its float type, `symbolic` whether the batch axis is left open."""

    def __init__(self, kind: np.dtype, symbolic: bool):
        self.kind, self.symbolic, self.left = kind, symbolic, MOST_ENTRIES
        self.nodes: list[dict[str, Any]] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.padded: dict[str, tuple[Value, np.ndarray, np.ndarray]] = {}  # zero-padded value: source, low, high

    def spend(self, call: Call, *shape: int) -> None:
        """Counts the entries of an array before it is made. Raises Unreadable where they are too many."""
        self.left -= prod(shape)
        if self.left < 0:
            call.refuse(f"makes the positions in this model more than {MOST_ENTRIES}")

    def emit(self, call: Call, op: str, inputs: Sequence[Value], shape: Shape, /, **fields: Any) -> Value:
        """Adds a node; arrays among the fields are stored under names of their own."""
        if len(shape) > MOST_AXES or not 1 <= prod(shape) <= MOST_ENTRIES:
            call.refuse(f"has an output of shape {shape}")
        name = f"{len(self.nodes)} {call.name:.200}"
        for field, value in fields.items():
            if isinstance(value, np.ndarray):
                fields[field] = f"{name}.{field}"
                self.arrays[fields[field]] = np.ascontiguousarray(value)
        given = [value.name for value in inputs]
        self.nodes.append({"name": name, "op": op, "inputs": given, "shape": list(canonical(shape)), **fields})
        return Value(name, shape)

    def node(self, name: str) -> dict[str, Any] | None:
        """The node of this name; None for the network's input."""
        return next((node for node in reversed(self.nodes) if node["name"] == name), None)

    def floats(self, call: Call, array: np.ndarray) -> np.ndarray:
        """A constant as weights: finite, and of the network's type."""
        if array.dtype != self.kind or not np.isfinite(array).all():
            call.refuse(f"has a constant of {array.dtype}, not {self.kind}, or one that is not finite")
        return array

    def positions(self, call: Call, value: Value) -> np.ndarray:
        """The place of each entry in the flattened tensor, in its ONNX shape."""
        self.spend(call, value.size)
        return np.arange(value.size, dtype=np.int32).reshape(value.shape)

    def gather(self, call: Call, values: Sequence[Value], index: np.ndarray, shape: Shape, divisor: Any = 1) -> Value:
        """Sums of entries: index (entries, size), -1 for none, over `divisor`, one for all or for each."""
        counts = np.broadcast_to(np.asarray(divisor, np.int32), (len(index),))
        return self.emit(call, "gather", values, shape, index=index.astype(np.int32), divisor=counts)

    def move(self, call: Call, value: Value, index: np.ndarray) -> Value:
        """The entries at these positions, 0 where they are -1; `index` has the output's ONNX shape."""
        flat = index.reshape(-1)
        alike = flat.size == value.size and canonical(index.shape) == canonical(value.shape)
        if alike and np.array_equal(flat, np.arange(flat.size)):
            return Value(value.name, index.shape)
        return self.gather(call, [value], flat.reshape(-1, 1), index.shape)

    def reshape(self, call: Call, value: Value, shape: Shape) -> Value:
        return self.move(call, value, self.positions(call, value).reshape(shape))

    def transpose(self, call: Call, value: Value, order: Sequence[int]) -> Value:
        return self.move(call, value, self.positions(call, value).transpose(order))

    def scale(self, call: Call, value: Value, factor: np.ndarray) -> Value:
        """Product with a constant that broadcasts to the value's shape."""
        return self.emit(call, "scale", [value], value.shape, factor=self._spread(call, value, factor))

    def divide(self, call: Call, value: Value, divisor: np.ndarray) -> Value:
        """Quotient by a constant that broadcasts to the value's shape and has no zeros."""
        return self.emit(call, "divide", [value], value.shape, divisor=self._spread(call, value, divisor))

    def shift(self, call: Call, value: Value, offset: np.ndarray) -> Value:
        """Sum with a constant that broadcasts to the value's shape; none for zeros."""
        if not self.floats(call, offset).any():
            return value
        return self.emit(call, "shift", [value], value.shape, offset=self._spread(call, value, offset))

    def _spread(self, call: Call, value: Value, array: np.ndarray) -> np.ndarray:
        self.spend(call, value.size)
        return np.broadcast_to(self.floats(call, array), value.shape).reshape(canonical(value.shape))

    def negate(self, call: Call, value: Value) -> Value:
        return self.scale(call, value, np.array(-1, self.kind))

    def piecewise(self, call: Call, value: Value, breakpoints: list, slopes: list, anchor: tuple) -> Value:
        """An elementwise function of these rational facts, none of them beyond 2^40."""
        if any(abs(number) > 2**40 for number in (*breakpoints, *slopes)):
            call.refuse("has a slope or a bound beyond 2^40")
        facts = {"breakpoints": breakpoints, "slopes": slopes, "anchor": anchor}
        texts = {field: [str(number) for number in numbers] for field, numbers in facts.items()}
        return self.emit(call, "piecewise", [value], value.shape, **texts)
