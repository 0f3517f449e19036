"""Why an attack may have found less than there is: gradients that vanish or mislead, and outputs without a scale.

The warnings are those of AutoAttack (Croce and Hein 2020; the flags of its code).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from verify.lower.engine.best import BestPoints
from verify.lower.engine.violation import ViolationSurface, batch_size
from verify.lower.objectives.cross_entropy import CrossEntropy
from verify.method import Method
from verify.problem import Problem
from verify.registry import METHODS, entry_of

CLOSE = 1e-4  # how near to 1 the sums of outputs are that are probabilities


@dataclass(frozen=True)
class Seen:
    """What outputs and gradients at samples are like.

    Args:
        samples, left: how many there are, and were not fooled.
        flat: how many of those left have finite outputs and no gradient, see `flat_places`.
        infinite: on how many the outputs are not all finite.
        lost: on how many of those left they are not at a random member of the set.
        sums: whether outputs are probabilities.
    """

    samples: int = 0
    left: int = 0
    flat: int = 0
    infinite: int = 0
    lost: int = 0
    sums: bool = True

    def __add__(self, other: Seen) -> Seen:
        return Seen(self.samples + other.samples, self.left + other.left, self.flat + other.flat,
                    self.infinite + other.infinite, self.lost + other.lost, self.sums and other.sums)


def seen(problem: Problem, outputs: Tensor, left: Tensor, methods: Collection[Method]) -> Seen:
    """Of the nominal points of a problem, with their outputs, those of `left` (cases,) not fooled."""
    odd = infinite(outputs)
    open_ = (left & ~odd).nonzero().flatten()
    flat = lost = 0
    if len(open_):
        part = problem.select(open_)
        flat = int(flat_places(part, methods).sum())
        lost = int(infinite(part.network(part.inputs.sample(torch.Generator().manual_seed(0)))).sum())
    return Seen(len(left), int(left.sum()), flat, int(odd.sum()), lost, are_probabilities(problem, outputs))


def infinite(outputs: Tensor) -> Tensor:
    """Where outputs (batch, ...) are not all finite, bool (batch,)."""
    return ~outputs.flatten(1).isfinite().all(1)


def doubts(methods: Collection[Method], by: Iterable[str | None], what: Seen) -> list[str]:
    """The warnings, one sentence each; `by`: who fooled each sample."""
    blind = {method.name for method in methods if _is_black_box(method)}
    told, found = [], [name for name in by if name is not None]
    if what.infinite:
        told.append(f"the outputs are not finite on {what.infinite} of {what.samples} samples, which count as wrong; "
                    "mend the model, or leave these samples out")
    if what.lost:
        told.append(f"the outputs are not finite at a random point around {what.lost} of {what.left} samples that were "
                    "not fooled, and attacks see nothing there; mend the model")
    if what.flat:
        told.append(f"the gradient is zero or missing on {what.flat} of {what.left} samples that were not fooled: "
                    "attacks by gradients see nothing there; ask those that need none, random and square")
    late = sum(name in blind for name in found)
    if late and len(blind) < len(methods):
        told.append(f"attacks without gradients fooled {late} samples that attacks by gradients had left: gradients "
                    "may be masked, and the robust accuracy may be lower still")
    if what.sums:
        told.append("the outputs are probabilities: attacks on the logits before them are stronger; leave out the "
                    "softmax")
    return told


def flat_places(problem: Problem, methods: Collection[Method]) -> Tensor:
    """Where the gradient at the nominal points is all zeros, or missing; bool (cases,). Nowhere where no method asks
    for gradients."""
    x, size = problem.inputs.nominal(), batch_size(problem.merged)
    flat = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    if all(map(_is_black_box, methods)):
        return flat
    for part in torch.arange(len(x), device=x.device).split(size):
        cases = torch.arange(len(part), device=x.device)
        surface = ViolationSurface(
            problem.merged.network, problem.inputs.select(part), problem.spec.select(part), CrossEntropy(),
            torch.full_like(cases, -1), BestPoints(x[part]), cases,
        )
        look = surface.look(x[part], 1.0)
        flat[part] = True if look is None else (look.gradient == 0).flatten(1).all(1)
    return flat


def are_probabilities(problem: Problem, outputs: Tensor) -> bool:
    """Whether all outputs (batch, ...) of a model that is only executed are at least 0 and add up to 1; of others the
    logits are known."""
    y = outputs.flatten(1)
    adds_up = bool(((y.sum(1) - 1).abs() <= CLOSE).all())
    return bool(problem.network.refusal) and y.shape[1] > 1 and adds_up and bool((y >= 0).all())


def _is_black_box(method: Method) -> bool:
    entry = entry_of(method)
    return entry is not None and METHODS[entry.name].black_box
