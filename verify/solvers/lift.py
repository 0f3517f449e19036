"""A network over a set as linear and quadratic constraints of one vector, which is what semidefinite programs lift.

The vector is v = (1, w): w_j in [-1, 1] is an input that varies, or the hinge max(q - b, 0) of a neuron whose
breakpoint b lies inside the bounds of its input q; both are moved and scaled to that range. Every other value is an
affine function of v, a row of coefficients: affine ops and neurons with a decided sign are substituted. With the hinge
z and u, l the bounds of q - b, an undecided neuron states (Raghunathan, Steinhardt and Liang 2018b, "Semidefinite
relaxations for certifying robustness to adversarial examples", equations 4 to 6)

    z (q - b - z) = 0,    z >= q - b,    z >= 0,    w_j^2 <= 1,

the last of which holds the bounds; and besides the upper side of the triangle, z <= u (q - b - l) / (u - l) (Wong and
Kolter 2018, equation 4), and l <= q - b <= u, all linear, so that the relaxation is no weaker than the LP's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from verify.errors import UnsupportedMethod
from verify.ops.affine import Affine
from verify.ops.base import Hinge, IntervalBounds
from verify.solvers.encoding import Boxes
from verify.solvers.objectives import SolverCase


@dataclass(frozen=True)
class Lift:
    """Rows over v = (1, w), w in [-1, 1]^(size - 1).

    Args:
        inputs: (inputs, size) the flattened input.
        outputs: (outputs, size) the flattened output.
        linear: (count, size) rows that are >= 0.
        left, right: (hinges, size) pairs of rows whose product is 0.
    """

    inputs: np.ndarray
    outputs: np.ndarray
    linear: np.ndarray
    left: np.ndarray
    right: np.ndarray

    @property
    def size(self) -> int:
        return self.inputs.shape[1]

    def objectives(self, case: SolverCase) -> list[np.ndarray]:
        """The rows (members, size) of each disjunct, whose least value is the disjunct's."""
        spec = case.spec
        rows = spec.output[0].numpy() @ self.outputs
        if spec.input is not None:
            rows = rows + spec.input[0].numpy() @ self.inputs
        rows[:, 0] -= spec.offset[0].numpy()
        return [rows[members] for members in case.disjuncts]

    def point(self, v: np.ndarray, like: Tensor) -> Tensor:
        """The input at v (size,), in the shape and type of `like`."""
        return torch.from_numpy(self.inputs @ v).to(like).reshape(like.shape)


def lifted_size(case: SolverCase, boxes: Boxes) -> int:
    """Length of v. Raises UnsupportedMethod for an op that is neither affine nor a hinge."""
    low, high = boxes[case.network.graph.input]
    count = 1 + int((low < high).sum())
    for node in case.network.graph.nodes:
        if isinstance(node.op, Affine):
            continue
        if (hinge := node.op.hinge) is None:
            raise UnsupportedMethod(
                f"SDP takes affine operators and those with one breakpoint, not {type(node.op).__name__} "
                f"(node {node.name}); use LP or CROWN"
            )
        count += int(_undecided(hinge, boxes[node.inputs[0]]).sum())
    return count


def lift(case: SolverCase, boxes: Boxes) -> Lift:
    """The network of a case over these boxes (batch of 1, of every value) as rows over v."""
    size, network = lifted_size(case, boxes), case.network
    low, high = (end[0] for end in boxes[network.graph.input])
    varying = (low < high).flatten().nonzero().flatten()
    start = torch.zeros(size, low.numel(), dtype=torch.float64)
    start[0] = ((low + high) / 2).flatten()
    start[1 + torch.arange(len(varying)), varying] = ((high - low) / 2).flatten()[varying]
    forms, used = {network.graph.input: start.reshape(size, *low.shape)}, 1 + len(varying)
    linear, left, right = [np.zeros((0, size))], [np.zeros((0, size))], [np.zeros((0, size))]
    for node, p in network.walk():
        arguments = [forms[name] for name in node.inputs]
        if isinstance(node.op, Affine):
            slopes = sum(node.op.linear(p, k, form[1:]) for k, form in enumerate(arguments))
            constant = node.op.forward(p, *(form[:1] for form in arguments))
            forms[node.name] = torch.cat([constant, torch.as_tensor(slopes)])
            continue
        hinge = node.op.hinge
        assert hinge is not None
        box = IntervalBounds(*(end.double() for end in boxes[node.inputs[0]]))
        forms[node.name], hinges, beyond, ends = _hinged(hinge, arguments[0], box, used)
        used += len(hinges)
        linear.append(_rows_of(hinges, beyond, *ends))
        left.append(hinges)
        right.append(beyond - hinges)
    outputs = forms[network.graph.output].flatten(1).numpy().T
    return Lift(start.numpy().T, outputs, *(np.concatenate(part) for part in (linear, left, right)))


def _hinged(
    hinge: Hinge, form: Tensor, box: IntervalBounds, used: int
) -> tuple[Tensor, np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """(rows of the op's value (size, *shape), hinges z (hinges, size), q - b (hinges, size), bounds of q - b), the
    hinges in columns from `used` on: f(q) = left piece(q) + jump z."""
    breakpoint, (before, after) = float(hinge.breakpoint), (float(s) for s in hinge.slopes)
    starts, flat = [float(c) for c in hinge.intercepts], form.flatten(1)
    low, high = (end.flatten() for end in box)
    undecided = _undecided(hinge, box).flatten()
    second = (low >= breakpoint) & ~undecided
    value = torch.where(second, after, before) * flat
    value[0] += torch.where(second, starts[1], starts[0])
    places = undecided.nonzero().flatten()
    beyond = flat[:, places].clone()
    beyond[0] -= breakpoint
    half = (high[places] - breakpoint) / 2
    hinges = torch.zeros_like(beyond)
    hinges[0] = half
    hinges[used + torch.arange(len(places)), torch.arange(len(places))] = half
    value[:, places] += (after - before) * hinges
    ends = (low[places] - breakpoint).numpy(), (high[places] - breakpoint).numpy()
    return value.reshape(form.shape), hinges.numpy().T, beyond.numpy().T, ends


def _rows_of(z: np.ndarray, q: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Linear rows that are >= 0: z >= q, the upper side of the triangle, and the bounds of q. z, q (hinges, size)."""
    slope = (high / (high - low))[:, None]
    constant = np.zeros_like(q)
    constant[:, 0] = 1
    above_low, below_high = q - low[:, None] * constant, high[:, None] * constant - q
    return np.concatenate([z - q, slope * above_low - z, above_low, below_high])


def _undecided(hinge: Hinge, box: IntervalBounds) -> Tensor:
    """Entries with the breakpoint inside their bounds, (1, *shape)."""
    breakpoint = float(hinge.breakpoint)
    return (box.low < breakpoint) & (box.high > breakpoint)
