"""Randomized smoothing with Gaussian noise (Cohen, Rosenfeld, Kolter 2019), sound on the grid of its floats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from verify.errors import InputError
from verify.given import given
from verify.ir.graph import Network
from verify.ir.opaque.entry import Model
from verify.lower.engine.settings import check_settings
from verify.rationals import Number, exact_array, rational
from verify.smoothing.confidence import certified_radius, is_majority, least_probability
from verify.smoothing.noise import GridNoise
from verify.smoothing.result import ABSTAINS, SmoothedResult

FLOATS = 1 << 20  # of the noisy inputs that are held at once
SMALLEST = Fraction(1, 1 << 100)
MOST = 1 << 62  # units of the noise that a sample may be away from 0


@dataclass(frozen=True)
class Smoothing:
    """The classifier that a model becomes when Gaussian noise is added to its inputs: the most probable class.

    Args:
        sigma: standard deviation of the noise in the input's own units.
        draws: noisy inputs for an answer; first: others before them, which choose the class that is counted.
        confidence: in (0, 1), with which the answer for each sample is right.
        seed: of the noise; the sample's place in the batch is added.
    """

    sigma: Number
    draws: int = 10_000
    first: int = 100
    confidence: Number = "0.999"
    seed: int = 0

    def __post_init__(self) -> None:
        if not SMALLEST <= rational(self.sigma, "sigma") <= 1 / SMALLEST:
            raise InputError(f"sigma is {self.sigma} but must lie between 2^-100 and 2^100; write for example 1/4")
        if not 0 < rational(self.confidence, "confidence") < 1:
            raise InputError(f"confidence is {self.confidence} but must lie between 0 and 1; write for example 0.999")
        check_settings(self, ("draws", "first", "seed"))

    def certify(self, model: Network | Model, x: Tensor, place: int = 0) -> SmoothedResult:
        """The smoothed class of each sample with the radius in which it stays, or an abstention.

        Args:
            model: with at least two outputs; see `verify.attack`.
            x: (batch, *shape) floats. A sample is taken at the nearest point of the grid of the noise, by whose
                distance its radius is smaller.
            place: of the first sample, for the seeds of parts of a data set.

        `certify` of Cohen et al. (2019), section 3.2.2. Statistical: the answer for each sample is wrong with
        probability at most 1 - confidence. Sound because the model after rounding to the grid is a function on all
        reals, and its noisy values are drawn exactly (`GridNoise`); trusts the random bits, SciPy, and that the model
        gives one class for one input, whatever the batch.
        """
        network, x, risk = *self._asked(model, x), float(1 - rational(self.confidence, "confidence"))
        classes, radii, hits = [], [], []
        for rng, whole, off in self._samples(x, place):
            guess = int(self._counts(network, whole, self.first, rng)[: network.outputs].argmax())
            hits.append(int(self._counts(network, whole, self.draws, rng)[guess]))
            radius = certified_radius(least_probability(hits[-1], self.draws, risk), self._sigma) - off
            radii.append(max(0.0, radius))
            classes.append(guess if radius > 0 else ABSTAINS)
        return self._result(classes, radii, hits)

    def predict(self, model: Network | Model, x: Tensor, place: int = 0) -> Tensor:
        """The smoothed class of each sample (batch,) long, -1 where the draws do not tell it from the others.

        `predict` of Cohen et al. (2019), section 3.2.1; statistical and sound as `certify` is.
        """
        network, x, risk = *self._asked(model, x), float(1 - rational(self.confidence, "confidence"))
        classes = []
        for rng, whole, _ in self._samples(x, place):
            counts = self._counts(network, whole, self.draws, rng)
            best, second = np.argsort(-counts, kind="stable")[:2]
            named = int(best) < network.outputs and is_majority(int(counts[best]), int(counts[second]), risk)
            classes.append(int(best) if named else ABSTAINS)
        return torch.tensor(classes, dtype=torch.long)

    @property
    def _sigma(self) -> float:
        return float(np.nextafter(float(rational(self.sigma, "sigma")), 0))

    @property
    def _noise(self) -> GridNoise:
        return GridNoise(rational(self.sigma, "sigma"))

    def _asked(self, model: Network | Model, x: Tensor) -> tuple[Network, Tensor]:
        """What is smoothed and the samples, checked beside each other."""
        network, x = given(model, x)
        if network.outputs < 2:
            raise InputError("smoothing needs a model with at least two outputs, one for each class; this one has 1")
        if not bool(x.isfinite().all()):
            raise InputError("x holds values that are not finite; leave these samples out")
        return network, x

    def _samples(self, x: Tensor, place: int) -> Iterator[tuple[np.random.Generator, np.ndarray, float]]:
        """Of each sample a generator, its nearest multiples of the unit (*shape), and how far these are in L2."""
        unit = self._noise.unit
        for k, sample in enumerate(x):
            exact = exact_array(sample.detach().cpu()) / unit
            if max(map(abs, exact.flat), default=0) >= MOST:
                raise InputError(f"sample {place + k} holds values beyond {float(MOST * unit):.3g}, where noise of "
                                 f"sigma {self.sigma} is nothing; choose a larger sigma")
            whole = np.vectorize(round, otypes=[np.int64])(exact)
            off = float(sum((Fraction(a - int(b)) * unit) ** 2 for a, b in zip(exact.flat, whole.flat, strict=True)))
            yield np.random.default_rng([self.seed, place + k]), whole, off**0.5 * (1 + 1e-9)

    def _counts(self, network: Network, whole: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
        """How often each class is the answer to noisy inputs; (outputs + 1,), the last of answers that are no class."""
        counts, size = np.zeros(network.outputs + 1, np.int64), max(1, FLOATS // max(1, whole.size))
        unit = float(self._noise.unit)  # a power of 2
        for start in range(0, draws, size):
            noise = self._noise.draw((min(size, draws - start), *whole.shape), rng)
            points = torch.from_numpy((whole + noise).astype(np.float64) * unit)
            with torch.no_grad():
                y = network(points.to(network.dtype).to(network.device)).flatten(1)
            best = y.argmax(1).where(y.isfinite().all(1), network.outputs)
            counts += np.bincount(best.cpu().numpy(), minlength=len(counts))
        return counts

    def _result(self, classes: list[int], radii: list[float], hits: list[int]) -> SmoothedResult:
        return SmoothedResult(
            torch.tensor(classes, dtype=torch.long), torch.tensor(radii, dtype=torch.float64),
            torch.tensor(hits, dtype=torch.long), self.draws, rational(self.sigma, "sigma"),
            rational(self.confidence, "confidence"),
        )
