"""The one formula: v* = max over cases i, max over x in X_i, of violation_i(x, h(x)); robust iff v* < 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from verify.errors import InputError
from verify.goals import Aim, Goal, goal_of
from verify.ir.front import behind
from verify.ir.graph import Network
from verify.ir.rewrite import simplify
from verify.ir.violation import real_violation
from verify.marks import mark_of, marks_of
from verify.ops.base import IntervalBounds
from verify.rationals import Number, exact_array, round_down
from verify.rows import violation
from verify.sets import Ball, InputSet
from verify.sets.grid import on_grid
from verify.sets.norms import Norm
from verify.spec import Specification

if TYPE_CHECKING:
    from verify.vnnlib import Property


@dataclass(frozen=True)
class Problem:
    """A batch of problems over one network, each a list of cases.

    Args:
        network: h, on the device where the problem is to be solved; of one with a head its `logits`, since a head
            keeps the sign of every comparison of two outputs. Methods search on these; brackets are of the outputs.
        inputs: X_i of every case, a batch of sets.
        spec: the violation of every case.
        owner: (cases,) long, the problem that a case belongs to, ascending.
        batch: number of problems.
    """

    network: Network
    inputs: InputSet
    spec: Specification
    owner: Tensor
    batch: int

    def __post_init__(self) -> None:
        if self.inputs.batch != self.spec.cases or len(self.owner) != self.spec.cases:
            raise InputError(f"a problem has {self.inputs.batch} input sets but {self.spec.cases} specifications")
        check_shape(self.inputs.shape, self.network)
        if self.spec.output.shape[2] != self.network.outputs:
            speaks, has = self.spec.output.shape[2], self.network.outputs
            raise InputError(f"the specification speaks of {speaks} outputs but the network has {has}; check the file")
        if self.network.logits is not self.network:
            if not _compares(self.spec):
                raise InputError(f"the network ends in a {self.network.head}, and only the order of its outputs is "
                                 "known here; ask which output is the largest, or leave that layer out and ask about "
                                 "the logits")
            object.__setattr__(self, "network", self.network.logits)

    @property
    def cases(self) -> int:
        return len(self.owner)

    @property
    def front(self) -> Network | None:
        """What makes the network's input of the variables of the sets, the first nodes of `network`; None for the
        identity."""
        return self.network.front

    @cached_property
    def merged(self) -> Problem:
        """The same problem over the network with constants folded into layers, which is what methods search on."""
        return self if self.network.unmerged is not None else replace(self, network=simplify(self.network))

    @cached_property
    def in_float64(self) -> Problem:
        """The same problem over the network as it was read, all in float64."""
        network = (self.network.unmerged or self.network).double()
        return Problem(network, self.inputs.double(), self.spec.double(), self.owner, self.batch)

    def violation(self, x: Tensor) -> Tensor:
        """violation_i(x_i, h(x_i)) of one point for each case; x (cases, *shape) -> (cases,)."""
        return self.spec.violation(x, self.network(x))

    def executed(self, x: Tensor) -> Tensor:
        """The violation of one point of each case by the outputs, in the network's own precision; (cases,)."""
        y, head = self.network(x), self.network.head
        value = self.spec.violation(x, y)
        return value if head is None else head.attained(value, self.spec.violation(x, head(y)))

    def replayed(self, x: Tensor) -> Tensor:
        """What a point of each case is believed to attain; x (cases, *shape) -> (cases,), rounded down to x's type.

        The smaller of two violations of the network as it was read, in its own precision and in float64: one that only
        one of them has falsifies nothing; of one that is only executed there is no float64. Where that does not hold
        the rows, or is the network's own precision, a violation >= 0 is one by the exact rows, and in real arithmetic
        too. NaN is kept.
        """
        network = self.network.unmerged or self.network
        images = (network(x),) if network.refusal else (network(x), self.in_float64.network(x.double()))
        least = self._least(x, images)
        if self.spec.exact is not None or network.dtype == torch.float64:
            for case in (least >= 0).logical_and(least.isfinite()).nonzero().flatten().tolist():
                exact = np.array([self._exactly(case, x[case], *(y[case] for y in images))], dtype=object)
                least[case] = round_down(exact, torch.float64)[0]
        if network.head is not None:
            least = network.head.attained(least, self._least(x, tuple(map(network.head, images))))
        near = least.to(x.dtype)
        return torch.where(near > least, torch.nextafter(near, torch.full_like(near, -torch.inf)), near)

    def _least(self, x: Tensor, images: Sequence[Tensor]) -> Tensor:
        """The smallest violation of points (cases, *shape) whose outputs are one of these, float64 (cases,)."""
        spec = self.spec.double()
        return torch.stack([spec.violation(x.double(), y.double()) for y in images]).amin(0)

    def _exactly(self, case: int, *values: Tensor) -> Fraction:
        """The least violation by the exact rows of a point (*shape), the first value, with the outputs given, and in
        real arithmetic: that one exactly where float64 leaves its sign open, else a number below it."""
        rows, point = self.spec.disjuncts_of(case), exact_array(values[0].flatten())
        outputs = (exact_array(y.flatten()).tolist() for y in values[1:])
        found = [violation(rows, point.tolist(), y, y)[0] for y in outputs]
        real = real_violation(rows, self.in_float64.network.to("cpu"), point, small=0).low
        return min(found if real is None else [*found, real])

    @property
    def marks(self) -> tuple[int, ...]:
        """Of each problem, what tells it from others: another network, set or specification; see `verify.marks`."""
        spec = self.spec
        tensors = [self.inputs.low, self.inputs.high, spec.output, spec.offset, spec.disjunct, spec.mask]
        tensors += [] if spec.input is None else [spec.input]
        tensors += [fact for fact in self.inputs.facts if isinstance(fact, Tensor)]
        shared = [fact for fact in self.inputs.facts if not isinstance(fact, Tensor)]
        cases = marks_of(*(part.to(self.owner.device) for part in tensors))
        whole = torch.full((self.batch,), self.network.mark + mark_of(shared), device=cases.device)
        return tuple(whole.scatter_add(0, self.owner, cases ^ (cases >> 31)).tolist())

    def select(self, index: Tensor) -> Problem:
        """The sub-batch of the cases at these positions, each a problem of its own."""
        chosen = torch.arange(len(index), device=self.owner.device)
        return Problem(self.network, self.inputs.select(index), self.spec.select(index), chosen, len(index))

    def reduce(self, values: Tensor) -> Tensor:
        """Largest value over the cases of each problem; (cases,) -> (batch,), -inf for a problem without cases.

        NaN counts as inf: an upper bound that is not a number bounds nothing.
        """
        start = torch.full((self.batch,), -torch.inf, dtype=values.dtype, device=values.device)
        return start.scatter_reduce(0, self.owner, torch.where(values.isnan(), torch.inf, values), "amax")

    def to(self, device: torch.device | str) -> Problem:
        """The same problem on another device."""
        return Problem(
            self.network.to(device), self.inputs.to(device), self.spec.to(device), self.owner.to(device), self.batch
        )


def _compares(spec: Specification) -> bool:
    """Whether every row says no more than which of two outputs is the larger: a (y_i - y_j), a > 0."""
    if spec.exact is not None:
        return all(row.is_comparison for case in spec.exact for disjunct in case for row in disjunct)
    rows = spec.in_float64 or spec
    opposite = rows.output.amax(2) == -rows.output.amin(2)
    pairs = opposite & (rows.output.count_nonzero(2) == 2) & (rows.offset == 0)
    alone = torch.ones_like(pairs) if rows.input is None else ~rows.input.any(2)
    return bool((pairs & alone | ~rows.mask).all())


def robustness(
    network: Network,
    x: Tensor,
    y: Tensor | Sequence[int] | None,
    eps: Number,
    norm: str | Norm = "linf",
    clip: tuple[Number, Number] | None = (0, 1),
    target: Aim | None = None,
    *,
    wins: bool = False,
    threshold: Number | None = None,
    tolerance: Number | None = None,
    bounds: tuple[Number | None, Number | None] | None = None,
    front: Network | None = None,
    grid: int | None = None,
) -> Problem:
    """Does the answer to each sample stay in its ball? For classes, v* is the largest wrong-class margin h_j - h_y.

    Of one output that tells two classes apart, class 1 is predicted where it is above a threshold, and v* is how far
    the output comes to the other side. Where the network ends in a softmax, only labels and targets may be asked.

    Args:
        network: from `verify.load` or `verify.trace`.
        x: (batch, *shape) float, inside the clip.
        y: (batch,) integer labels, 0 or 1 where there is one output; not looked at with `tolerance` or `bounds`.
        eps: radius >= 0 in the input's own units; a number or a string such as "8/255".
        norm: "linf", "l2" or "l1", or another name or value of `verify.sets.norms`.
        clip: (low, high) range of valid inputs, or None.
        target: a class or (batch,) classes for the targeted margin h_target - h_y; None for untargeted. Robust then
            means that the target never beats the label; a third class may.
        wins: with a target, whether it ever beats every class instead, which is harder for an attack.
        threshold: of one output; by default 0 of a logit and 1/2 of a sigmoid at the end of the network.
        tolerance: t > 0 of a regressor; every output stays less than t away from what the network computes for the
            sample, taken as the exact number that this float is.
        bounds: (low, high) of a regressor; every output stays strictly between them, None for no such end.
        front: what makes the network's input of the variables, of which x, eps and clip then speak; see
            `verify.variable`. By default they are the input itself.
        grid: of Linf balls, only the points whose coordinates are whole multiples of 1/grid; 255 for the images of 8
            bits. What is executed are these numbers rounded to float, as dividing bytes by 255 in float32 gives them;
            x must be one of them. v* is then the largest violation of such an image.

    Raises InputError for shapes, labels or values that do not fit.
    """
    if not isinstance(network, Network):
        remedy = "trace it first: verify.trace(module, example)" if isinstance(network, Module) else "see verify.load"
        raise InputError(f"robustness takes a network, not a {type(network).__name__}; {remedy}")
    network = network if front is None else behind(network, front)
    goal = goal_of(network, target, wins, threshold, tolerance, bounds)
    return around(network, x, y, eps, norm, clip, goal, grid)


def around(
    network: Network, x: Tensor, y: Tensor | Sequence[int] | None, eps: Number, norm: str | Norm,
    clip: tuple[Number, Number] | None, goal: Goal, grid: int | None = None,
) -> Problem:
    """The problem of this goal in the balls around samples; see `robustness`."""
    x = samples_of(x)
    if x.dim() == len(network.input_shape):
        raise InputError(f"x has shape {tuple(x.shape)}, one sample; add a batch axis with x[None]")
    x = x.to(device=network.device, dtype=network.dtype)
    inputs = on_grid(Ball(x, eps, norm, clip), grid)
    check_shape(inputs.shape, network)
    labels = labels_of(y, len(x)) if goal.has_labels else torch.zeros(len(x), dtype=torch.long)
    spec = goal.specification(network, x, labels.to(network.device))
    return Problem(network, inputs, spec, torch.arange(len(x), device=network.device), len(x))


def check_shape(given: tuple[int, ...], network: Network) -> None:
    """Raises InputError for inputs of another shape than the network's."""
    takes = network.input_shape
    if given == takes:
        return
    remedy = "reshape the data"
    if len(given) == 3 and given[2:] + given[:2] == takes:
        remedy = "the data have their channels last; move them with x.permute(0, 3, 1, 2)"
    elif len(given) == 3 and given[1:] + given[:1] == takes:
        remedy = "the data have their channels first; move them with x.permute(0, 2, 3, 1)"
    raise InputError(f"inputs have shape {given} but the network takes {takes}; {remedy}")


def tensor_of(values: object, what: str) -> Tensor:
    """What a user gives as numbers, a tensor or an array, as a tensor. Raises InputError for anything else."""
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{what} is {values!r:.60}, which is no tensor; pass a tensor or array of numbers") from None


def samples_of(x: object) -> Tensor:
    """Samples that a user gives, as a tensor of floats. Raises InputError for anything else."""
    x = tensor_of(x, "x")
    if not x.is_floating_point():
        remedy = "pass real floats" if x.is_complex() else "divide pixels by 255, or convert with x.float()"
        raise InputError(f"x has type {x.dtype} but must be float; {remedy}")
    return x


def labels_of(y: object, samples: int) -> Tensor:
    """The labels of so many samples that a user gives, as a tensor (samples,). Raises InputError for anything else."""
    if y is None:
        raise InputError("y is None, but each sample needs its class; pass (batch,) integer labels")
    labels = tensor_of(y, "y")
    if labels.dim() != 1 or len(labels) != samples:
        raise InputError(f"y has shape {tuple(labels.shape)}; expected ({samples},), one label for each sample of x")
    return labels


def from_vnnlib(network: Network, prop: Property) -> Problem:
    """The one problem of a VNN-LIB file: v* >= 0 iff the file is satisfiable. Raises InputError if it does not fit."""
    if isinstance(prop, str | PathLike):
        raise InputError(f"from_vnnlib takes a property, not the file {prop}; read it first with verify.read_vnnlib")
    here = network.to("cpu")
    inputs, spec = prop.problem_parts(network.input_shape, network.dtype, network.outputs)
    spec = spec if network.refusal else spec.outward(lambda: _largest(here, inputs))  # for bounds, which it has none of
    owner = torch.zeros(spec.cases, dtype=torch.long)
    return Problem(here, inputs, spec, owner, 1).to(network.device)


def _largest(network: Network, inputs: InputSet) -> tuple[Tensor, Tensor]:
    """Upper bounds of |x| (cases, inputs) and |h(x)| (cases, outputs) over the sets, float64; inf where there is none.

    Sound because each operator's interval contains its values; a part in a million is added for float64 rounding.
    """
    network, hull = (network.unmerged or network).double(), inputs.double()
    boxes = {network.graph.input: IntervalBounds(hull.low, hull.high)}
    for node, p in network.walk():
        boxes[node.name] = node.op.interval(p, *(boxes[name] for name in node.inputs))
    ends = (boxes[name] for name in (network.graph.input, network.graph.output))
    x, y = (box.low.abs().maximum(box.high.abs()).flatten(1) * (1 + 1e-6) for box in ends)
    return x, torch.where(y.isnan(), torch.inf, y)
