"""Why an attack may have found less than there is: gradients that vanish or mislead, and outputs without a scale."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from verify.bracket import Bracket
from verify.lower.engine.best import BestPoints
from verify.lower.engine.violation import ViolationSurface, batch_size
from verify.lower.objectives.cross_entropy import CrossEntropy
from verify.method import Method
from verify.problem import Problem
from verify.registry import METHODS, entry_of

CLOSE = 1e-4  # how near to 1 the sums of outputs are that are probabilities


def doubts(problem: Problem, method: Method, bracket: Bracket, outputs: Tensor) -> Iterator[str]:
    """Warnings in the manner of AutoAttack's (Croce and Hein 2020; the flags of its code), one sentence each.

    Gradients are looked at on the samples that were not falsified, at the nominal points, whose outputs are given.
    """
    entry = entry_of(method)
    left = (bracket.lower < 0).nonzero().flatten()
    if len(left) and not (entry is not None and entry.black_box):
        flat = _flat(problem.merged.select(left))
        if flat:
            yield (f"the gradient is zero or missing on {flat} of {len(left)} samples that were not fooled: attacks by "
                   "gradients see nothing there; trust verify.Square or verify.HopSkipJump instead")
    found = bracket.notes.get("found", {})
    by_values = sum(count for name, count in found.items() if _is_black_box(name))  # pyright: ignore
    by_gradients = sum(found.values()) - by_values  # pyright: ignore
    if by_values and by_gradients:
        yield (f"attacks without gradients fooled {by_values} samples that attacks by gradients had left: gradients "
               "may be masked, and the robust accuracy may be lower still")
    if problem.network.refusal and _probabilities(outputs.flatten(1)):
        yield ("the outputs are probabilities: attacks on the logits before them are stronger; leave out the softmax")


def _is_black_box(name: str) -> bool:
    """Whether a method's name, such as Square-5000, is that of one without gradients."""
    return any(entry.black_box and name.startswith(entry.cls) for entry in METHODS.values())


def _flat(problem: Problem) -> int:
    """How many of the nominal points have a gradient of zeros, or none."""
    x, flat, size = problem.inputs.nominal(), 0, batch_size(problem)
    for part in torch.arange(len(x), device=x.device).split(size):
        inputs, spec = problem.inputs.select(part), problem.spec.select(part)
        cases, best = torch.arange(len(part), device=x.device), BestPoints(x[part])
        aims = torch.full_like(cases, -1)
        surface = ViolationSurface(problem.network, inputs, spec, CrossEntropy(), cases, aims, best, False)
        look = surface.look(x[part], 1.0)
        flat += len(part) if look is None else int((look.gradient == 0).flatten(1).all(1).sum())
    return flat


def _probabilities(y: Tensor) -> bool:
    """Whether all outputs (batch, outputs) are at least 0 and add up to 1."""
    return y.shape[1] > 1 and bool((y >= 0).all() and ((y.sum(1) - 1).abs() <= CLOSE).all())
