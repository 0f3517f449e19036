"""What the translations of ATen operators share: the IR under construction, and constants.

A traced program has a batch of N inside its tensors; the IR has none. `verify.ir.aten_layout` says where the batch of
each traced value lies, and the translations check that they leave it alone. What cannot be shown per sample raises
UnsupportedOp, naming the node. Whatever copies entries is run on their numbers (`Context.mix`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from verify.errors import UnsupportedOp
from verify.ir.aten_layout import Shape, TracedValue, reshaped, sized
from verify.ir.builder import GraphBuilder
from verify.ir.compose import Composer
from verify.ops import Divide, Entrywise, Op, Permute, Reshape, Scale, Select, Shift

Handler = Callable[..., Any]
OPS: dict[str, Handler] = {}
COMPARING: set[str] = set()  # the operators whose translation takes comparisons as well


@dataclass(frozen=True, eq=False)
class Constant:
    """A traced tensor that does not depend on the input. `source` names the module's tensor that it is; `trained`: it
    is, or was computed from, a parameter; `transposed`: the matrix of which it is the transpose, where known."""

    tensor: Tensor
    source: str | None = None
    trained: bool = False
    transposed: Constant | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Constant:
        """A constant computed from this one."""
        return Constant(function(self.tensor), None, self.trained)


def aten(*names: str, compares: bool = False) -> Callable[[Handler], Handler]:
    """Registers the translation of ATen operators, named with their overload: f(context, *all schema arguments).
    `compares`: it takes comparisons of varying tensors as well."""

    def add(handler: Handler) -> Handler:
        for name in names:
            OPS[f"aten.{name}"] = handler
            COMPARING.update({f"aten.{name}"} if compares else ())
        return handler

    return add


class Context:
    """The IR under construction and the node being translated. `copies` maps each IR parameter that was computed from
    a trained one to the node that uses it, `holes` an IR value to its entries that were never set (bool, its shape),
    `absent` one to its entries that are minus infinity, of which the value itself holds 0; `indices` are the index maps
    so far: what is computed twice is one node."""

    def __init__(self, builder: GraphBuilder, batch: int):
        self.builder = builder
        self.batch = batch
        self.copies: dict[str, str] = {}
        self.holes: dict[str, Tensor] = {}
        self.indices: dict[tuple[Shape, bytes], str] = {}
        self.absent: dict[str, Tensor] = {}
        self.node: fx.Node

    @property
    def kind(self) -> torch.dtype:
        """The floating type in which the module computes the node at hand."""
        made = self.node.meta.get("val")
        made = made[0] if isinstance(made, (list, tuple)) else made
        return made.dtype if isinstance(made, Tensor) and made.is_floating_point() else self.builder.dtype

    def refuse(self, why: str) -> UnsupportedOp:
        """The error for the node at hand."""
        known = self.node.meta.get("val")
        shape = f" of shape {tuple(known.shape)}" if isinstance(known, Tensor) else ""
        return UnsupportedOp(f"node {self.node.name} ({self.node.target}){shape} {why}")

    def mixed(self, axis: int = 0) -> UnsupportedOp:
        """The error for an operator that is not shown to keep samples apart; `axis` carries the batch."""
        remedy = "" if self.batch == 1 else ", or export with a batch of 1"
        return self.refuse(f"works across axis {axis}, which carries the batch; keep axis 0 as the batch{remedy}")

    # values

    def full(self, x: TracedValue) -> Shape:
        """The shape in the traced program, batch axis included."""
        return x.full(self.batch)

    def axis(self, x: TracedValue, dim: int) -> int:
        """The IR axis at a traced one. Raises UnsupportedOp for the axis that carries the batch."""
        dim = dim % max(x.rank, 1)
        if dim == x.at and not x.is_bare(self.batch):
            raise self.mixed(dim)
        return dim - (not x.folded and dim > x.at)

    def axes(self, x: TracedValue, dims: list[int] | int | None) -> tuple[int, ...]:
        """IR axes of a reduction; none given means all."""
        dims = [dims] if isinstance(dims, int) else dims
        return tuple(sorted(self.axis(x, d) for d in (dims or range(x.rank))))

    def varying(self, x: Any) -> TracedValue:
        """`x`, which must depend on the input."""
        if isinstance(x, TracedValue):
            return x
        raise self.refuse("has a constant where the varying tensor is expected; swap its arguments")

    def leading(self, x: TracedValue) -> TracedValue:
        """`x` with the batch as axis 0, as layers over channels take it."""
        x = self.reshape(x, self.full(x)) if x.is_bare(self.batch) else x
        if not x.lead:
            raise self.mixed(x.at)
        return x

    def emit(
        self, op: Op, *inputs: TracedValue, parameters: tuple[str, ...] = (), at: int | None = None,
    ) -> TracedValue:
        """Appends an IR node; the layout is that of the first input unless told."""
        return self.append(op, *map(self.complete, inputs), parameters=parameters, at=at)

    def complete(self, x: TracedValue) -> TracedValue:
        """`x`, all of whose entries must have been set, and finite."""
        if x.name in self.holes:
            raise self.refuse("reads entries that torch.empty left unset; make the tensor with torch.zeros")
        if x.name in self.absent:
            raise self.refuse("reads entries that are minus infinity, which a softmax alone may; mask with finite "
                              "numbers")
        return x

    def append(
        self, op: Op, *inputs: TracedValue, parameters: tuple[str, ...] = (), at: int | None = None,
    ) -> TracedValue:
        """Appends an IR node as `emit` does, but takes values of which some entries may never have been set."""
        name = self.builder.once(self.node.name, op, tuple(x.name for x in inputs), parameters)
        return TracedValue(name, self.builder.shapes[name], inputs[0].at if at is None else at, inputs[0].folded)

    def reshape(self, x: TracedValue, shape: Shape) -> TracedValue:
        """`x` in another traced shape; no node where the per-sample shape stays."""
        wanted = reshaped(x, self.batch, tuple(shape))
        if wanted is None:
            raise self.mixed(x.at)
        return wanted if wanted.ir == x.ir else replace(wanted, name=self.emit(Reshape(wanted.ir), x).name)

    def bare(self, x: TracedValue) -> TracedValue:
        """The value of a batch of 1 without its batch axis: the per-sample shape is then the traced one."""
        wanted = TracedValue(x.name, self.full(x), folded=True)
        return wanted if wanted.ir == x.ir else replace(wanted, name=self.emit(Reshape(wanted.ir), x).name)

    def permute(self, x: TracedValue, dims: Sequence[int]) -> TracedValue:
        """`x` with traced axes in another order."""
        order = [d % max(x.rank, 1) for d in dims]
        at = 0 if x.is_bare(self.batch) else order.index(x.at)
        own = order if x.folded else [d - (d > x.at) for d in order if d != x.at]
        if own == sorted(own):
            return replace(x, at=at)
        return self.emit(Permute(tuple(own)), x, at=at)

    def select(self, x: TracedValue, index: Tensor) -> TracedValue:
        """The entries of `x` at flat numbers `index` (*ir shape of the result), zero at -1."""
        if tuple(index.shape) == x.ir and torch.equal(index.reshape(-1), torch.arange(index.numel())):
            return x
        key = tuple(index.shape), index.contiguous().numpy().tobytes()
        name = self.indices.get(key) or self.builder.parameter(f"{self.node.name}.index", index.contiguous())
        self.indices[key] = name
        return self.append(Select(), x, parameters=(name,))

    def align(self, a: TracedValue, b: TracedValue) -> tuple[TracedValue, TracedValue]:
        """Two values broadcast to one shape and layout."""
        if a.is_bare(self.batch) != b.is_bare(self.batch):
            a, b = self.bare(a), self.bare(b)
        elif not a.is_bare(self.batch) and (a.folded, a.rank - a.at) != (b.folded, b.rank - b.at):
            raise self.mixed(a.at)
        if a.folded and self.batch > 1 and a.ir[a.at] != b.ir[b.at]:
            raise self.mixed(a.at)
        shape, at = torch.broadcast_shapes(a.ir, b.ir), max(a.at, b.at)
        return replace(self.spread(a, shape), at=at), replace(self.spread(b, shape), at=at)

    def spread(self, x: TracedValue, shape: Shape) -> TracedValue:
        """`x` expanded to a per-sample shape."""
        if x.ir == tuple(shape):
            return x
        return self.select(x, torch.arange(prod(x.ir)).reshape(x.ir).expand(shape))

    # operators of several nodes

    @property
    def composer(self) -> Composer:
        """Writes the nodes of the one at hand."""
        return Composer(self.builder, self.node.name)

    def written(self, x: TracedValue, name: str, at: int | None = None) -> TracedValue:
        """What a composer made of `x`, with its layout."""
        return TracedValue(name, self.builder.shapes[name], x.at if at is None else at, x.folded)

    # constants

    def constant(self, x: Any) -> Constant:
        """A number or constant tensor as a constant. Raises UnsupportedOp for a value that varies."""
        if isinstance(x, TracedValue):
            raise self.refuse("has a varying tensor where the IR needs a constant; give it one that is the same for "
                              "all inputs")
        return x if isinstance(x, Constant) else Constant(torch.tensor(x, dtype=self.kind))

    def scalar(self, x: float) -> Fraction:
        """A number as the run time uses it: rounded to the type in which it computes."""
        return Fraction(float(np.float32(x))) if self.kind == torch.float32 else Fraction(float(x))

    def parameter(self, constant: Constant, role: str) -> str:
        """The name of an IR parameter with this value: the module's own tensor where it is one.

        The module converts a constant to the type in which it computes. Raises UnsupportedOp where the network's type
        does not hold what that gives.
        """
        kind, tensor = self.builder.dtype, constant.tensor
        if constant.source is not None and tensor.dtype == kind:
            return constant.source
        used = tensor.detach().to(self.kind)
        stored = used.to(kind).contiguous()
        if not bool(torch.isfinite(used).all()):
            raise self.refuse(f"has a {role} with a value that is not finite; make it finite in the module")
        if not torch.equal(stored.double(), used.double()):
            raise self.refuse(f"has a {role} in {self.kind} whose values {kind} does not hold; give the module and its "
                              "example one floating type, as with module.double()")
        name = self.builder.parameter(f"{self.node.name}.{role}", stored)
        if constant.trained:
            self.copies[name] = self.node.name
        return name

    def is_shared(self, x: TracedValue, tensor: Tensor) -> bool:
        """Whether a constant beside `x` is the same for all samples."""
        return torch.equal(sized(x, tensor, self.batch, self.batch).nan_to_num(), tensor.nan_to_num())

    def per_sample(self, x: TracedValue, constant: Constant) -> Constant:
        """A constant beside `x` without the batch axis."""
        axis = constant.tensor.ndim - x.rank + x.at
        if x.is_bare(self.batch) or axis < 0:
            return constant
        length = constant.tensor.shape[axis]
        if length != 1 and (length != self.full(x)[x.at] or not self.is_shared(x, constant.tensor)):
            raise self.mixed(axis)
        if x.folded:
            return constant if length == 1 else constant.map(lambda t: t.narrow(axis, 0, x.ir[x.at]))
        return constant.map(lambda t: t.select(axis, 0))

    def beside(self, x: TracedValue, other: Any) -> tuple[TracedValue, Constant]:
        """A value and a constant operand broadcast against each other: the value in the result's shape, and the
        constant without the batch axis."""
        constant = self.constant(other)
        at = 0 if x.is_bare(self.batch) else max(x.at, constant.tensor.ndim - x.rank + x.at)
        constant = self.per_sample(x, constant)
        shape = torch.broadcast_shapes(x.ir, constant.tensor.shape)
        return replace(self.spread(x, shape), at=at), constant

    def shift(self, x: TracedValue, offset: Any) -> TracedValue:
        """x + offset, broadcast; an offset of minus infinity makes an entry absent."""
        constant = self.constant(offset)
        absent = constant.tensor == -torch.inf if constant.tensor.is_floating_point() else torch.zeros(())
        if not bool(absent.any()):
            return self._entrywise(Shift, x, constant, "offset")
        y = self._entrywise(Shift, x, constant.map(lambda t: t.masked_fill(absent, 0)), "offset")
        gone = self.beside(x, constant.map(lambda t: absent))[1].tensor
        self.absent[y.name] = gone.expand(y.ir)
        return y

    def scale(self, x: TracedValue, factor: Any) -> TracedValue:
        """x * factor, broadcast."""
        return self._entrywise(Scale, x, factor, "factor")

    def divide(self, x: TracedValue, divisor: Any) -> TracedValue:
        """x / divisor, broadcast."""
        return self._entrywise(Divide, x, divisor, "divisor")

    def _entrywise(self, op: type[Entrywise], x: TracedValue, other: Any, role: str) -> TracedValue:
        x, constant = self.beside(x, other)
        name = self.parameter(constant, role)
        return self.emit(op.broadcast(tuple(constant.tensor.shape), x.ir), x, parameters=(name,))
