"""Linear bounds with optimised slopes (Xu et al. 2021, alpha-CROWN), those of each row and of each neuron its own."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor

from verify.bracket import Rigour
from verify.deadline import deadline, within
from verify.errors import LATE, InputError, OutOfTime
from verify.method import Answer
from verify.problem import Problem
from verify.registry import Entry
from verify.upper.crown import CROWN
from verify.upper.duals import root_bounds as root
from verify.upper.duals.domains import Objective

CROWNING = 0.4  # of the time, for CROWN's bounds
STEPS = 20  # bounds of a row, its first included
FLOATS = 1 << 13  # of the widest layer, in cases bounded together: the columns of one are carried by all


@Entry(
    name="alpha", family="upper", place=50, batched=True, aliases=("alpha-crown",),
    help="linear bounds with optimised slopes (alpha-CROWN)",
    verdict={"goal": "decide"}, value={"goal": "optimum"},
    defaults={"certify": 4, "pytest": 4, "gaps": 4},
)
@dataclass(frozen=True)
class AlphaCROWN:
    """Upper bounds by backward linear relaxation whose slopes are optimised, for every row and every undecided neuron.

    Args:
        steps: bounds that each row of the specification gets, the first included.
        neuron_steps: the same for each side of each undecided neuron.
        goal: "decide" leaves cases as they are that CROWN verifies; "optimum" bounds all as well as it can.

    Raises InputError for steps below 1.
    """

    steps: int = STEPS
    neuron_steps: int = root.STEPS
    goal: Literal["decide", "optimum"] = "optimum"

    def __post_init__(self) -> None:
        for name in ("steps", "neuron_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"AlphaCROWN has {name}={getattr(self, name)}; it must be at least 1")
        if self.goal not in ("decide", "optimum"):
            raise InputError(f"AlphaCROWN has goal={self.goal!r}; choose among decide, optimum")

    @property
    def name(self) -> str:
        return "AlphaCROWN"

    def answer(self, problem: Problem) -> Answer:
        """Cases that come late, or have no time, keep CROWN's bound.

        Sound because CROWN and `alpha_row_bounds` are; trusts what `Rounding` does.
        """
        with within(deadline().part(CROWNING)):
            crown = CROWN(self.goal).answer(problem)
        upper, is_late = crown.upper, "stopped" in crown.notes
        assert upper is not None
        rest = (~(upper < 0) | (self.goal == "optimum")).nonzero().flatten()
        widest = max([prod(problem.network.input_shape), *(prod(node.shape) for node in problem.network.graph.nodes)])
        together = max(1, FLOATS // widest)
        for start in range(0, len(rest), together):
            cases = rest[start : start + together]
            with within(deadline().part(len(cases) / (len(rest) - start))) as limit:
                soon = limit.part(root.SWEEPING)
                with suppress(OutOfTime):
                    upper[cases] = upper[cases].fmin(self._bounds(problem.select(cases)))
                is_late = is_late or soon.is_over
        return Answer(upper=upper, rigour=Rigour.FLOAT, notes={"stopped": LATE} if is_late else {})

    def _bounds(self, part: Problem) -> Tensor:
        """Upper bounds of every case, (cases,)."""
        floor = part.violation(part.inputs.nominal())  # a row below the violation of some point cannot be the largest
        return part.spec.aggregate(alpha_row_bounds(part, self.steps, self.neuron_steps, floor))


def alpha_row_bounds(problem: Problem, steps: int, neuron_steps: int, floor: Tensor | None = None) -> Tensor:
    """Upper bounds of every row of every case, float64 (cases, rows); -inf on padding.

    Rows whose bound falls below the floor (cases,) of their case are left as they are.
    Sound because `Root.of` and `Stage.maxima` are; trusts what `Rounding` does.
    """
    spec, network = problem.in_float64.spec, problem.network
    owner, place = spec.mask.nonzero(as_tuple=True)
    start = root.Root.of(problem, neuron_steps)
    stage, output = start.stage, network.graph.output
    bounds = []
    for part in torch.arange(len(owner), device=owner.device).split(root.rows_at_once(start.dual, output)):
        here, at = owner[part], place[part]
        a = spec.output[here, at].reshape(-1, *network.output_shape)
        direct = None if spec.input is None else spec.input[here, at].reshape(-1, *network.input_shape)
        cutoff = None if floor is None else (floor[here] + spec.offset[here, at]).to(floor)
        bounds.append(stage.maxima(Objective(output, a, direct), here, steps, cutoff))
    values = torch.full(spec.offset.shape, -torch.inf, dtype=torch.float64, device=owner.device)
    values[owner, place] = torch.cat(bounds) - spec.offset[owner, place]
    return values
