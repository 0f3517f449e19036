"""ATen operators that only copy entries, in terms of the IR: they are run on the numbers of the entries.

Every entry of a varying tensor is numbered from 0 on, every entry of a constant from FIRST down; what comes out says
which entries the result has, and what is kept in one Select and one Shift.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from verify.ir.aten import Constant, Context
from verify.ir.aten_layout import TracedValue, bare, batched, sized, split_samples
from verify.ops import Concat, Reshape, Select, Shift

ZERO, HOLE, FIRST = -1, -2, -3  # entry numbers that stand for a zero, for memory never set, for the first constant


def move(c: Context, x: TracedValue, copy: Callable[[Tensor], Tensor]) -> TracedValue:
    """Any operator that only copies entries (or pads with -1, read as zero): it is run on the entry numbers."""
    return mix(c, [x], copy)


def mix(c: Context, parts: Sequence[TracedValue | Constant], copy: Callable[..., Tensor]) -> TracedValue:
    """Any operator that only copies entries of several tensors, varying and constant: it is run on their numbers.

    It is run on two samples at once where there is a batch axis, and must do the same to both.
    """
    values = list({part.name: part for part in parts if isinstance(part, TracedValue)}.values())
    constants = [part for part in parts if isinstance(part, Constant)]
    starts = np.cumsum([0, *(prod(x.ir) for x in values)]).tolist()
    step, samples = starts[-1], 1 if any(x.is_bare(c.batch) for x in values) else 2
    own = {x.name: _numbers(c, x, start) for x, start in zip(values, starts, strict=False)}
    given, place = [], FIRST
    for part in parts:
        if isinstance(part, TracedValue):
            numbers = own[part.name]
            given.append(numbers if part.is_bare(c.batch) else batched(part, numbers, samples, step))
        else:
            given.append(_constant_numbers(c, values[0], part, place, samples))
            place -= part.tensor.numel()
    made = copy(*given).long()
    if samples == 1:
        shown = bare(values[0], tuple(made.shape))
        index, at, folded = made.reshape(shown.ir), shown.at, shown.folded
    else:
        found = split_samples(made, step, values[0].at)
        if found is None:
            raise c.mixed(values[0].at)
        index, at, folded = found
    at = 0 if folded and c.batch == 1 else at
    return replace(_picked(c, values, constants, index), at=at, folded=folded)


def _numbers(c: Context, x: TracedValue, start: int) -> Tensor:
    """Entry numbers of one sample; float64, since resizing needs floats, which is exact below 2^53."""
    numbers = torch.arange(start, start + prod(x.ir), dtype=torch.float64).reshape(x.ir)
    return numbers.masked_fill(c.holes[x.name], HOLE) if x.name in c.holes else numbers


def _constant_numbers(c: Context, x: TracedValue, constant: Constant, place: int, samples: int) -> Tensor:
    """Entry numbers of a constant beside `x`, from `place` down, for this many samples."""
    tensor = constant.tensor
    if not c.is_shared(x, tensor):
        raise c.mixed(x.at)
    numbers = place - torch.arange(tensor.numel(), dtype=torch.float64).reshape(tensor.shape)
    return sized(x, numbers.masked_fill(tensor.isnan(), HOLE), c.batch, samples)


def _picked(c: Context, values: list[TracedValue], constants: list[Constant], index: Tensor) -> TracedValue:
    """The entries with these numbers, (*ir shape of the result)."""
    whole = values[0]
    if len(values) > 1:
        flat = [c.append(Reshape((prod(x.ir),)), x) for x in values]
        whole = c.append(Concat(0, tuple(x.ir[0] for x in flat)), *flat)
    picks, holes = index.clamp(min=ZERO), index == HOLE
    if bool(holes.any()):  # a node of its own: the same picks may stand elsewhere for zeros
        name = c.builder.parameter(f"{c.node.name}.unset", picks.contiguous())
        moved = c.append(Select(), whole, parameters=(name,))
    else:
        moved = c.select(whole, picks)
    taken = index <= FIRST
    if bool(taken.any()):
        table = torch.cat([constant.tensor.detach().double().flatten() for constant in constants])
        offset = torch.zeros(index.shape, dtype=torch.float64)
        offset[taken] = table[FIRST - index[taken]]
        absent = offset == -torch.inf
        offset[absent] = 0
        if bool(offset.any()):
            role = c.parameter(Constant(offset, None, any(constant.trained for constant in constants)), "offset")
            moved = c.append(Shift.broadcast(moved.ir, moved.ir), moved, parameters=(role,))
        if bool(absent.any()):  # a node of its own, as above
            name = c.builder.parameter(f"{c.node.name}.absent", torch.arange(absent.numel()).reshape(absent.shape))
            moved = replace(moved, name=c.builder.add(c.node.name, Select(), (moved.name,), (name,)))
            c.absent[moved.name] = absent
    if bool(holes.any()):
        c.holes[moved.name] = holes
    return moved
