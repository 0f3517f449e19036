"""Why an attack may have found less than there is: gradients that vanish or mislead, and outputs without a scale.

The warnings are those of AutoAttack (Croce and Hein 2020; the flags of its code).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch
from torch import Tensor

from verify.lower.engine.best import BestPoints
from verify.lower.engine.violation import ViolationSurface, batch_size
from verify.lower.objectives.cross_entropy import CrossEntropy
from verify.method import Method
from verify.problem import Problem
from verify.registry import METHODS, entry_of

CLOSE = 1e-4  # how near to 1 the sums of outputs are that are probabilities


def doubts(methods: Collection[Method], by: Iterable[str | None], flat: int, open_: int, sums: bool) -> list[str]:
    """The warnings, one sentence each.

    Args:
        by: who fooled each sample.
        flat: how many of the `open_` samples that were not fooled have no gradient, see `flat_places`.
        sums: whether outputs are probabilities.
    """
    blind = {method.name for method in methods if _is_black_box(method)}
    told, found = [], [name for name in by if name is not None]
    if flat:
        told.append(f"the gradient is zero or missing on {flat} of {open_} samples that were not fooled: attacks by "
                    "gradients see nothing there; ask one that needs none, such as square")
    late = sum(name in blind for name in found)
    if late and len(blind) < len(methods):
        told.append(f"attacks without gradients fooled {late} samples that attacks by gradients had left: gradients "
                    "may be masked, and the robust accuracy may be lower still")
    if sums:
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
            problem.merged.network, problem.inputs.select(part), problem.spec.select(part), CrossEntropy(), cases,
            torch.full_like(cases, -1), BestPoints(x[part]), stop_when_falsified=False,
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
