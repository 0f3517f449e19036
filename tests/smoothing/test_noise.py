"""Noise on a grid has the exact probabilities of a rounded Gaussian, whatever settles a number."""

from __future__ import annotations

from fractions import Fraction
from math import erf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chisquare

from verify.smoothing import noise as module
from verify.smoothing.confidence import certified_radius, is_majority, least_probability
from verify.smoothing.noise import GridNoise


@pytest.mark.parametrize("sigma", [Fraction(1, 4), Fraction(3, 7), Fraction(1000), Fraction(1, 10**6)])
def test_the_unit_is_a_power_of_two_and_the_deviation_is_sigma(sigma: Fraction) -> None:
    noise = GridNoise(sigma)
    assert 2**20 <= sigma / noise.unit < 2**21
    assert bin((noise.unit if noise.unit >= 1 else 1 / noise.unit).numerator).count("1") == 1
    drawn = noise.draw((20_000,), np.random.default_rng(3)) * float(noise.unit)
    assert np.mean(drawn) == pytest.approx(0, abs=5 * float(sigma) / sqrt(20_000))
    assert np.std(drawn) == pytest.approx(float(sigma), rel=0.03)


def test_probabilities_of_a_coarse_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of half a deviation: the chance of k is Phi(k/2 + 1/4) - Phi(k/2 - 1/4)."""
    monkeypatch.setattr(module, "FINE", 1)
    noise, count = GridNoise(Fraction(1)), 200_000
    drawn = noise.draw((count,), np.random.default_rng(5))
    below = [0.5 * (1 + erf((k / 2 - 0.25) / sqrt(2))) for k in range(-7, 9)]
    expected = count * np.diff([0.0, *below, 1.0])
    seen = np.bincount(np.clip(drawn, -8, 8) + 8, minlength=17)
    assert chisquare(seen, expected).pvalue > 1e-3


@settings(deadline=None, max_examples=20, derandomize=True, database=None)
@given(st.integers(0, 2**32 - 1), st.fractions(Fraction(1, 100), 100))
def test_what_floats_settle_is_what_all_digits_say(seed: int, sigma: Fraction) -> None:
    """By SciPy and by 60 digits, of the same 64 bits."""
    noise, rng = GridNoise(sigma), np.random.default_rng(seed)
    drawn = noise.draw((10,), np.random.default_rng(seed))
    bits = rng.integers(0, 1 << 64, size=10, dtype=np.uint64)
    for value, word in zip(drawn.tolist(), bits.tolist(), strict=True):
        size = noise._settled(word >> 1, abs(value) + 3, rng)
        assert (size if word & 1 else -size) == value


def test_tails_that_64_bits_do_not_reach() -> None:
    """A probability below 2^-64 lies beyond 9.1 deviations, and further bits say where."""
    noise, rng = GridNoise(Fraction(1)), np.random.default_rng(0)
    start = int(9.1 * 2**20)
    found = [noise._settled(0, start, rng) / 2**20 for _ in range(5)]
    assert all(9.07 < size < 10.5 for size in found)
    assert len(set(found)) == 5


COUNTS = [(990, 1000, 0.001), (60, 100, 0.05), (100, 100, 0.01), (1, 10, 0.1)]


@pytest.mark.parametrize(("hits", "draws", "risk"), COUNTS)
def test_the_lower_bound_is_the_share_at_which_so_many_hits_are_rare(hits: int, draws: int, risk: float) -> None:
    least = least_probability(hits, draws, risk)
    assert float(binom.sf(hits - 1, draws, least)) == pytest.approx(risk, rel=1e-5)
    assert float(binom.sf(hits - 1, draws, least)) <= risk
    assert least < hits / draws


def test_majorities_and_radii() -> None:
    assert least_probability(0, 100, 0.01) == 0
    assert certified_radius(0.5, 1.0) == certified_radius(0.2, 1.0) == certified_radius(0.0, 1.0) == 0
    assert certified_radius(0.5 * (1 + erf(1 / sqrt(2))), 2.0) == pytest.approx(2.0, rel=1e-6)
    assert certified_radius(0.9, 0.5) <= 0.5 * 1.2815515655446004
    assert is_majority(700, 300, 0.001)
    assert not is_majority(520, 480, 0.001)
    assert not is_majority(300, 300, 0.999)
    tail = 2 * float(binom.sf(59, 100, 0.5))
    assert is_majority(60, 40, tail * 1.001)
    assert not is_majority(60, 40, tail * 0.999)
