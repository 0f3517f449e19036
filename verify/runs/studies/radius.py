"""What is known of the minimal adversarial distortion of one sample."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from verify.rationals import exact_array, round_up, shown
from verify.runs.certification.outcome import CLEAN
from verify.runs.engine.store import StoreEntry
from verify.runs.evidence.contradiction import Holder
from verify.sets.norms import norm_of


@dataclass(frozen=True)
class Radius:
    """What is known of the minimal distortion r of one sample: lower <= r <= upper.

    Args:
        lower: the largest radius that is verified; upper: the distance of the nearest witness, rounded up, or None
            where none was found up to the largest radius that was asked for.
        below, above: the methods that gave the two ends.
        point: the witness (*shape), as the network takes it; parameters: of the perturbation that makes it, else None.
        unknown: the least and the largest place of the grid where nothing could be said, or None.
        is_closed: whether the bracket is narrow enough.
        reason: why it is not.
        crossing: the radius at which two methods contradict each other, and who holds the two sides.
    """

    index: int
    label: int | None
    prediction: int | None
    lower: Fraction = Fraction(0)
    upper: float | None = None
    below: str = CLEAN
    above: str | None = None
    point: np.ndarray | None = None
    parameters: tuple[float, ...] | None = None
    unknown: tuple[int, int] | None = None
    seconds: float = 0.0
    reason: str = ""
    error: str = ""
    is_closed: bool = False
    is_final: bool = False
    crossing: tuple[Fraction, Holder, Holder] | None = field(default=None, repr=False)
    bundle: str = ""

    @property
    def key(self) -> str:
        return f"sample/{self.index}"

    @property
    def verdict(self) -> str:
        return "error" if self.error else "closed" if self.is_closed else "open"

    @property
    def files(self) -> dict[str, bytes]:
        return {}

    def unknown_at(self, place: int) -> Radius:
        """The same, where nothing could be said at a place of the grid."""
        first, last = self.unknown or (place, place)
        return replace(self, unknown=(min(first, place), max(last, place)))

    def failed(
        self, name: str, reason: str, crossing: tuple[Fraction, Holder, Holder] | None = None
    ) -> Radius:
        """The final one of a sample that met an error."""
        return replace(self, error=f"{name}: {reason}", is_closed=False, is_final=True, crossing=crossing)

    def result(self, sample: np.ndarray) -> StoreEntry:
        """For the store, with the sample and its witness (*shape)."""
        arrays = {} if self.point is None else {"input": sample, "witness": self.point}
        bundle = {"bundle": self.bundle} if self.bundle else {}
        return StoreEntry(self.key, {**self._json(), "verdict": self.verdict, **bundle}, arrays)

    def state(self) -> tuple[dict[str, Any], np.ndarray | None]:
        return self._json(), self.point

    def _json(self) -> dict[str, Any]:
        names = ("index", "label", "prediction", "upper", "below", "above", "unknown", "seconds", "reason", "error",
                 "parameters")
        return {**{name: getattr(self, name) for name in names}, "lower": shown(self.lower)}


def distance(x: np.ndarray, point: np.ndarray, norm: str) -> float:
    """||point - x|| of two arrays (*shape) of floats, exactly and then rounded up."""
    delta = exact_array(torch.from_numpy(point)) - exact_array(torch.from_numpy(x))
    return norm_of(norm).distance([abs(d) for d in delta.reshape(-1)])


def not_below(eps: Fraction) -> float:
    """The least float64 that is not below a rational."""
    return float(round_up(np.array([eps], object), torch.float64)[0])
