"""The job of smoothing a data set, and what it finds for a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verify.ir.graph import Network
from verify.runs.engine.store import StoreEntry
from verify.smoothing.result import ABSTAINS
from verify.smoothing.smoothing import Smoothing

STATISTICAL, ABSTAINED, ERROR = "statistical", "abstained", "error"


@dataclass(frozen=True)
class SmoothedSample:
    """One sample of the smoothed classifier.

    Args:
        label: its class; prediction: that of the smoothed classifier, None where it abstains.
        radius: L2, in which the prediction stays, with the confidence that was asked for.
        hits: how many of the draws had the class that was counted.
    """

    index: int
    label: int | None
    prediction: int | None = None
    radius: float = 0.0
    hits: int = 0
    seconds: float = 0.0
    error: str = ""
    is_final: bool = True

    @property
    def key(self) -> str:
        return f"sample/{self.index}"

    @property
    def verdict(self) -> str:
        return ERROR if self.error else ABSTAINED if self.prediction is None else STATISTICAL

    @property
    def files(self) -> dict[str, bytes]:
        return {}

    def failed(self, name: str, reason: str) -> SmoothedSample:
        """The final one of a sample that met an error."""
        return replace(self, error=f"{name}: {reason}", prediction=None, radius=0.0)

    def result(self, sample: np.ndarray) -> StoreEntry:
        """For the store."""
        names = ("index", "label", "prediction", "radius", "hits", "seconds", "error", "verdict")
        return StoreEntry(self.key, {name: getattr(self, name) for name in names}, {})

    def state(self) -> tuple[dict[str, Any], np.ndarray | None]:
        raise AssertionError("a sample is smoothed at once")


@dataclass(frozen=True)
class SmoothingJob:
    """The samples x (batch, *shape) on the CPU, their labels, and the network that is smoothed, on its device."""

    network: Network
    smoothing: Smoothing
    x: Tensor
    labels: Sequence[int | None]
    folder: Path | None = None

    @property
    def device(self) -> torch.device:
        return self.network.device

    def to(self, device: torch.device | str) -> SmoothingJob:
        """The same job on another device."""
        return replace(self, network=self.network.to(device))

    def first(self, index: Sequence[int]) -> list[SmoothedSample]:
        """All that there is to do for these samples."""
        found = []
        for i in index:
            start = perf_counter()
            result = self.smoothing.certify(self.network, self.x[i : i + 1], place=i)
            guess = int(result.classes[0])
            found.append(SmoothedSample(
                i, self.labels[i], None if guess == ABSTAINS else guess, float(result.radius[0]), int(result.hits[0]),
                perf_counter() - start,
            ))
        return found

    def last(self, found: Sequence[Any]) -> list[SmoothedSample]:
        raise AssertionError("a sample is smoothed at once")

    def restored(self, state: dict[str, Any], point: np.ndarray | None) -> SmoothedSample:
        raise AssertionError("a sample is smoothed at once")

    def kept(self, found: SmoothedSample, folder: Path, asked: Mapping[str, Any]) -> SmoothedSample:
        """See `Job.kept`: what is statistical contradicts nothing."""
        return found
