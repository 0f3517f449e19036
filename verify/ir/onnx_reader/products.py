"""Sums of products with a constant over some axes: MatMul, Einsum, CumSum."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from string import ascii_letters

import numpy as np

from verify.ir.onnx_reader.linear import swapped, times
from verify.ir.onnx_reader.pairs import pair, varying_matmul
from verify.ir.onnx_reader.reader import Call, Reader, handles
from verify.ir.onnx_reader.values import Const, Value
from verify.ir.running_sum import running_sum
from verify.ops import Conv, Sum


@handles("MatMul")
def matmul(r: Reader, c: Call) -> Value:
    if isinstance(c.operand(0), Value) and isinstance(c.operand(1), Value):
        return varying_matmul(r, c, c.value(0), c.value(1))
    x, const, right = c.value_and_const()
    weight, lead = r.constant(c, const), max(0, len(const.shape) - 2)
    if weight.ndim == 0:
        c.refuse("multiplies with a constant without axes")
    if any(n != 1 for n in weight.shape[:lead]):
        return _stacked(r, c, x, const, right)
    weight = weight.reshape(weight.shape[lead:])
    if lead and x.rank == 1:
        c.refuse("multiplies a vector with a stack of matrices", "drop the leading axes of length 1 of the matrix")
    if lead:
        x = r.grow(c, x, set(range(lead + 2 - x.rank)))
    if right:
        return times(r, c, x, weight, const.name)
    if x.rank == 1:
        return times(r, c, x, weight.T, const.name)
    out = times(r, c, swapped(r, c, x), weight.T, const.name)
    return swapped(r, c, out) if weight.ndim == 2 else out


@handles("Einsum")
def einsum(r: Reader, c: Call) -> Value:
    """ONNX's Einsum of one or two tensors."""
    equation = c.attribute("equation").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(c.inputs) or len(terms) > 2 or not arrow:
        c.refuse(f"has the equation {equation}", "write it with an arrow, for one or two tensors")
    both = [o for o in c.inputs if isinstance(o, Value)]
    if len(terms) == 1:
        x, const, place = c.value(), None, 0
    elif len(both) == 2:
        return _varying_einsum(r, c, both, terms, right)
    else:
        x, const, last = c.value_and_const()
        place = 0 if last else 1
    free = iter(letter for letter in ascii_letters if letter not in equation)
    hidden: dict[int, str] = {}  # the axes of an ellipsis, counted from its end
    ranks = [x.rank if i == place or const is None else len(const.shape) for i in range(len(terms))]
    named = [_spelled(c, term, rank, hidden, free) for term, rank in zip(terms, ranks, strict=True)]
    ends = "".join(hidden[i] for i in sorted(hidden, reverse=True))
    wanted = right.replace("...", ends)
    if const is None:
        return contract(r, c, x, named[0], None, "", wanted)
    return contract(r, c, x, named[place], const, named[1 - place], wanted)


def _varying_einsum(r: Reader, c: Call, both: list[Value], terms: list[str], right: str) -> Value:
    """Of two varying tensors."""
    free = iter(letter for letter in ascii_letters if letter not in "".join(terms) + right)
    hidden: dict[int, str] = {}
    named = [_spelled(c, term, x.rank, hidden, free) for term, x in zip(terms, both, strict=True)]
    wanted = right.replace("...", "".join(hidden[i] for i in sorted(hidden, reverse=True)))
    return pair(r, c, both, named, wanted)


def _spelled(c: Call, term: str, rank: int, hidden: dict[int, str], free: Iterator[str]) -> str:
    """The letters of a term with those of its ellipsis."""
    if "..." not in term:
        if len(term) != rank:
            c.refuse(f"names the axes {term} of a tensor of rank {rank}")
        return term
    count = rank - len(term) + 3
    for i in range(count):
        if i not in hidden:
            hidden[i] = next(free)
    return term.replace("...", "".join(hidden[i] for i in reversed(range(count))))


def _stacked(r: Reader, c: Call, x: Value, const: Const, right: bool) -> Value:
    """The matrix product of a varying tensor and a constant of more than two axes, on its right or left."""
    row, inner, column = "rkc"
    lead = "".join(letter for letter in ascii_letters if letter not in "rkc")[: max(x.rank, len(const.shape)) - 2]
    matrices = (row + inner, inner + column) if right else (inner + column, row + inner)
    mine = (lead + matrices[0])[-x.rank :] if x.rank > 1 else inner
    theirs = (lead + matrices[1])[-len(const.shape) :]
    ends = [letter for letter in (row, column) if letter in mine + theirs]
    return contract(r, c, x, mine, const, theirs, lead + "".join(ends))


def contract(r: Reader, c: Call, x: Value, mine: str, const: Const | None, theirs: str, wanted: str) -> Value:
    """The sum of products of x, whose axes have the letters `mine`, and a constant of axes `theirs` over all letters
    that are not `wanted`. An axis of length 1 stands for one of any length.

    Letters of both that stay are a stack of matrices, and a grouped convolution of width 1 multiplies each with its
    part of x.
    """
    weight = np.ones(()) if const is None else r.constant(c, const)
    short = [a for a, n in zip(theirs, weight.shape, strict=True) if n == 1 and a in mine]
    weight = weight.squeeze(tuple(theirs.index(a) for a in short))
    theirs = "".join(a for a in theirs if a not in short)
    length = dict(zip(mine, x.shape, strict=True))
    long = [a for a, n in zip(theirs, weight.shape, strict=True) if length.get(a, n) != n]
    if any(length[a] != 1 for a in long) or len(set(mine)) < len(mine) or len(set(wanted)) < len(wanted):
        c.refuse("has lengths of axes that do not fit, or takes a diagonal")
    if x.batch is not None and mine[x.batch] in theirs + ("" if mine[x.batch] in wanted else mine[x.batch]):
        c.refuse_batch()
    x, mine = _without(r, c, x, mine, set(long))
    alone = [a for a in theirs if a not in mine + wanted]
    if alone or len(set(theirs)) < len(theirs) or set(wanted) - set(mine + theirs):
        c.refuse("sums a constant alone, or takes its diagonal", "store the sum")
    summed = [i for i, a in enumerate(mine) if a not in theirs + wanted]
    if summed:
        held = tuple(1 if i in summed else n for i, n in enumerate(x.shape))
        x = r.emit(c, Sum(tuple(x.ir_axis(i) for i in summed), True, False), (x,), shape=held, batch=x.batch)
        x, mine = _without(r, c, x, mine, {mine[i] for i in summed})
    out, letters = _multiplied(r, c, x, mine, weight, theirs, wanted, const)
    return r.transpose(c, out, [letters.index(a) for a in wanted])


def _without(r: Reader, c: Call, x: Value, letters: str, dropped: set[str]) -> tuple[Value, str]:
    """Without these axes, which have length 1."""
    kept = [i for i, a in enumerate(letters) if a not in dropped]
    batch = None if x.batch is None else kept.index(x.batch)
    return r.lay(c, x, tuple(x.shape[i] for i in kept), batch), "".join(letters[i] for i in kept)


def _multiplied(r: Reader, c: Call, x: Value, mine: str, weight: np.ndarray, theirs: str, wanted: str,
                const: Const | None) -> tuple[Value, str]:
    """The product and the letters of its axes: batch, stack, those of the constant alone, those of x alone."""
    if const is None:
        return x, mine
    head = "" if x.batch is None else mine[x.batch]
    stack = "".join(a for a in mine if a in theirs and a in wanted)
    inner = "".join(a for a in mine if a in theirs and a not in wanted)
    rest = "".join(a for a in mine if a not in theirs + head)
    new = "".join(a for a in theirs if a not in mine)
    length = dict(zip(mine, x.shape, strict=True)) | dict(zip(theirs, weight.shape, strict=True))
    size = {part: prod(length[a] for a in part) for part in (stack, inner, rest, new)}
    weight = weight.transpose([theirs.index(a) for a in stack + new + inner])
    order, front, batch = [mine.index(a) for a in head + rest + stack + inner], (1,) * len(head), 0 if head else None
    if not stack:
        moved = r.transpose(c, x, order)
        flat = r.lay(c, moved, (*front, size[rest], size[inner]), batch)
        out = times(r, c, flat, weight.reshape(size[new], size[inner]).T, const.name)
        letters = head + rest + new
    else:
        moved = r.transpose(c, x, [mine.index(a) for a in head + stack + inner + rest])
        flat = r.lay(c, moved, (*front, size[stack] * size[inner], size[rest]), batch)
        name = r.parameter(c, const.name, weight.reshape(size[stack] * size[new], size[inner], 1))
        op = Conv((1,), (0,), (1,), size[stack])
        out = r.emit(c, op, (flat,), (name,), shape=(*front, size[stack] * size[new], size[rest]), batch=batch)
        letters = head + stack + new + rest
    return r.lay(c, out, tuple(length[a] for a in letters), batch), letters


@handles("CumSum")
def cumulative(r: Reader, c: Call) -> Value:
    x, axes = c.value(), c.integers(1) or []
    axis = c.axis(axes[0], x.rank)
    if axis == x.batch:
        c.refuse_batch()
    r.spend(c, x.size * x.shape[axis])
    exclusive, reverse = (bool(c.attribute(name, 0)) for name in ("exclusive", "reverse"))
    return r.write(c, lambda w: running_sum(w, x.name, x.ir_axis(axis), exclusive, reverse), x.shape, x.batch)
