"""Attention of opset 23, as products of stacks of matrices around a softmax."""

from __future__ import annotations

from math import sqrt

import numpy as np
import torch

from verify.ir.compose import Composer
from verify.ir.onnx_reader.reader import NUMPY, Call, Reader, handles
from verify.ir.onnx_reader.values import Value, ir_shape


@handles("Attention")
def attention(r: Reader, c: Call) -> Value:
    """softmax(scale Q K' + mask) V for each head; a head of K and V may stand beside several of Q."""
    q, k, v = (r.sample(c, c.value(i)) for i in range(3))
    if c.has(4) or c.has(5) or c.attribute("softcap", 0.0) or c.outputs > 1:
        c.refuse("has a past, a softcap or more than one output", "write it in other operators")
    for name in ("qk_matmul_output_mode", "softmax_precision"):  # of an output that is not there, and of rounding
        c.attribute(name)
    heads = [c.attribute(name) for name in ("q_num_heads", "kv_num_heads")]
    flat = q.rank == 3
    parts = [_heads(r, c, x, count) for x, count in zip((q, k, v), (heads[0], heads[1], heads[1]), strict=True)]
    (count, length, width), (few, other, _) = (ir_shape(x.shape, 0) for x in parts[:2])
    if count % few:
        c.refuse(f"has {count} heads of queries for {few} of keys")
    mask = _mask(r, c, (count, length, other))
    scale = float(NUMPY[r.builder.dtype].type(c.attribute("scale") or 1 / sqrt(width)))
    absent, offset = np.isneginf(mask), np.where(np.isneginf(mask), 0, mask)

    def composed(w: Composer) -> str:
        query, key, value = (x.name for x in parts)
        spread = [w.reshape(w.pick(x, np.repeat(np.arange(np.prod(w.shape(x))).reshape(w.shape(x)), count // few, 0)),
                            (count, *w.shape(x)[1:])) for x in (key, value)]
        scores = w.matrix_product(w.scale(query, scale), w.permute(spread[0], (0, 2, 1)))
        scores = w.add_constant(scores, torch.from_numpy(offset)) if offset.any() else scores
        out = w.matrix_product(w.softmax(scores, 2, absent if absent.any() else None), spread[1])
        return w.reshape(w.permute(out, (1, 0, 2)), (length, count * w.shape(out)[2])) if flat else out

    ends = (parts[2].shape[3],)
    shape = (1, length, count * ends[0]) if flat else (1, count, length, *ends)
    return r.write(c, composed, shape, 0)


def _heads(r: Reader, c: Call, x: Value, count: int | None) -> Value:
    """(1, heads, length, width) of either form."""
    if x.rank == 4:
        return x
    if x.rank != 3 or not count or x.shape[2] % count:
        c.refuse(f"splits {x.shape} into {count} heads")
    apart = r.lay(c, x, (1, x.shape[1], count, x.shape[2] // count), 0)
    return r.transpose(c, apart, (0, 2, 1, 3))


def _mask(r: Reader, c: Call, shape: tuple[int, ...]) -> np.ndarray:
    """What is added to the scores (heads, queries, keys)."""
    mask = np.zeros(shape)
    if c.attribute("is_causal", 0):
        mask = np.where(np.tril(np.ones(shape[1:], bool)), mask, -np.inf)
    if c.has(3):
        given = r.constant(c, c.const(3))
        given = np.where(given, 0.0, -np.inf) if given.dtype == bool else given.astype(np.float64)
        if given.ndim == 4 and given.shape[0] != 1:
            c.refuse_batch()
        mask = mask + np.broadcast_to(given[0] if given.ndim == 4 else given, shape)
    return mask
