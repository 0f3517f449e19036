"""Certificates of grids: gaps between levels are covered because the claim says grid, and for no other reason."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import verify
from tests.support.certificates import Parts
from tests.support.grids import image, tents
from verify.check.bounds import Level
from verify.check.checker import check
from verify.check.grid import inward
from verify.check.numbers import Arithmetic
from verify.proof.certificate import property_claim
from verify.proof.prover import prove
from verify.runs.evidence.certificates import checked
from verify.upper.duals.proof_log import ProofLog
from verify.vnnlib import read_vnnlib

LEVELS = 16


def certificate(level: str, levels: int = LEVELS) -> bytes:
    """Of a network that violates between the levels, and nowhere on them, from 1/8 to 7/8 where LEVELS has these."""
    network, x = tents(levels, 2, seed=3), image([levels // 2] * 2, levels)
    problem, log = verify.robustness(network, x, [0], "3/8", grid=levels), ProofLog()
    verify.solve(problem, verify.BranchAndBound(), proof_log=log)
    proof = prove(problem, level=level, proof_log=log)
    assert proof.certificate is not None, proof.reason
    return proof.certificate


@pytest.fixture(scope="module", params=["R", "F"])
def data(request: pytest.FixtureRequest) -> bytes:
    return certificate(request.param)


def test_the_claim_says_grid_and_holds_in_both_arithmetics(data: bytes) -> None:
    for exact in (False, True):
        report = check(data, exact=exact)
        assert report.accepted, report.reason
        assert report.claim[0].startswith("for every x_i = k/16 with whole k, x_0 in [1/8, 7/8]")


@pytest.mark.parametrize("exact", [False, True])
def test_without_its_grid_a_certificate_is_refused(data: bytes, exact: bool) -> None:
    parts = Parts.of(data)
    del parts.header["grid"]
    report = check(parts.bytes(), exact=exact)
    assert not report.accepted
    assert "negative" in report.reason


def test_it_is_no_certificate_of_a_property_of_all_inputs(data: bytes, tmp_path: Path) -> None:
    """Whose cases are the same, but between the levels the network violates."""
    ends = "".join(f"(assert (>= X_{i} 0.125))(assert (<= X_{i} 0.875))" for i in (0, 1))
    names = "".join(f"(declare-const {name} Real)" for name in ("X_0", "X_1", "Y_0", "Y_1"))
    prop, proof = tmp_path / "p.vnnlib", tmp_path / "a.cert"
    prop.write_text(f"{names}{ends}(assert (>= Y_1 Y_0))")
    proof.write_bytes(data)
    assert Parts.of(data).header["cases"] == property_claim(read_vnnlib(prop))
    report = checked(proof, prop=prop)
    assert not report.accepted
    assert "of a grid alone" in report.reason


@pytest.mark.parametrize("grid", [15, 16.5, 0, -16, "16", None, True, [16], 1 << 17, 32, 48])
def test_another_grid_is_refused(data: bytes, grid: Any) -> None:
    """32 and 48 hold the levels between, where the network violates."""
    parts = Parts.of(data)
    parts.header["grid"] = grid
    assert not check(parts.bytes()).accepted


def test_a_coarser_grid_is_another_claim(data: bytes) -> None:
    parts = Parts.of(data)
    parts.header["grid"] = 8
    report = check(parts.bytes())
    assert not report.accepted or report.claim[0].startswith("for every x_i = k/8")


def test_ends_between_the_levels_are_refused(data: bytes) -> None:
    parts = Parts.of(data)
    parts.header["cases"][0]["low"][0] = "5/32"
    assert "whole multiple of 1/16" in check(parts.bytes()).reason


def test_images_of_8_bits_are_named() -> None:
    assert check(certificate("R", 255)).claim[0].startswith("for every image of the 8-bit grid, x_i = k/255")


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("levels", [1, 7, 16, 255, 65535])
def test_inward_keeps_every_level_and_no_more_than_a_rounding(levels: int, exact: bool, single: bool) -> None:
    rng = np.random.default_rng(levels)
    whole = rng.integers(-3 * levels, 3 * levels, 60)
    level = Level(Arithmetic(exact), single)
    near = whole / levels
    for ends in (near, np.nextafter(near, -9), np.nextafter(near, 9), near + rng.uniform(-1, 1, 60) / levels):
        low, high = inward(level, levels, *(level.number.of(ends[None]) for _ in range(2)))
        for value, a, b in zip(ends.tolist(), low[0], high[0], strict=True):
            k = Fraction(value) * levels
            if k.denominator == 1:
                member = float(np.float32(int(k)) / np.float32(levels)) if single else Fraction(int(k), levels)
                assert Fraction(a) <= Fraction(member) <= Fraction(b), k
        low, high = inward(level, levels, level.number.of(ends[None]), level.number.of(ends[None] + 2 / levels))
        for value, a, b in zip(ends.tolist(), low[0], high[0], strict=True):
            members = range(-int(-Fraction(value) * levels // 1), int(Fraction(value + 2 / levels) * levels // 1) + 1)
            for k in members:
                member = float(np.float32(k) / np.float32(levels)) if single else Fraction(k, levels)
                assert Fraction(a) <= Fraction(member) <= Fraction(b)
            assert float(a) >= value - 1e-6 * (1 + abs(value))  # and nothing beyond what rounding may add
