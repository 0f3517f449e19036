"""Whether one perturbation fools several samples at once, as a problem of its own for any method of the house.

Its network is h(clip(x_i + delta)) for the samples side by side, over the variable delta; what must not happen is that
a row of every sample is violated, with a disjunct for each way to choose these rows. Methods that optimise the weights
of the rows of a disjunct thereby bound samples together (Banerjee et al. 2024, RACoon; Suresh et al. 2024, RABBit).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from verify.ir.symbolic import concatenate, variable
from verify.problem import Problem
from verify.spec import Specification
from verify.uap.problem import SharedProblem


def alone(each: Problem, owner: Tensor, row: Tensor) -> Problem:
    """Single rows of samples, a case each with a perturbation of its own; owner, row (n,) long.

    Sound because offsets in float64 are rounded down.
    """
    wide, every = each.spec.double(), torch.arange(len(owner), device=owner.device)
    output, offset = wide.output[owner, row][:, None], wide.offset[owner, row][:, None]
    mask = torch.ones_like(offset, dtype=torch.bool)
    double = Specification(output, offset, torch.zeros_like(mask, dtype=torch.long), mask)
    kind, least = each.network.dtype, torch.full_like(offset, -torch.inf)
    near = offset.to(kind).double()
    down = torch.where(near > offset, torch.nextafter(near.to(kind), least.to(kind)), near.to(kind))
    spec = Specification(output.to(kind), down, double.disjunct, mask, in_float64=double)
    return Problem(each.network, each.inputs.select(owner), spec, every, len(owner))


Choice = Sequence[tuple[int, int]]  # (sample, row) of each sample


def together(problem: SharedProblem, choices: Sequence[Choice]) -> Problem:
    """v* >= 0 iff some delta of the ball violates all rows of a choice; choices are of the same samples in the same
    order."""
    samples = [sample for sample, _ in choices[0]]
    network, spec = problem.network.unmerged or problem.network, problem.each.spec
    delta = variable(problem.ball.shape, network.dtype)
    parts = []
    for sample in samples:
        moved = delta + problem.x[sample].cpu()
        parts.append(network.to("cpu")(moved if problem.clip is None else moved.clip(*problem.clip)).flatten())
    whole, width = concatenate(parts).network().to(problem.x.device), network.outputs
    output = spec.output.new_zeros(len(choices) * len(samples), len(samples) * width)
    offset = spec.offset.new_zeros(len(output))
    for c, choice in enumerate(choices):
        for place, (sample, row) in enumerate(choice):
            at = c * len(samples) + place
            output[at, place * width : (place + 1) * width] = spec.output[sample, row]
            offset[at] = spec.offset[sample, row]
    disjunct = torch.arange(len(choices), device=offset.device).repeat_interleave(len(samples))
    mask = torch.ones_like(disjunct, dtype=torch.bool)
    rows = Specification(output[None], offset[None], disjunct[None], mask[None])
    return Problem(whole, problem.ball, rows, disjunct.new_zeros(1), 1)
