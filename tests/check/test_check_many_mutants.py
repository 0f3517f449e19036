"""Five thousand damaged certificates of curves, products and jumps: none is accepted with a claim that is false."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from tests.support.bases import base
from tests.support.certificates import Parts, attack
from tests.support.mutations import of_claim, of_form, of_proof
from verify.check.checker import check

SECOND = ("smooth", "smooth search", "product search", "jump search")
EACH = 1250


@cache
def known(kind: str) -> Fraction:
    """The largest violation that is found of the claim itself."""
    rng, parts = np.random.default_rng(0), base(kind)
    return max(attack(parts, case, rng, 400, 4) for case in parts.header["cases"])


def judged(kind: str, mutant: Parts, seed: int, counts: Counter[str]) -> None:
    """Counts what the checker says of a mutant. Fails where a point violates what was accepted."""
    report = check(mutant.bytes())
    assert report.accepted == (not report.reason)
    if not report.accepted:
        counts["rejected"] += 1
        return
    same = mutant.claims() == base(kind).claims()
    counts["the claim itself" if same else "another claim, which is true"] += 1
    rng, cases = np.random.default_rng(seed), mutant.header["cases"]
    found = known(kind) if same else max((attack(mutant, case, rng, 80, 4) for case in cases), default=Fraction(-1))
    for margin in report.margins.values():
        assert found <= Fraction(margin) < 0, (kind, seed)


def mutated(kind: str, seed: int) -> Parts:
    """In turn of the proof, of the claim with a digest that fits, of the claim alone, and of the form."""
    rng, how = np.random.default_rng(seed), seed % 4
    if how in (1, 2):
        mutant = of_claim(base(kind), rng)
        try:
            return mutant.sign() if how == 1 else mutant
        except (KeyError, TypeError, AttributeError):  # a network that has no digest
            return mutant
    return (of_proof if how == 0 else of_form)(base(kind), rng)


def run(kind: str, seeds: range) -> Counter[str]:
    counts: Counter[str] = Counter()
    for seed in seeds:
        judged(kind, mutated(kind, seed), seed, counts)
    return counts


@pytest.mark.conformance
@pytest.mark.parametrize("kind", SECOND)
def test_no_mutant_is_accepted_with_a_false_claim(kind: str) -> None:
    counts = run(kind, range(EACH))
    print(f"{kind}: {dict(counts)}")
    assert counts["the claim itself"] >= EACH // 20
    assert counts["rejected"] >= EACH // 20


def test_some_mutants_of_products_are_judged() -> None:
    counts = run("product search", range(24))
    assert counts["rejected"] >= 4
    assert counts["the claim itself"] >= 1
