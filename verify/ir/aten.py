"""What the translations of ATen operators share: how a traced tensor maps to per-sample IR values, and to constants.

A traced program has a batch of N inside its tensors; the IR has none. Every traced value that depends on the input is
*batch-major*: flattened, it is N blocks of one size, one block a sample. It comes in two layouts,

    lead     traced shape (N, *ir)              axis 0 is the batch
    folded   traced shape (N * ir[0], *ir[1:])  the batch is folded into axis 0; for N = 1 there is simply no batch axis

so reshapes never mix samples as long as the result has one of the two, and the translations of all other operators
check that they leave the batch axis alone. What cannot be shown per-sample raises UnsupportedOp, naming the node.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from verify.errors import UnsupportedOp
from verify.ir.builder import GraphBuilder
from verify.ops import Divide, Entrywise, Op, Reshape, Scale, Select, Shift

Handler = Callable[..., Any]
OPS: dict[str, Handler] = {}


@dataclass(frozen=True)
class Value:
    """A traced tensor that depends on the input: the IR value of this name, of per-sample shape `ir`."""

    name: str
    ir: tuple[int, ...]
    lead: bool

    @property
    def rank(self) -> int:
        """Number of axes of the traced tensor."""
        return len(self.ir) + self.lead


@dataclass(frozen=True, eq=False)
class Constant:
    """A traced tensor that does not. `source` names the module's tensor that it is; `trained`: it is, or was computed
    from, a parameter; `transposed`: the matrix of which it is the transpose, where known."""

    tensor: Tensor
    source: str | None = None
    trained: bool = False
    transposed: Constant | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Constant:
        """A constant computed from this one."""
        return Constant(function(self.tensor), None, self.trained)


def aten(*names: str) -> Callable[[Handler], Handler]:
    """Registers the translation of ATen operators, named with their overload: f(context, *all schema arguments)."""

    def add(handler: Handler) -> Handler:
        for name in names:
            OPS[f"aten.{name}"] = handler
        return handler

    return add


class Context:
    """The IR under construction and the node being translated. `copies` maps each IR parameter that was computed from
    a trained one to the node that uses it."""

    def __init__(self, builder: GraphBuilder, batch: int):
        self.builder = builder
        self.batch = batch
        self.copies: dict[str, str] = {}
        self.node: fx.Node

    def refuse(self, why: str) -> UnsupportedOp:
        """The error for the node at hand."""
        known = self.node.meta.get("val")
        shape = f" of shape {tuple(known.shape)}" if isinstance(known, Tensor) else ""
        return UnsupportedOp(f"node {self.node.name} ({self.node.target}){shape} {why}")

    def mixed(self) -> UnsupportedOp:
        """The error for an operator that is not shown to keep samples apart."""
        remedy = "" if self.batch == 1 else ", or export with a batch of 1"
        return self.refuse(f"works across axis 0, which carries the batch; keep axis 0 as the batch{remedy}")

    # values

    def full(self, x: Value) -> tuple[int, ...]:
        """The traced shape."""
        if x.lead:
            return (self.batch, *x.ir)
        return (self.batch * x.ir[0], *x.ir[1:]) if x.ir else ()

    def axis(self, x: Value, dim: int) -> int:
        """The IR axis at a traced one. Raises UnsupportedOp for the axis that carries the batch."""
        dim = dim % max(x.rank, 1)
        if dim == 0 and (x.lead or self.batch > 1):
            raise self.mixed()
        return dim - x.lead

    def axes(self, x: Value, dims: list[int] | int | None) -> tuple[int, ...]:
        """IR axes of a reduction; none given means all."""
        dims = [dims] if isinstance(dims, int) else dims
        return tuple(sorted(self.axis(x, d) for d in (dims or range(x.rank))))

    def varying(self, x: Any) -> Value:
        """`x`, which must depend on the input."""
        if isinstance(x, Value):
            return x
        raise self.refuse("has a constant where the varying tensor is expected; swap its arguments")

    def emit(self, op: Op, *inputs: Value, parameters: tuple[str, ...] = (), lead: bool | None = None) -> Value:
        """Appends an IR node; the layout is that of the first input unless told."""
        name = self.builder.add(self.node.name, op, tuple(x.name for x in inputs), parameters)
        return Value(name, self.builder.shapes[name], inputs[0].lead if lead is None else lead)

    def reshape(self, x: Value, shape: tuple[int, ...]) -> Value:
        """`x` in another traced shape; no node where the per-sample shape stays."""
        if len(shape) >= 2 and shape[0] == self.batch:
            ir, lead = shape[1:], True
        elif self.batch == 1:
            ir, lead = shape, False
        elif shape and shape[0] % self.batch == 0:
            ir, lead = (shape[0] // self.batch, *shape[1:]), False
        else:
            raise self.mixed()
        if ir == x.ir:
            return replace(x, lead=lead)
        return self.emit(Reshape(ir), x, lead=lead)

    def move(self, x: Value, copy: Callable[[Tensor], Tensor]) -> Value:
        """Any operator that only copies entries (or pads with -1, read as zero): it is run on the entry numbers.

        It is run on two samples at once where there is a batch axis, and must do the same to both.
        """
        size = prod(x.ir)
        places = torch.arange(size, dtype=torch.float64).reshape(x.ir)  # resizing needs floats; exact below 2^53
        if not x.lead and self.batch == 1:
            index = copy(places).long()
        else:
            pair = torch.stack((places, places + size)) if x.lead else torch.cat((places, places + size))
            both = copy(pair).long()
            length = both.shape[0] // 2
            index, other = both[:length], both[length:]
            if both.shape[0] % 2 or not torch.equal(other, torch.where(index >= 0, index + size, -1)):
                raise self.mixed()
            if x.lead and length != 1:
                raise self.mixed()
            index = index[0] if x.lead else index
        return self.select(x, index)

    def select(self, x: Value, index: Tensor) -> Value:
        """The entries of `x` at flat numbers `index` (*ir shape of the result), zero at -1."""
        if tuple(index.shape) == x.ir and torch.equal(index.reshape(-1), torch.arange(index.numel())):
            return x
        name = self.builder.parameter(f"{self.node.name}.index", index.contiguous())
        return self.emit(Select(), x, parameters=(name,))

    def align(self, a: Value, b: Value) -> tuple[Value, Value]:
        """Two values broadcast to one shape and layout."""
        if a.lead or b.lead:
            rank = max(a.rank, b.rank)
            if any(x.rank != rank if x.lead else (self.batch > 1 or x.rank == rank) for x in (a, b)):
                raise self.mixed()
        elif self.batch > 1 and (a.rank != b.rank or a.ir[0] != b.ir[0]):
            raise self.mixed()
        shape = torch.broadcast_shapes(a.ir, b.ir)
        lead = a.lead or b.lead
        return replace(self.spread(a, shape), lead=lead), replace(self.spread(b, shape), lead=lead)

    def spread(self, x: Value, shape: tuple[int, ...]) -> Value:
        """`x` expanded to a per-sample shape."""
        if x.ir == tuple(shape):
            return x
        return self.select(x, torch.arange(prod(x.ir)).reshape(x.ir).expand(shape))

    # constants

    def constant(self, x: Any) -> Constant:
        """A number or constant tensor as a constant. Raises UnsupportedOp for a value that varies."""
        if isinstance(x, Value):
            raise self.refuse("has a varying tensor where the IR needs a constant; avoid products of varying tensors")
        return x if isinstance(x, Constant) else Constant(torch.tensor(x, dtype=self.builder.dtype))

    def scalar(self, x: float) -> Fraction:
        """A number as the run time uses it: rounded to the network's type."""
        return Fraction(float(np.float32(x))) if self.builder.dtype == torch.float32 else Fraction(float(x))

    def per_sample(self, x: Value, other: Any) -> Constant:
        """A constant operand without the batch axis, for use beside the IR value of `x`."""
        constant = self.constant(other)
        rank = constant.tensor.ndim
        if rank < x.rank or (not x.lead and self.batch == 1):
            return constant
        tensor = constant.tensor
        allowed = (1, self.batch) if x.lead else (1, self.batch * x.ir[0])
        if rank > x.rank or tensor.shape[0] not in allowed or not torch.equal(tensor, tensor[:1].expand_as(tensor)):
            raise self.mixed()
        return constant.map(lambda t: t[0] if x.lead else t[:1])

    def parameter(self, constant: Constant, role: str) -> str:
        """The name of an IR parameter with this value: the module's own tensor where it is one."""
        if constant.source is not None and constant.tensor.dtype == self.builder.dtype:
            return constant.source
        tensor = constant.tensor.detach().to(self.builder.dtype).contiguous()
        name = self.builder.parameter(f"{self.node.name}.{role}", tensor)
        if constant.trained:
            self.copies[name] = self.node.name
        return name

    def shift(self, x: Value, offset: Any) -> Value:
        """x + offset, broadcast."""
        return self._entrywise(Shift, x, offset, "offset")

    def scale(self, x: Value, factor: Any) -> Value:
        """x * factor, broadcast."""
        return self._entrywise(Scale, x, factor, "factor")

    def divide(self, x: Value, divisor: Any) -> Value:
        """x / divisor, broadcast."""
        return self._entrywise(Divide, x, divisor, "divisor")

    def _entrywise(self, op: type[Entrywise], x: Value, other: Any, role: str) -> Value:
        constant = self.per_sample(x, other)
        shape = constant.tensor.shape
        x = self.spread(x, torch.broadcast_shapes(x.ir, shape))
        return self.emit(op.broadcast(shape, x.ir), x, parameters=(self.parameter(constant, role),))
