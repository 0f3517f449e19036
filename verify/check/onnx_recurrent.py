"""ONNX's RNN, GRU and LSTM, unrolled over the steps of their input, in one direction or both.

    RNN    h' = f(W x + b + R h + d)
    GRU    h' = n + z (h - n), the update z and the reset r by sigmoids, n = tanh(W x + b + R (r h) + d), or
           n = tanh(W x + b + r (R h + d)) where linear_before_reset is 1
    LSTM   c' = f c + i g, h' = o tanh(c')

with a state of zeros left out, so that R h + d is d.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from verify.check.onnx_graph import Call, Shape, Value, Writer
from verify.check.onnx_products import product

CELLS = {"RNN": 1, "GRU": 3, "LSTM": 4}  # and their gates
_USUAL = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
_ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "Sigmoid": ("curve", {"function": "sigmoid", "parameters": []}),
    "Tanh": ("curve", {"function": "tanh", "parameters": []}),
    "Relu": ("piecewise", {"breakpoints": ["0"], "slopes": ["0", "1"], "anchor": ["0", "0"]}),
}


class _Cell:
    """One direction of a layer; vectors are values of shape (entries,)."""

    def __init__(self, w: Writer, c: Call, k: int, size: int):
        self.w, self.c, self.size, gates = w, c, size, CELLS[c.op]
        names = c.texts("activations") or [*_USUAL[c.op], *_USUAL[c.op]]
        self.activations = names[k * len(_USUAL[c.op]) : (k + 1) * len(_USUAL[c.op])]
        if len(self.activations) != len(_USUAL[c.op]) or not set(self.activations) <= _ACTIVATIONS.keys():
            c.refuse(f"has the activations {names[:8]}")
        self.resets_first = not c.integer("linear_before_reset", 0) if c.op == "GRU" else True
        self.entering, self.recurring = w.floats(c, c.const(1)[k]), w.floats(c, c.const(2)[k])
        both = w.floats(c, c.const(3)[k]) if c.has(3) else np.zeros(2 * gates * size, w.kind)
        self.offsets = both[: gates * size], both[gates * size :]
        inputs = self.entering.shape[-1:]
        shapes = self.entering.shape, self.recurring.shape, both.shape
        if shapes != ((gates * size, *inputs), (gates * size, size), (2 * gates * size,)):
            c.refuse(f"has weights of shapes {shapes} for a state of {size}")

    def run(self, x: Value, states: list[Value | None], order: range) -> tuple[dict[int, Value], list[Value | None]]:
        """The hidden values by step, and the last state; x (steps, inputs)."""
        wide, hidden = len(self.entering), {}
        if x.shape[-1] != self.entering.shape[1]:
            self.c.refuse(f"multiplies rows of {x.shape[-1]} with weights of {self.entering.shape[1]}")
        entering = self.w.emit(self.c, "linear", [x], (x.shape[0], wide), weight=self.entering, bias=self.offsets[0])
        for t in order:
            part = self._part(entering, t * wide, wide)
            if self.c.op == "RNN":
                states = [self._act(0, self._both(part, states[0], 0, 1)), None]
            elif self.c.op == "GRU":
                states = [self._gated(part, states[0]), None]
            else:
                states = self._remembering(part, *states)
            hidden[t] = self._known(states[0])
        return hidden, states

    def _gated(self, entering: Value, hidden: Value | None) -> Value:
        gates = self._both(entering, hidden, 0, 2)
        update, reset = (self._act(0, self._gate(gates, k)) for k in range(2))
        if self.resets_first:
            new = self._act(1, self._both(entering, None if hidden is None else self._times(reset, hidden), 2, 3))
        else:
            past = self._times(reset, self._recurred(entering, hidden, 2, 3))
            new = self._act(1, self._add(self._gate(entering, 2), past))
        away = self.w.negate(self.c, new) if hidden is None else self._add(hidden, new, -1)
        return self._add(new, self._times(update, away))

    def _remembering(self, entering: Value, hidden: Value | None, cell: Value | None) -> list[Value | None]:
        total = self._both(entering, hidden, 0, 4)
        into, out, keep = (self._act(0, self._gate(total, k)) for k in range(3))
        fresh = self._times(into, self._act(1, self._gate(total, 3)))
        cell = fresh if cell is None else self._add(self._times(keep, cell), fresh)
        return [self._times(out, self._act(2, cell)), cell]

    def _both(self, entering: Value, hidden: Value | None, first: int, last: int) -> Value:
        mine = self._part(entering, first * self.size, (last - first) * self.size)
        return self._add(mine, self._recurred(entering, hidden, first, last))

    def _recurred(self, like: Value, hidden: Value | None, first: int, last: int) -> Value:
        """R h + d of some gates."""
        rows = slice(first * self.size, last * self.size)
        weight, offset = self.recurring[rows], self.offsets[1][rows]
        if hidden is None:
            return constant(self.w, self.c, like, offset)
        return self.w.emit(self.c, "linear", [hidden], offset.shape, weight=weight, bias=offset)

    def _act(self, k: int, x: Value) -> Value:
        op, fields = _ACTIVATIONS[self.activations[k]]
        return self.w.emit(self.c, op, [x], x.shape, **fields)

    def _gate(self, x: Value, k: int) -> Value:
        return self._part(x, k * self.size, self.size)

    def _part(self, x: Value, start: int, count: int) -> Value:
        return self.w.move(self.c, x, np.arange(start, start + count))

    def _times(self, x: Value, y: Value) -> Value:
        return product(self.w, self.c, x, y)

    def _add(self, x: Value, y: Value, sign: int = 1) -> Value:
        return self.w.emit(self.c, "add", [x, y], x.shape, signs=[1, sign])

    def _known(self, x: Value | None) -> Value:
        return self.c.refuse("has no state") if x is None else x


def constant(w: Writer, c: Call, like: Value, offset: np.ndarray) -> Value:
    """A constant vector, as zeros taken of a value and a sum with it."""
    return w.emit(c, "shift", [w.move(c, like, np.full(offset.shape, -1))], offset.shape, offset=offset)


def recurrent(w: Writer, c: Call) -> list[Value]:
    """Y (steps, directions, 1, hidden), the last hidden state, and of an LSTM the last cell."""
    x, size, direction = c.value(), c.integer("hidden_size", 0), c.text("direction", "forward")
    signs = {"forward": [1], "reverse": [-1], "bidirectional": [1, -1]}.get(direction)
    fits = x.rank == 3 and x.shape[1] == 1 and size > 0 and signs is not None and not c.integer("layout", 0)
    if not fits or (w.symbolic and x.shape[0] == 1) or c.has(7) or c.integer("input_forget", 0):
        c.refuse(f"has an input {x.shape} with more than one sample or an open batch, or a form that is not read")
    assert signs is not None
    steps = x.shape[0]
    if c.has(4) and (c.const(4) != steps).any():
        c.refuse("stops before the last step")
    rows = w.reshape(c, x, (steps, x.shape[2]))
    starts = [_started(w, c, rows, place, len(signs), size) for place in (5, 6)]
    found = [_Cell(w, c, k, size).run(rows, [start[k] for start in starts], range(steps)[::sign])
             for k, sign in enumerate(signs)]
    every = [hidden[t] for t in range(steps) for hidden, _ in found]
    made = [_joined(w, c, every, (steps, len(signs), 1, size))]
    for place in range(2 if c.op == "LSTM" else 1):
        made.append(_joined(w, c, [end[place] for _, end in found], (len(signs), 1, size)))
    return made


def _started(w: Writer, c: Call, like: Value, place: int, directions: int, size: int) -> list[Value | None]:
    """The first state of each direction, None for zeros in all."""
    if not c.has(place):
        return [None] * directions
    state = w.floats(c, c.const(place)).reshape(directions, size)
    return [constant(w, c, like, row) for row in state] if state.any() else [None] * directions


def _joined(w: Writer, c: Call, parts: Sequence[Value | None], shape: Shape) -> Value:
    """Vectors one after the other, in this shape."""
    known = [part for part in parts if part is not None]
    return w.gather(c, known, np.arange(prod(shape)).reshape(-1, 1), shape)
