"""What an attack found for one sample, and how it travels between processes and the store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from verify.report.images import pixels, png
from verify.runs.engine.store import StoreEntry

FALSIFIED, OPEN, ERROR = "falsified", "unknown", "error"


@dataclass(frozen=True)
class AttackOutcome:
    """One sample after the attacks.

    Args:
        label, prediction: classes, the second of the sample itself; None where outputs are no classes.
        clean: whether the sample is right as it is.
        method: what fooled the network; None where nothing did.
        lower: the violation of the point, None where it is no number.
        distance: of the point from the sample, in the norm of the ball, None of other sets.
        is_flat: whether there is no gradient at the sample, of one that was not fooled; is_infinite: whether its
            outputs are not all finite.
        seconds: its share of those of the batch, by attack.
        point: (*shape), the best point that was found, as the network takes it; variables: (variables,), a sample and
            the parameters of a perturbation from which it is made, None of other sets.
        levels: (*shape) uint8, the image of 8 bits that is nearest, where the clip is [0, 1]; image: what that does.
    """

    index: int
    label: int | None
    prediction: int | None
    clean: bool
    method: str | None = None
    lower: float | None = None
    distance: float | None = None
    is_flat: bool = False
    is_infinite: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    point: np.ndarray | None = None
    variables: np.ndarray | None = None
    levels: np.ndarray | None = None
    image: str = ""
    error: str = ""
    is_final: bool = True

    @property
    def key(self) -> str:
        return f"sample/{self.index}"

    @property
    def verdict(self) -> str:
        return ERROR if self.error else OPEN if self.method is None and self.clean else FALSIFIED

    @property
    def files(self) -> dict[str, bytes]:
        """The image of a sample that was fooled."""
        picture = None if self.levels is None or self.verdict != FALSIFIED else pixels(self.levels)
        return {} if picture is None else {f"{self.index:05}.png": png(np.ascontiguousarray(picture))}

    def failed(self, name: str, reason: str) -> AttackOutcome:
        """The final one of a sample that met an error."""
        return replace(self, error=f"{name}: {reason}", method=None)

    def result(self, sample: np.ndarray) -> StoreEntry:
        """For the store; a sample (*shape) that was fooled is kept with its point."""
        arrays: dict[str, np.ndarray] = {}
        if self.verdict == FALSIFIED and self.point is not None:
            arrays = {"input": sample, "witness": self.point}
            more = {"levels": self.levels, "variables": self.variables}
            arrays |= {name: array for name, array in more.items() if array is not None}
        names = ("index", "label", "prediction", "clean", "method", "lower", "distance", "is_flat", "is_infinite",
                 "seconds", "image", "error", "verdict")
        return StoreEntry(self.key, {name: getattr(self, name) for name in names}, arrays)

    def state(self) -> tuple[dict[str, Any], np.ndarray | None]:
        raise AssertionError("a sample is attacked at once")
