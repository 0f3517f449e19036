"""What the translations share: a node with its inputs and attributes, and the steps that several operators need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any, NoReturn

import numpy as np
import torch

from verify.errors import InputError, UnsupportedOp
from verify.ir.builder import GraphBuilder
from verify.ir.compose import Composer
from verify.ir.onnx_reader.values import Const, Shape, Value, batch_after_reshape, batch_of_pair, ir_shape
from verify.ops import Divide, Entrywise, Op, Permute, Reshape, Scale, Select, Shift

Operand = Const | Value
LARGEST = 1 << 25  # entries of all arrays of positions together
VALUE = 1 << 23  # entries of a value
VALUES = 1 << 26  # entries of all values together
NUMPY = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}


class Call:
    """One ONNX node with the operands that it reads. Attributes that no translation asks for are refused."""

    def __init__(self, op: str, name: str, opset: int, inputs: Sequence[Operand | None], attributes: dict[str, Any],
                 outputs: int):
        self.op, self.name, self.opset, self.outputs = op, name, opset, outputs
        self.inputs = tuple(inputs)
        self._attributes, self._asked = attributes, set()

    def attribute(self, name: str, default: Any = None) -> Any:
        self._asked.add(name)
        return self._attributes.get(name, default)

    def unasked(self) -> list[str]:
        return [name for name in self._attributes if name not in self._asked]

    def has(self, place: int) -> bool:
        return place < len(self.inputs) and self.inputs[place] is not None

    def operand(self, place: int) -> Operand:
        """Raises InputError where the node lacks this input."""
        found = self.inputs[place] if place < len(self.inputs) else None
        if found is None:
            raise InputError(f"node {self.name} ({self.op}) lacks its input {place}; export the model again")
        return found

    def value(self, place: int = 0) -> Value:
        """The operand at this place, which has to depend on the input."""
        found = self.operand(place)
        if isinstance(found, Const):
            self.refuse(f"needs input {place} to depend on the network's input, and it is constant")
        return found

    def const(self, place: int) -> Const:
        """An input that is constant, whatever the batch."""
        found = self.operand(place)
        if isinstance(found, Value):
            self.refuse(f"needs input {place} to be constant, and it depends on the network's input")
        if found.depends_on_batch:
            self.refuse(f"reads {found.name}, whose values depend on the size of the batch")
        return found

    def value_and_const(self) -> tuple[Value, Const, bool]:
        """The varying and the constant one of the first two inputs, and whether the constant is the right one."""
        a, b = self.operand(0), self.operand(1)
        if isinstance(a, Value) and isinstance(b, Const):
            return a, b, True
        if isinstance(a, Const) and isinstance(b, Value):
            return b, a, False
        self.refuse("joins two tensors that both depend on the network's input, which this operator may not")

    def integers(self, place: int, attribute: str | None = None) -> list[int] | None:
        """Whole numbers of an input, or of the attribute that older opsets have in its stead; None if absent."""
        if self.has(place):
            return [int(n) for n in self.const(place).array.ravel()]
        found = self.attribute(attribute) if attribute else None
        return None if found is None else [int(n) for n in found]

    def axis(self, axis: int, rank: int) -> int:
        """An axis, which files may count from the end, as a number from the front."""
        if not -rank <= axis < rank:
            self.refuse(f"names axis {axis} of a tensor of rank {rank}")
        return axis % rank

    def refusal(self, reason: str, remedy: str = "rewrite this part of the model and export it again") -> UnsupportedOp:
        shapes = ", ".join(str(i.shape) for i in self.inputs if i is not None) or "()"
        return UnsupportedOp(f"node {self.name} ({self.op}, inputs of shape {shapes}) {reason}; {remedy}")

    def refuse(self, reason: str, remedy: str = "rewrite this part of the model and export it again") -> NoReturn:
        raise self.refusal(reason, remedy)

    def refuse_batch(self) -> NoReturn:
        self.refuse("works along the batch axis, so a batch would mean something else than its samples one by one",
                    "export the model for one sample without that step")


Handler = Callable[["Reader", Call], "Value | Sequence[Value]"]
HANDLERS: dict[str, Handler] = {}


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Names the ONNX operators that a function translates."""

    def add(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return add


class Reader:
    """The translation under way. `symbolic` says that the model leaves its batch axis open, to be proved pure."""

    def __init__(self, builder: GraphBuilder, symbolic: bool):
        self.builder, self.symbolic = builder, symbolic
        self.left, self.values, self.seen = LARGEST, VALUES, 0
        self.padded: dict[str, tuple[Value, np.ndarray, np.ndarray]] = {}  # zero-padded value: source, low, high
        self.absent: dict[str, np.ndarray] = {}  # value: its entries that are minus infinity, of which it holds 0

    def emit(self, call: Call, op: Op, inputs: Iterable[Value], parameters: Sequence[str] = (), *,
             shape: Shape | None = None, batch: int | None = 0) -> Value:
        """Adds an IR node; its ONNX shape, where not given, is the IR shape with the batch axis put in."""
        names = tuple(self.finite(call, v).name for v in inputs)
        return self._made(call, self.builder.add(call.name, op, names, tuple(parameters)), shape, batch)

    def write(self, call: Call, compose: Callable[[Composer], str], shape: Shape, batch: int | None) -> Value:
        """Adds what a composition makes of values, which has this ONNX shape."""
        composer = Composer(self.builder, call.name)
        name = compose(composer)
        return self._made(call, name if self.builder.shapes[name] else composer.reshape(name, (1,)), shape, batch)

    def finite(self, call: Call, value: Value) -> Value:
        """`value`, no entry of which may be minus infinity."""
        if value.name in self.absent:
            call.refuse("reads entries that are minus infinity, which a softmax alone may", "mask with finite numbers")
        return value

    def _made(self, call: Call, name: str, shape: Shape | None, batch: int | None) -> Value:
        """A value of this name, once all nodes that are new are counted."""
        made = self.builder.shapes[name]
        self.values -= sum(prod(node.shape) for node in self.builder.nodes[self.seen :])
        self.seen = len(self.builder.nodes)
        if self.values < 0:
            call.refuse(f"makes the values of the network more than {VALUES} entries in all", "cut the model down")
        if shape is None:
            shape = made if batch is None else (*made[:batch], 1, *made[batch:])
        if made != ir_shape(shape, batch):
            call.refuse(f"would have the output shape {shape}, and its translation has {made}")
        return Value(name, shape, batch)

    def like(self, call: Call, op: Op, value: Value, parameters: Sequence[str] = ()) -> Value:
        """An IR node that keeps the shape of its one input."""
        return self.emit(call, op, (value,), parameters, shape=value.shape, batch=value.batch)

    def constant(self, call: Call, const: Const) -> np.ndarray:
        """The values of a constant operand, which must not depend on the batch."""
        if const.depends_on_batch:
            call.refuse(f"reads {const.name}, whose values depend on the size of the batch")
        return const.array

    def parameter(self, call: Call, name: str, array: np.ndarray) -> str:
        """Stores numbers in the network's float type. Raises InputError where one is not finite or does not fit."""
        kind = NUMPY[self.builder.dtype]
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise InputError(f"tensor {name}, read by node {call.name} ({call.op}), has a value that is not finite; "
                             "mend or retrain the model")
        kept = np.array(array, dtype=kind, order="C")
        if kept.dtype != array.dtype and not np.array_equal(kept, array):
            call.refuse(f"reads {name}, whose {array.dtype} values {kind} cannot hold", f"store them as {kind}")
        return self.builder.parameter(name, torch.from_numpy(kept))

    def spend(self, call: Call, entries: int) -> None:
        """Counts entries of a tensor that is to be made, before it is. Raises UnsupportedOp where they are too many."""
        self.limit(call, (entries,))
        self.left -= entries
        if self.left < 0:
            call.refuse(f"makes the tensors that are moved or copied larger than {LARGEST} entries in all",
                        "check its sizes, or cut the model down")

    def limit(self, call: Call, shape: Sequence[int]) -> None:
        """Raises UnsupportedOp for a value of this shape that would be too large, before it is made."""
        if prod(shape) > VALUE:
            call.refuse(f"makes a value of {prod(shape)} entries, more than {VALUE}",
                        "check its sizes, or cut the model down")

    def index(self, call: Call, array: np.ndarray) -> str:
        """Stores an array of positions as a parameter; its name."""
        places = torch.from_numpy(np.array(array, dtype=np.int64, order="C"))
        return self.builder.parameter(f"{call.name}.index", places)

    def lay(self, call: Call, value: Value, shape: Shape, batch: int | None) -> Value:
        """The same entries in another ONNX shape with this batch axis."""
        if ir_shape(value.shape, value.batch) == ir_shape(shape, batch):
            return Value(value.name, shape, batch)
        return self.emit(call, Reshape(ir_shape(shape, batch)), (value,), shape=shape, batch=batch)

    def move(self, call: Call, value: Value, index: np.ndarray, batch: int | None) -> Value:
        """output = flattened value[index], 0 where index is -1; `index` has the output's ONNX shape."""
        if index.size == value.size and np.array_equal(index.ravel(), np.arange(value.size)):
            return self.lay(call, value, index.shape, batch)
        name = self.index(call, index.reshape(ir_shape(index.shape, batch)))
        return self.emit(call, Select(), (value,), (name,), shape=index.shape, batch=batch)

    def reshape(self, call: Call, value: Value, shape: Shape, several: Shape | None) -> Value:
        """`shape` and `several` for batches of 1 and of SEVERAL; the latter is None where only a batch of 1 fits."""
        if self.symbolic and several is not None:
            batch = batch_of_pair(value, shape, several)
        else:
            batch = batch_after_reshape(value, shape)
        if self.symbolic and batch is None:
            call.refuse_batch()
        return self.lay(call, value, shape, batch)

    def grow(self, call: Call, value: Value, axes: set[int]) -> Value:
        """With new axes of length 1 at these places."""
        old = [i for i in range(value.rank + len(axes)) if i not in axes]
        shape = [1] * (value.rank + len(axes))
        for place, n in zip(old, value.shape, strict=True):
            shape[place] = n
        return self.lay(call, value, tuple(shape), None if value.batch is None else old[value.batch])

    def transpose(self, call: Call, value: Value, order: Sequence[int]) -> Value:
        """Axes in another order; the batch axis goes along."""
        shape = tuple(value.shape[i] for i in order)
        batch = None if value.batch is None else list(order).index(value.batch)
        moved = tuple(value.ir_axis(i) for i in order if i != value.batch)
        if moved == tuple(range(len(moved))):
            return Value(value.name, shape, batch)
        return self.emit(call, Permute(moved), (value,), shape=shape, batch=batch)

    def sample(self, call: Call, value: Value) -> Value:
        """The value with its batch axis in front, as convolutions and pooling want it; a leading 1 will do."""
        if value.batch == 0:
            return value
        if self.symbolic or value.rank < 2 or value.shape[0] != 1:
            call.refuse("wants one batch axis in front, of length 1 or symbolic", "give the model's input a batch axis")
        return self.lay(call, value, value.shape, 0)

    def scale(self, call: Call, value: Value, factor: np.ndarray, name: str) -> Value:
        """Product with a constant that broadcasts to the value's IR shape."""
        return self._entrywise(call, Scale, value, factor, name)

    def shift(self, call: Call, value: Value, offset: np.ndarray, name: str) -> Value:
        """Sum with a constant that broadcasts to the value's IR shape; none for zeros. Entries of minus infinity make
        those of the value absent."""
        if not offset.any():
            return value
        gone = np.isneginf(offset)
        if not gone.any():
            return self._entrywise(call, Shift, value, offset, name)
        moved = self._entrywise(call, Shift, value, np.where(gone, 0, offset), f"{name}.finite")
        self.absent[moved.name] = np.broadcast_to(gone, self.builder.shapes[moved.name])
        return moved

    def divide(self, call: Call, value: Value, divisor: np.ndarray, name: str) -> Value:
        """Quotient by a constant that broadcasts to the value's IR shape."""
        return self._entrywise(call, Divide, value, divisor, name)

    def _entrywise(self, call: Call, op: type[Entrywise], value: Value, constant: np.ndarray, name: str) -> Value:
        shape = self.builder.shapes[value.name]
        return self.like(call, op.broadcast(constant.shape, shape), value, (self.parameter(call, name, constant),))

    def negate(self, call: Call, value: Value) -> Value:
        return self.scale(call, value, np.array(-1, NUMPY[self.builder.dtype]), f"{call.name}.minus")
