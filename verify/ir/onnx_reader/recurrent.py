"""RNN, GRU and LSTM, unrolled over the steps of their input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from verify.ir.compose import Composer
from verify.ir.onnx_reader.reader import Call, Reader, handles
from verify.ir.onnx_reader.values import Const, Value
from verify.ops import Add, Concat, Linear, Op, ReLU, Sigmoid, Tanh

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
ACTIVATIONS: dict[str, Op] = {"Relu": ReLU(), "Sigmoid": Sigmoid(), "Tanh": Tanh()}
State = tuple[str | None, str | None]  # hidden and cell value, None for zeros


@dataclass(frozen=True)
class Cell:
    """One direction of a layer: its weights by rows of `size` for each gate, and its activations."""

    kind: str
    size: int
    weights: tuple[str, str, str, str]  # parameters: of the input and of the state, with their offsets
    activations: Sequence[Op]
    resets_first: bool  # of a GRU: whether the state is reset before its weights

    def step(self, w: Composer, entering: str, state: State) -> State:
        """The state after one step, from the input times its weights, all gates side by side."""
        hidden, cell = state
        if self.kind == "RNN":
            return w.node(self.activations[0], self._both(w, entering, hidden, 0, 1)), None
        if self.kind == "GRU":
            return self._gated(w, entering, hidden), None
        total = self._both(w, entering, hidden, 0, 4)
        i, o, f = (w.node(self.activations[0], self._part(w, total, k)) for k in range(3))
        fresh = w.product(i, w.node(self.activations[1], self._part(w, total, 3)))
        cell = fresh if cell is None else w.node(Add((1, 1)), w.product(f, cell), fresh)
        return w.product(o, w.node(self.activations[2], cell)), cell

    def _gated(self, w: Composer, entering: str, hidden: str | None) -> str:
        """n + z (h - n), so that the new value n and the old one h are combined by one product."""
        sigmoid, tanh = self.activations
        gates = self._both(w, entering, hidden, 0, 2)
        z, reset = (w.node(sigmoid, self._part(w, gates, k)) for k in range(2))
        if self.resets_first:
            inner = None if hidden is None else w.product(reset, hidden)
            new = w.node(tanh, self._both(w, entering, inner, 2, 3))
        else:
            past = w.product(reset, self._recurred(w, entering, hidden, 2, 3))
            new = w.node(tanh, w.node(Add((1, 1)), self._part(w, entering, 2), past))
        away = w.scale(new, -1.0) if hidden is None else w.node(Add((1, -1)), hidden, new)
        return w.node(Add((1, 1)), new, w.product(z, away))

    def _part(self, w: Composer, x: str, first: int, last: int | None = None) -> str:
        """Some gates of all that lie side by side."""
        return w.pick(x, np.arange(first * self.size, (first + 1 if last is None else last) * self.size))

    def _recurred(self, w: Composer, like: str, hidden: str | None, first: int, last: int) -> str:
        """The state times its weights for some gates."""
        weight, offset = (w.builder.parameters[name][first * self.size : last * self.size] for name in self.weights[2:])
        if hidden is None:
            zero = w.pick(like, np.full((last - first) * self.size, -1))
            return w.add_constant(zero, offset)
        names = (w.constant(f"state_{first}_{last}", weight), w.constant(f"state_offset_{first}_{last}", offset))
        return w.node(Linear(), hidden, parameters=names)

    def _both(self, w: Composer, entering: str, hidden: str | None, first: int, last: int) -> str:
        mine = self._part(w, entering, first, last)
        return w.node(Add((1, 1)), mine, self._recurred(w, entering, hidden, first, last))

    def run(self, w: Composer, x: str, state: State, order: Sequence[int]) -> tuple[list[str], State]:
        """The hidden values in the order of the steps (length, inputs), and the last state."""
        entering = w.node(Linear(), x, parameters=self.weights[:2])
        wide, found = self.size * GATES[self.kind], {}
        for t in order:
            state = self.step(w, w.pick(entering, t * wide + np.arange(wide)), state)
            found[t] = str(state[0])
        return [found[t] for t in range(len(order))], state


@handles("RNN", "GRU", "LSTM")
def recurrent(r: Reader, c: Call) -> list[Value]:
    """Y (steps, directions, batch, hidden), then the last hidden state, and of an LSTM the last cell."""
    x, size = c.value(), c.attribute("hidden_size")
    if x.rank != 3 or x.shape[1] != 1 or (r.symbolic and x.batch != 1):
        c.refuse("wants its input as (steps, batch, inputs), with one batch axis", "export it for one sample")
    x, steps = r.lay(c, x, x.shape, 1), x.shape[0]
    direction = c.attribute("direction", "forward")
    orders = {"forward": [1], "reverse": [-1], "bidirectional": [1, -1]}[direction]
    if c.has(4) and (c.const(4).array != steps).any():
        c.refuse("stops before the last step", "leave out sequence_lens")
    if c.has(7) or c.attribute("layout", 0):
        c.refuse("has peepholes, or its batch axis in front", "leave out the attribute layout and the eighth input")
    states = [_state(c, place, len(orders), size) for place in (5, 6 if c.op == "LSTM" else 99)]
    cells = [_cell(r, c, k, size, len(orders)) for k in range(len(orders))]
    ends: list[State] = []
    rows: list[list[str]] = []
    composer = Composer(r.builder, c.name)
    for k, (cell, sign) in enumerate(zip(cells, orders, strict=True)):
        start = (_started(composer, x.name, states[0], k), _started(composer, x.name, states[1], k))
        hidden, end = cell.run(composer, x.name, start, range(steps)[::sign])
        rows.append(hidden)
        ends.append(end)
    flat = [rows[k][t] for t in range(steps) for k in range(len(orders))]
    shape = (steps, len(orders), 1, size)
    made = [r.write(c, lambda w: _joined(w, flat, (steps, len(orders), size)), shape, 2)]
    for place in range(2 if c.op == "LSTM" else 1):
        last = [str(end[place]) for end in ends]
        made.append(r.write(c, lambda w, last=last: _joined(w, last, (len(orders), size)), (len(orders), 1, size), 1))
    return made


def _joined(w: Composer, parts: Sequence[str], shape: tuple[int, ...]) -> str:
    """Vectors one after the other, in this shape."""
    whole = parts[0] if len(parts) == 1 else w.node(Concat(0, tuple(w.shape(p)[0] for p in parts)), *parts)
    return w.reshape(whole, shape)


def _state(c: Call, place: int, directions: int, size: int) -> np.ndarray | None:
    """The first state of each direction (directions, hidden), None for zeros."""
    if not c.has(place):
        return None
    found = c.const(place).array.reshape(directions, size)
    return found if found.any() else None


def _started(w: Composer, like: str, state: np.ndarray | None, k: int) -> str | None:
    if state is None:
        return None
    return w.add_constant(w.pick(like, np.full(state.shape[1], -1)), torch.from_numpy(state[k].copy()))


def _cell(r: Reader, c: Call, k: int, size: int, directions: int) -> Cell:
    gates, names = GATES[c.op], list(DEFAULTS[c.op])
    given = c.attribute("activations")
    if given:
        each = [a.decode() if isinstance(a, bytes) else a for a in given]
        names = each[k * len(names) : (k + 1) * len(names)]
    if any(name not in ACTIVATIONS for name in names):
        c.refuse(f"has the activations {names}", "use Sigmoid, Tanh or Relu")
    if c.attribute("input_forget", 0):
        c.refuse("couples its input and forget gates", "leave out input_forget")
    zeros = np.zeros((directions, 2 * gates * size), c.const(1).array.dtype)
    offsets = c.const(3) if c.has(3) else Const(f"{c.name}.offset", zeros, zeros)
    arrays = {"w": c.const(1).array[k], "wb": offsets.array[k, : gates * size], "r": c.const(2).array[k],
              "rb": offsets.array[k, gates * size :]}
    w, wb, s, sb = (r.parameter(c, f"{c.name}.{role}{k}", array) for role, array in arrays.items())
    return Cell(c.op, size, (w, wb, s, sb), [ACTIVATIONS[name] for name in names],
                not c.attribute("linear_before_reset", 0) if c.op == "GRU" else True)
