"""Thousands of damaged certificates: whatever the checker accepts is true, and it answers whatever the bytes are."""

from __future__ import annotations

import zlib
from collections import Counter
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.bases import KINDS, base
from tests.support.certificates import Parts, attack, maximum, real_violation, samples
from tests.support.machines import Rationals, Singles
from tests.support.machines import values as exact_values
from tests.support.mutations import claims, network_arrays, of_claim, of_form, of_proof
from verify.check.bounds import Level
from verify.check.checker import Certificate, Report, check
from verify.check.container import MAGIC
from verify.check.numbers import Arithmetic, Rejected
from verify.check.search import Search

FEW = 20  # mutants of the kind that takes longest; thousands: make conformance
SEEDS, NAMES = st.integers(0, 2**32 - 1), st.sampled_from(list(KINDS))
many = settings(deadline=None, max_examples=25, derandomize=True, database=None)  # thousands: make conformance


def attained(parts: Parts, level: str, seed: int, count: int = 80) -> Fraction:
    """The largest violation that is found of any case, at a level."""
    rng = np.random.default_rng(seed)
    found = []
    for case in parts.header["cases"]:
        found.append(attack(parts, case, rng, count, 4))
        if level == "F":
            x = samples(case, count // 4, rng).astype(np.float64)
            machine = Singles(rng, str(rng.choice(["sequential", "fused", "tree", "pairwise"])), bool(rng.integers(2)))
            found.append(max(real_violation(parts, case, x, machine)))
    return max(found, default=Fraction(-(2**200)))


@cache
def known(kind: str, level: str) -> Fraction:
    return max(attained(base(kind), level, seed, 400) for seed in range(4))


def answered(data: bytes) -> Report:
    """The report, which is what it should be."""
    report = check(data)
    assert report.accepted == (not report.reason)
    assert report.reason.isprintable()
    return report


@pytest.mark.parametrize("kind", KINDS)
def test_bases_are_accepted_and_nearly_false(kind: str) -> None:
    parts = base(kind)
    report = answered(parts.bytes())
    assert report.accepted, report.reason
    assert report.level == parts.header["level"]
    assert -0.5 < known(kind, report.level) <= report.margins["R"] < 0


def test_bases_have_all_that_a_proof_may_have() -> None:
    headers = [base(kind).header for kind in KINDS]
    searches = [search for header in headers for search in header["searches"]]
    assert any(len(header["cases"]) > 1 for header in headers)
    assert any(len(search["lemmas"]) > 1 for search in searches)
    for parts in map(base, ("search", "rows", "residual")):
        tasks = [task for search in parts.header["searches"] for task in search["tasks"]]
        assert max(len(parts.arrays[task["variable"]]) for task in tasks) > 4
        assert max(parts.arrays[task["multiplier"]].size for task in tasks) > 4
    weights = [values for name, values in base("rows").arrays.items() if name.startswith("weight")]
    assert any(((weight > 0) & (weight < 1 << 15)).any() for weight in weights if weight.dtype.kind == "u")
    for parts in map(base, ("boxes", "max")):
        assert max(parts.arrays[trees["variable"]].size for trees in parts.header["boxes"]) > 8


@pytest.mark.parametrize("kind", KINDS)
def test_other_proofs_prove_no_less_than_what_is_attained(kind: str) -> None:
    """The claim stays; the margin that is reported is an upper bound on v*, so no point goes beyond it."""
    accepted, rng = 0, np.random.default_rng(11)
    for _ in range(FEW if kind == "product search" else 60):
        mutant = of_proof(base(kind), rng)
        report = answered(mutant.bytes())
        if report.accepted:
            accepted += 1
            assert set(report.margins) == ({"R", "F"} if report.level == "F" else {"R"})
            for level, margin in report.margins.items():
                assert known(kind, level) <= Fraction(margin) < 0, level
    assert accepted >= (2 if kind == "product search" else 6), "too few are accepted"


@many
@given(NAMES, SEEDS)
def test_no_proof_of_a_false_claim(kind: str, seed: int) -> None:
    """Offsets are lowered until a point violates the claim by the least that a rational of 60 bits tells."""
    rng, level = np.random.default_rng(seed), base(kind).header["level"]
    false = base(kind).copy()
    for row in (row for case in false.header["cases"] for disjunct in case["disjuncts"] for row in disjunct):
        gap = Fraction(int(-known(kind, level) * 2**60), 2**60) + Fraction(1, 2**60)
        row["offset"] = str(Fraction(row["offset"]) - gap)
    assert not answered(false.bytes()).accepted
    for _ in range(8):
        assert not answered(of_proof(false, rng).bytes()).accepted


def test_other_claims_are_accepted_only_if_they_are_true() -> None:
    accepted: Counter[str] = Counter()

    @settings(many, max_examples=12)
    @given(NAMES, SEEDS)
    def judged(kind: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(8):
            mutant = of_claim(base(kind), rng)
            same = mutant.claims() == base(kind).claims()
            unsigned = answered(mutant.bytes())
            if unsigned.accepted:  # the digest is of the network alone
                accepted["as it is"] += 1
                assert mutant.header["network"] == base(kind).header["network"]
                for name in network_arrays(mutant):
                    assert mutant.arrays[name].tobytes() == base(kind).arrays[name].tobytes()
            report = unsigned if unsigned.accepted else answered(_signed(mutant).bytes())
            if report.accepted and not same:
                accepted["another claim"] += 1
                for level, margin in report.margins.items():
                    assert attained(mutant, level, seed) <= Fraction(margin) < 0, level

    judged()
    assert accepted["as it is"] >= 12, f"too few are accepted: {accepted}"
    assert accepted["another claim"] >= 16, f"too few are accepted: {accepted}"


def _signed(parts: Parts) -> Parts:
    try:
        return parts.sign()
    except (KeyError, TypeError, AttributeError):  # a network that has no digest
        return parts


def test_accepted_claims_of_a_tiny_network_are_true_by_enumeration() -> None:
    rng, accepted = np.random.default_rng(5), 0
    for _ in range(250):
        mutant = base("tiny").copy()
        claims(mutant, rng)
        mutant = of_claim(mutant, rng) if rng.random() < 0.3 else mutant
        report = answered(_signed(mutant).bytes())
        if report.accepted and accepted < 20:
            accepted += 1
            assert max(maximum(mutant, case) for case in mutant.header["cases"]) <= report.margins["R"] + 1e-7
    assert accepted == 20


def test_whatever_the_form_there_is_an_answer() -> None:
    accepted: Counter[str] = Counter()

    @many
    @given(NAMES, SEEDS)
    def judged(kind: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(12):
            mutant = of_form(base(kind), rng)
            report = answered(mutant.bytes())
            if report.accepted:
                accepted[kind] += 1
                same = mutant.claims() == base(kind).claims()
                largest = known(kind, "R") if same else attained(mutant, "R", seed)
                assert largest <= Fraction(report.margins["R"])

    judged()
    assert accepted.total() >= 15, f"too few are accepted: {accepted}"


def test_whatever_the_bytes_there_is_an_answer() -> None:
    """Cut off, one byte changed, bytes inserted: in the file and, with a valid checksum, in the stream."""
    accepted: Counter[str] = Counter()
    for seed in range(8 * len(KINDS)):  # every kind equally often
        _damaged_bytes(list(KINDS)[seed % len(KINDS)], seed, accepted)
    assert accepted["stream"] >= 5, f"too few are accepted: {accepted}"


def _damaged_bytes(kind: str, seed: int, accepted: Counter[str]) -> None:
    rng, whole = np.random.default_rng(seed), base(kind).bytes()
    stream = zlib.decompress(whole[len(MAGIC) :])
    for inside in (False, True):
        data = stream if inside else whole
        for _ in range(6):
            at, how = int(rng.integers(len(data))), int(rng.integers(4))
            new = [data[:at], data[:at] + bytes([data[at] ^ 1 << rng.integers(8)]) + data[at + 1 :],
                   data[:at] + rng.bytes(3) + data[at:], data[:at] + data[at + 1 :]][how]
            report = answered(MAGIC + zlib.compress(new, 1) if inside else new)
            if report.accepted:
                accepted["stream" if inside else "file"] += 1
                assert inside or zlib.decompress(new[len(MAGIC) :]) == stream  # bits of zlib's own that say nothing
                mutant = Parts.of(MAGIC + zlib.compress(new) if inside else new)
                assert mutant.claims() == base(kind).claims() or attained(mutant, "R", 0) <= report.margins["R"]
    assert not answered(whole + b"\0").accepted
    assert not answered(rng.bytes(100)).accepted
    assert not answered(MAGIC + rng.bytes(100)).accepted


@pytest.mark.parametrize("kind", KINDS)
def test_every_leaf_counts(kind: str) -> None:
    """A leaf without weights and multipliers bounds 0 by 0, which is not negative; each in turn, of every task."""
    header = base(kind).header
    for trees in [*header["boxes"], *(task for search in header["searches"] for task in search["tasks"])]:
        for leaf in range(len(base(kind).arrays[trees["weight"]])):
            mutant = base(kind).copy()
            mutant.arrays[trees["weight"]][leaf] = 0
            if "counts" in trees:
                stops = np.cumsum(mutant.arrays[trees["counts"]])
                start = stops[leaf] - mutant.arrays[trees["counts"]][leaf]
                mutant.arrays[trees["multiplier"]][start : stops[leaf]] = 0
            assert "not negative" in answered(mutant.bytes()).reason, (trees, leaf)


@pytest.mark.parametrize("kind", [kind for kind, given in KINDS.items() if given.neurons])
def test_lemmas_hold_whatever_their_duals(kind: str) -> None:
    """The ranges that lemmas prove hold the exact values of sampled points, also where a lemma is damaged."""
    rng, followed = np.random.default_rng(3), 0
    values = [_values(base(kind), case, rng) for case in base(kind).header["cases"]]
    for k in range(30):
        mutant = of_proof(base(kind), rng) if k else base(kind)
        try:
            with np.errstate(all="ignore"):
                proof = Certificate.read(mutant.bytes(), Arithmetic()).proof.hinged(Arithmetic())
                searches = [Search(proof, Level(Arithmetic()), value) for value in mutant.header["searches"]]
        except Rejected:
            continue
        followed += 1
        for search in searches:
            for name, exact in values[search.index].items():
                sides = search.relaxation.low[name][0], search.relaxation.high[name][0]
                low, high = map(Rationals().numbers, sides)
                assert bool(((low <= exact) & (exact <= high)).all()), name
    assert followed > 5


def _values(parts: Parts, case: dict[str, Any], rng: np.random.Generator) -> dict[str, np.ndarray]:
    return exact_values(parts.header["network"], parts.arrays, Rationals(), samples(case, 60, rng))
