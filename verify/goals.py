"""What is asked of the outputs around a sample: that its class stays, a side of a threshold, or a range.

A goal says three things: the rows that must stay negative, which class an output stands for, and itself in words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

import torch
from torch import Tensor

from verify.errors import InputError
from verify.ir.graph import BoundGraph, Network
from verify.labels import class_numbers
from verify.ops.affine import Affine
from verify.ops.smooth import Sigmoid
from verify.rationals import Number, exact_array, rational, shown
from verify.rows import Row
from verify.spec import Specification, from_rows, margins

Aim = int | Tensor | Sequence[int]


class Goal(ABC):
    """What is asked of every sample of a batch."""

    has_labels: bool = True  # whether samples have classes

    @abstractmethod
    def specification(self, network: Network, x: Tensor, labels: Tensor) -> Specification:
        """The rows of the samples x (batch, *shape) with their labels (batch,), which are not looked at where there are
        none. Raises InputError for labels that do not fit."""

    @abstractmethod
    def classes(self, y: Tensor) -> list[int | None]:
        """The class of each output y (batch, *output shape); None where outputs are no classes."""

    @abstractmethod
    def rows(self, label: int | None, outputs: int) -> list[int | str]:
        """What each row of a sample speaks of, in the order of the specification: a wrong class, or else words."""

    @property
    def words(self) -> str:
        """The goal for a title; empty where it needs no words."""
        return ""


@dataclass(frozen=True, eq=False)
class Class(Goal):
    """The largest output is that of the label; see `verify.spec.margins`."""

    target: Tensor | None = None
    wins: bool = False

    def specification(self, network: Network, x: Tensor, labels: Tensor) -> Specification:
        aims = None if self.target is None else self.target.to(labels.device)
        return margins(labels, network.outputs, aims, network.dtype, wins=self.wins)

    def classes(self, y: Tensor) -> list[int | None]:
        return [*y.flatten(1).argmax(1).tolist()]

    def rows(self, label: int | None, outputs: int) -> list[int | str]:
        return [c for c in range(outputs) if c != label]


CLASS = Class()


@dataclass(frozen=True)
class BinaryThreshold(Goal):
    """One output tells two classes apart: class 1 is predicted where it is above the threshold. A tie counts as wrong
    for both classes."""

    threshold: Fraction

    def specification(self, network: Network, x: Tensor, labels: Tensor) -> Specification:
        return sides(labels, self.threshold, network.dtype)

    def classes(self, y: Tensor) -> list[int | None]:
        return [*(y.flatten(1)[:, 0].double() > float(self.threshold)).long().tolist()]

    def rows(self, label: int | None, outputs: int) -> list[int | str]:
        return [1 - (label or 0)]

    @property
    def words(self) -> str:
        return f"class 1 above {shown(self.threshold)}"


@dataclass(frozen=True)
class Within(Goal):
    """Every output stays less than `tolerance` away from its nominal value.

    The nominal value is the number that the network as it was read computes for the sample in its own floats; rows
    speak of exactly that number, so nothing is lost between it and what the user sees.
    """

    tolerance: Fraction
    has_labels = False

    def specification(self, network: Network, x: Tensor, labels: Tensor) -> Specification:
        with torch.no_grad():
            nominal = (network.unmerged or network)(x).flatten(1)
        return ranges(nominal, -self.tolerance, self.tolerance)

    def classes(self, y: Tensor) -> list[int | None]:
        return [None] * len(y)

    def rows(self, label: int | None, outputs: int) -> list[int | str]:
        return [f"output {k} too {way}" for way in ("high", "low") for k in range(outputs)]

    @property
    def words(self) -> str:
        return f"outputs within {shown(self.tolerance)}"


@dataclass(frozen=True)
class Range(Goal):
    """Every output stays strictly between two bounds, either of which may be absent."""

    low: Fraction | None
    high: Fraction | None
    has_labels = False

    def specification(self, network: Network, x: Tensor, labels: Tensor) -> Specification:
        origin = torch.zeros((len(x), network.outputs), dtype=network.dtype, device=x.device)
        return ranges(origin, self.low, self.high)

    def classes(self, y: Tensor) -> list[int | None]:
        return [None] * len(y)

    def rows(self, label: int | None, outputs: int) -> list[int | str]:
        ways = [way for way, end in (("high", self.high), ("low", self.low)) if end is not None]
        return [f"output {k} too {way}" for way in ways for k in range(outputs)]

    @property
    def words(self) -> str:
        ends = ((self.low, "above"), (self.high, "below"))
        return "outputs " + " and ".join(f"{side} {shown(end)}" for end, side in ends if end is not None)


def goal_of(
    network: Network, target: Aim | None = None, wins: bool = False, threshold: Number | None = None,
    tolerance: Number | None = None, bounds: tuple[Number | None, Number | None] | None = None,
) -> Goal:
    """The goal that `verify.robustness` describes, of at most one of target, threshold, tolerance and bounds.

    Raises InputError where several are given, or where one does not fit the network.
    """
    given = {"target": target, "threshold": threshold, "tolerance": tolerance, "bounds": bounds}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise InputError(f"{' and '.join(named)} ask for different things of the outputs; give one of them")
    if wins and target is None:
        raise InputError("wins says of a target that it beats every class; name the target too")
    if tolerance is not None:
        return _within(tolerance)
    if bounds is not None:
        return _range(bounds)
    if network.outputs == 1 and target is None:
        read = network.unmerged or network
        return BinaryThreshold(default_threshold(read) if threshold is None else rational(threshold, "threshold"))
    if threshold is not None:
        raise InputError(f"a threshold tells two classes apart by one output, but the network has {network.outputs}; "
                         "leave it out")
    return Class(None if target is None else torch.as_tensor(target), wins)


def default_threshold(network: BoundGraph) -> Fraction:
    """The output above which class 1 is predicted: 0 of a logit, 1/2 of a probability that a sigmoid gives.

    Raises InputError where the last operators do not tell which of the two the one output is.
    """
    found = _middle(network, network.graph.output)
    if found is None:
        raise InputError("the network has one output that is neither a logit nor a sigmoid's probability; say above "
                         "which threshold it means class 1, or ask for a range of a regressor's output (tolerance or "
                         "bounds)")
    return found


def _middle(network: BoundGraph, name: str) -> Fraction | None:
    """The number that parts two classes where this value tells them apart, or None where that is not known."""
    node = network.graph.by_name.get(name)
    if node is None:
        return None
    if isinstance(node.op, Sigmoid):
        return Fraction(1, 2)
    if not isinstance(node.op, Affine):
        return None
    weighted = any(p.is_floating_point() for p in network.of(node))
    if weighted and any(prod(network.graph.shape_of(source)) > 1 for source in node.inputs):
        return Fraction(0)
    before = {_middle(network, source) for source in node.inputs}
    found = before.pop() if len(before) == 1 else None
    return found if node.op.picks or found == 0 else None


def _within(tolerance: Number) -> Within:
    size = rational(tolerance, "tolerance")
    if size <= 0:
        raise InputError(f"the tolerance is {tolerance} but must be positive; outputs move by some amount")
    return Within(size)


def _range(bounds: tuple[Number | None, Number | None]) -> Range:
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise InputError(f"bounds are {bounds!r:.60} but must be (low, high), either of which may be None")
    low, high = (None if end is None else rational(end, "bound") for end in bounds)
    if low is None and high is None:
        raise InputError("the bounds have no end; give a low one, a high one, or both")
    if low is not None and high is not None and low >= high:
        raise InputError(f"the bounds {bounds[0]} and {bounds[1]} leave nothing between them; write the lower first")
    return Range(low, high)


def sides(labels: Tensor, threshold: Fraction, dtype: torch.dtype = torch.float32) -> Specification:
    """One output that tells two classes apart: class 1 is predicted where it is above the threshold.

    The violation is threshold - h for samples of class 1 and h - threshold for those of class 0; labels (batch,) are
    integers, 0 or 1.
    """
    signs = [1 - 2 * label for label in class_numbers(labels, 2, "label").tolist()]
    cases = [[(Row(((0, Fraction(sign)),), (), sign * threshold),)] for sign in signs]
    return from_rows(cases, 1, 0, dtype).to(labels.device)


def ranges(origin: Tensor, low: Fraction | None, high: Fraction | None) -> Specification:
    """Every output stays strictly between origin + low and origin + high; None where there is no such end.

    The violation is the largest of h - (origin + high) and (origin + low) - h over the outputs, in this order; origin
    (batch, outputs) are floats, each the exact number that it is.
    """
    ends = [(sign, end) for sign, end in ((Fraction(1), high), (Fraction(-1), low)) if end is not None]
    cases = [
        [(Row(((k, sign),), (), sign * (value + end)),) for sign, end in ends for k, value in enumerate(values)]
        for values in exact_array(origin)
    ]
    return from_rows(cases, origin.shape[1], 0, origin.dtype).to(origin.device)
