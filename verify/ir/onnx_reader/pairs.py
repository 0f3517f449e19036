"""Products of two varying tensors, summed over some axes: as products of stacks of matrices."""

from __future__ import annotations

from math import prod

import numpy as np

from verify.ir.compose import Composer
from verify.ir.onnx_reader.reader import Call, Reader
from verify.ir.onnx_reader.values import Value


def _together(r: Reader, c: Call, a: Value, b: Value, same: bool) -> tuple[Value, Value]:
    """Both with their batch axis, where it stays apart (`same`), else with none."""
    if same and a.batch is not None and b.batch is not None:
        return r.finite(c, a), r.finite(c, b)
    if r.symbolic:
        c.refuse_batch()
    return r.lay(c, a, a.shape, None), r.lay(c, b, b.shape, None)


def varying_matmul(r: Reader, c: Call, a: Value, b: Value) -> Value:
    """ONNX's MatMul of two varying tensors."""
    if min(a.rank, b.rank) == 1:
        letters = "ij", "jk"
        mine = letters[0][-a.rank :] if a.rank < 3 else None
        theirs = letters[1][: b.rank] if b.rank < 3 else None
        if mine is None or theirs is None:
            c.refuse("multiplies a vector with a stack of matrices", "give the vector a second axis")
        return pair(r, c, [a, b], [mine, theirs], (mine + theirs).replace("j", ""))
    n, k, m = a.shape[-2], a.shape[-1], b.shape[-1]
    if b.shape[-2] != k:
        c.refuse(f"multiplies rows of {k} entries with a matrix of {b.shape[-2]} rows")
    place = None if a.batch is None else a.batch - a.rank
    same = place is not None and place < -2 and b.batch is not None and b.batch - b.rank == place
    a, b = _together(r, c, a, b, same)
    lead = tuple(np.broadcast_shapes(a.shape[:-2], b.shape[:-2]))
    r.spend(c, prod(lead) * (n * k + k * m))
    batch = None if a.batch is None else len(lead) + 2 + (place or 0)
    return r.write(c, lambda w: w.matrix_product(a.name, b.name), (*lead, n, m), batch)


def pair(r: Reader, c: Call, both: list[Value], named: list[str], wanted: str) -> Value:
    """The sum of products of two varying tensors, whose axes have the letters `named`, over all letters that are not
    `wanted`."""
    (a, mine), (b, theirs) = zip(both, named, strict=True)
    if any(len(set(part)) < len(part) for part in (mine, theirs, wanted)) or set(wanted) - set(mine + theirs):
        c.refuse("takes a diagonal, or makes an axis", "write it in other operators")
    head = None if a.batch is None else mine[a.batch]
    same = head is not None and head in wanted and b.batch is not None and theirs[b.batch] == head
    a, b = _together(r, c, a, b, same)
    if a.batch is not None:  # the letters of a sample
        mine, theirs = (part.replace(str(head), "") for part in (mine, theirs))
    out = wanted if a.batch is None else wanted.replace(str(head), "")
    length: dict[str, int] = {}
    for letters, x in ((mine, a), (theirs, b)):
        for letter, n in zip(letters, r.builder.shapes[x.name] if letters else (), strict=True):
            length[letter] = max(n, length.get(letter, 1))
    batch = None if a.batch is None else wanted.index(str(head))
    shape = tuple(length[letter] for letter in out)
    whole = shape if batch is None else (*shape[:batch], 1, *shape[batch:])
    return r.write(c, lambda w: _contracted(w, (a.name, mine), (b.name, theirs), out, length), whole, batch)


def _contracted(w: Composer, left: tuple[str, str], right: tuple[str, str], out: str, length: dict[str, int]) -> str:
    """Two values with the letters of their axes, as one product of stacks of matrices."""
    (a, mine), (b, theirs) = left, right
    a, mine = w.summed(a, mine, theirs + out)
    b, theirs = w.summed(b, theirs, mine + out)
    stack = "".join(x for x in mine if x in theirs and x in out)
    inner = "".join(x for x in mine if x in theirs and x not in out)
    rows, columns = "".join(x for x in mine if x not in theirs), "".join(x for x in theirs if x not in mine)

    def matrix(x: str, letters: str, order: tuple[str, str, str]) -> str:
        long = w.spread(x, tuple(length[a] for a in letters))
        turned = w.permute(long, [letters.index(a) for a in "".join(order)])
        return w.reshape(turned, tuple(prod(length[a] for a in part) for part in order))

    if not inner and not rows and not columns:
        flat = w.product(matrix(a, mine, (stack, "", "")), matrix(b, theirs, (stack, "", "")))
    else:
        flat = w.matrix_product(matrix(a, mine, (stack, rows, inner)), matrix(b, theirs, (stack, inner, columns)))
    made = stack + rows + columns
    apart = w.reshape(flat, tuple(length[x] for x in made))
    return w.permute(apart, [made.index(x) for x in out])
