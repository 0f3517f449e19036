"""Upper bounds by the semidefinite relaxation of Raghunathan, Steinhardt and Liang (2018b)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod

import numpy as np
from torch import Tensor

from verify.bracket import Rigour
from verify.deadline import deadline, within
from verify.errors import UnsupportedMethod
from verify.method import Answer
from verify.problem import Problem
from verify.registry import Entry
from verify.sets import InputSet
from verify.solvers.encoding import Boxes
from verify.solvers.lift import Lift, lift, lifted_size
from verify.solvers.objectives import SolverCase, float64_case
from verify.solvers.semidefinite import Constraints, Semidefinite
from verify.upper.convex_lp import relaxation_of
from verify.upper.lp import each_case, largest

LARGE = "too large"
FIRST = 0.4  # of the time that is left, for the LPs


@Entry(
    name="sdp", family="upper", place=80, time_limit=True,
    help="a semidefinite relaxation, for small networks (Raghunathan et al.)",
)
@dataclass(frozen=True)
class SDP:
    """Upper bounds by one semidefinite program for each disjunct of each case whose LP bound may be the largest.

    Args:
        gap: of each program, relative to the largest coefficient of its objective.
        order: the largest matrix, 1 + inputs + undecided neurons; larger cases keep their LP bound.
        time_limit: seconds for each case, or None; what is left then keeps its LP bound.
    """

    gap: float = 1e-5
    order: int = 400
    time_limit: float | None = None

    @property
    def name(self) -> str:
        return "SDP"

    def answer(self, problem: Problem) -> Answer:
        """For each case the largest bound over its disjuncts, never above the LP's, and the program's first moment as a
        candidate point.

        Balls are taken as they are, polytopes with their rows, other sets as their hull. `notes`: "programs" solved,
        "skipped" disjuncts, "unsolved" ones; "stopped" with the reason if some kept their LP bound. Raises
        UnsupportedMethod for operators other than affine ones and hinges (ReLU, LeakyReLU, abs), and for
        inputs that alone exceed `order`.

        Sound because the program relaxes the network over its boxes and each bound is rebuilt from the multipliers
        (`Semidefinite.rebuilt`); trusts float64 rounding.
        """
        if 1 + prod(problem.inputs.shape) > self.order:
            raise UnsupportedMethod(
                f"SDP lifts {prod(problem.inputs.shape)} inputs and the undecided neurons to one matrix, above its "
                f"limit of order {self.order}; use ConvexLP or BranchAndBound, or raise SDP(order=...)"
            )
        notes = Counter(programs=0, skipped=0)
        upper, points = each_case(
            problem, self.time_limit, float64_case, lambda _, *case: self._case(notes, *case), notes
        )
        reasons = ["time limit"] if notes["unsolved"] else []
        reasons += [f"{notes[LARGE]} cases need a matrix above order {self.order}"] if notes[LARGE] else []
        stopped = {"stopped": "; ".join(reasons)} if reasons else {}
        trusts = f"float64 rounding{problem.inputs.trusts}"
        return Answer(upper, points, Rigour.FLOAT, trusts, {**notes, **stopped})

    def _case(self, notes: Counter[str], case: SolverCase, cheap: np.ndarray, boxes: Boxes) -> tuple[float, Tensor]:
        """(upper bound, candidate point) of one case with linear bounds of its disjuncts and values; those of the
        disjuncts become the LPs'."""
        size = lifted_size(case, boxes)
        with within(deadline().part(FIRST)):
            relaxed = relaxation_of(case, boxes)
            for k in range(len(cheap)):
                cheap[k] = min(cheap[k], relaxed.bound(k)[0])
        if size > self.order:
            notes[LARGE] += 1
            return float(cheap.max(initial=-np.inf)), case.middle
        lifted = lift(case, boxes)
        known, goals = constraints_of(lifted, case.inputs), lifted.objectives(case)

        def bound(k: int) -> tuple[float, np.ndarray | None]:
            return Semidefinite(goals[k], known).upper(self.gap)

        upper, v = largest(cheap, bound, notes, "programs")
        return upper, case.middle if v is None else lifted.point(v, case.middle)


def constraints_of(lifted: Lift, inputs: InputSet) -> Constraints:
    """What is known of v: the network's rows and the set's (batch of 1).

    Sound because the set lies in its `round_part`: an L1 ball in the L2 ball of its radius, since ||x - c||_2 <=
    ||x - c||_1; trusts float64 rounding.
    """
    linear, ball = lifted.linear, inputs.round_part(0)
    if ball is None:
        try:
            rows, bounds = inputs.linear_rows(0)
        except UnsupportedMethod:  # no polyhedron: its hull is what v ranges over
            return Constraints(linear, lifted.left, lifted.right)
        sides = -rows @ lifted.inputs
        sides[:, 0] += bounds
        return Constraints(np.concatenate([linear, sides]), lifted.left, lifted.right)
    moved = lifted.inputs.copy()
    moved[:, 0] -= ball.center.numpy()
    moved = moved[np.abs(moved).max(1) > 0] / max(ball.radius, 1e-300)
    return Constraints(linear, lifted.left, lifted.right, moved, moved if ball.taxicab else None)
