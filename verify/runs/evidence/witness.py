"""Witnesses: a rational point of the set, what it rounds to, and its violation at both levels.

Level R is the network in real arithmetic at the rational point; level F is the original model at the rounded one. A
point may violate at one level only, by less than what rounding moves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from verify.errors import VerifyError
from verify.ir.graph import Network
from verify.ir.violation import Violation, real_violation
from verify.problem import Problem
from verify.rows import Disjuncts, violation
from verify.vnnlib.property import Property


@dataclass(frozen=True, eq=False)
class Witness:
    """A member of the set with its violations.

    Args:
        point: (inputs,) object array of rationals, in X_R.
        x: (inputs,) floats, what the point rounds to and the original model, or the front before it, is given.
        y: (outputs,) what the original model answers; empty where it could not be run.
        real: the violation at level R, of the network as it was read, at `point`.
        executed: the violation at level F: of `y`, at `point` where the specification speaks of inputs too.
    """

    point: np.ndarray
    x: np.ndarray
    y: np.ndarray
    real: Violation
    executed: Violation

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels, of "R" (real arithmetic) and "F" (float32 execution), at which the point is known to violate."""
        return tuple(name for name, level in (("R", self.real), ("F", self.executed)) if level.holds)

    @property
    def remark(self) -> str:
        """In words, where the point violates at one level and is known not to violate at the other; else empty."""
        if self.real.holds is False and self.executed.holds:
            return "violates as executed only, not in real arithmetic"
        if self.real.holds and self.executed.holds is False:
            return "violates in real arithmetic only, not as executed"
        return ""

    def __str__(self) -> str:
        """One line with both violations."""
        text = f"violation {self.real} in real arithmetic, {self.executed} as executed"
        return f"{text}; it {self.remark}" if self.remark else text

    def payload(self) -> dict[str, Any]:
        """Both violations for a store, the remark, and the coordinates of `point` that are not those of `x`."""
        pairs = enumerate(zip(self.point.tolist(), self.x.tolist(), strict=True))
        rationals = {str(i): str(exact) for i, (exact, near) in pairs if exact != near}
        levels = {"real": self.real.as_json(), "executed": self.executed.as_json()}
        return {**levels, "remark": self.remark, "rationals": rationals}


def examine(
    disjuncts: Disjuncts, network: Network | str, point: np.ndarray, x: np.ndarray, y: np.ndarray
) -> Witness:
    """The witness of a point (inputs,) that rounds to x (inputs,), where the original model answers y (outputs,).

    network: as it was read, or why it could not be, and then nothing is said at level R.
    """
    executed = Violation(reason="an output is not finite")
    if np.isfinite(y).all():
        image = [Fraction(v) for v in y.reshape(-1).tolist()]
        executed = Violation(*violation(disjuncts, point.tolist(), image, image))
    real = Violation(reason=network) if isinstance(network, str) else real_violation(disjuncts, network, point)
    return Witness(point, x, y, real, executed)


def property_witness(
    prop: Property, network: Network | str, points: Sequence[np.ndarray], x: np.ndarray, y: np.ndarray
) -> Witness:
    """The witness at the first of these points, members that all round to x, that violates as executed; else the first.

    There must be one. network: as in `examine`; y: (outputs,) what the original model answers at x.
    """
    chosen = next((point for point in points if prop.contains(point, y)), points[0])
    disjuncts = [d for case in prop.cases if case.allows(chosen.tolist()) for d in case.disjuncts]
    return examine(disjuncts, network, chosen, x, y)


def sample_witness(problem: Problem, x: np.ndarray, replay: Callable[[np.ndarray], np.ndarray]) -> Witness:
    """The witness x (*shape) of a problem of one case, a member of its set.

    replay: the original model, behind its front if it has one, flat floats to flat floats; where it raises VerifyError,
        level F is not computed.
    """
    network, flat = problem.network.unmerged or problem.network, x.reshape(-1)
    disjuncts = problem.spec.to("cpu").disjuncts_of(0)
    point = problem.inputs.to("cpu").preimage(torch.from_numpy(x)[None]).reshape(-1)
    try:
        return examine(disjuncts, network, point, flat, replay(flat))
    except VerifyError as refusal:
        real = real_violation(disjuncts, network, point)
        return Witness(point, flat, np.empty(0), real, Violation(reason=str(refusal)))
