"""The violation of a point by the network in real arithmetic: exactly, or within a bound on float64 rounding."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from verify.errors import InputError, UnsupportedMethod
from verify.ir.evaluate import bounded_value, exact_value, exact_work
from verify.ir.graph import Network
from verify.rationals import round_down, round_up
from verify.rows import Disjuncts, violation

SMALL = 30_000  # entries of matrices up to which the value is always exact; a tenth of a second
LARGEST = 5_000_000  # up to which it is exact where the sign stays open; seconds


@dataclass(frozen=True)
class Violation:
    """What is known of a violation at one level: low <= violation <= high, equal where it was computed exactly.

    Both are None where it was not computed; `reason` says why.
    """

    low: Fraction | None = None
    high: Fraction | None = None
    reason: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the point violates: violation >= 0; None where that is not known."""
        if self.low is None or self.high is None or self.low < 0 <= self.high:
            return None
        return self.low >= 0

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"not computed ({self.reason})"
        if self.low == self.high:
            return f"{float(self.low):.6g}"
        return f"{float((self.low + self.high) / 2):.6g} +- {float((self.high - self.low) / 2):.1g}"

    def as_json(self) -> dict[str, Any]:
        """`low` and `high` rounded outward, whether they are one number, and whether the point violates."""
        if self.low is None or self.high is None:
            return {"violated": None, "reason": self.reason}
        low, high = np.array([self.low], dtype=object), np.array([self.high], dtype=object)
        ends = {"low": round_down(low, torch.float64).item(), "high": round_up(high, torch.float64).item()}
        return {"violated": self.holds, "exact": self.low == self.high, **ends}


def real_violation(disjuncts: Disjuncts, network: Network, point: np.ndarray, small: int = SMALL) -> Violation:
    """The violation at level R of a point (inputs,): exact for small networks and where the sign would else stay open,
    otherwise in float64 within a bound on its rounding; not computed where an op has neither.

    small: entries of matrices up to which it is exact at once.
    """
    shaped, work = point.reshape(network.input_shape), exact_work(network)
    ways = (_exactly, bounded_value) if work <= small else (bounded_value, _exactly)
    best = Violation()
    for way in ways[: 1 if work > LARGEST else 2]:
        try:
            low, high = (value.reshape(-1).tolist() for value in way(network, shaped))
        except (UnsupportedMethod, InputError) as refusal:
            best = best if best.reason or best.low is not None else Violation(reason=str(refusal))
            continue
        best = Violation(*violation(disjuncts, point.tolist(), low, high))
        if best.holds is not None:
            break
    return best


def _exactly(network: Network, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    value = exact_value(network, point)
    return value, value
