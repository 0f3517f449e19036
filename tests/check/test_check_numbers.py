"""Rationals of a claim: how they are read, and the floats next to them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from verify.check.numbers import Arithmetic, Rejected, shown_above
from verify.check.strict import rational

NEAR_FLOATS = st.builds(
    lambda x, part: Fraction(x) + part * Fraction(float(np.spacing(x))),
    st.floats(-1e300, 1e300), st.fractions(-2, 2, max_denominator=1000),
)


@given(st.lists(NEAR_FLOATS | st.fractions(), min_size=1, max_size=6))
@example([Fraction(1, 3)])
@example([Fraction(-1, 3), Fraction(0), Fraction(1, 10**400), Fraction(-1, 10**400), Fraction(2**60 + 1)])
def test_the_floats_next_to_rationals_are_the_nearest_on_their_side(numbers: list[Fraction]) -> None:
    given_, number = np.array(numbers, dtype=object), Arithmetic()
    down, up = number.down(given_), number.up(given_)
    for q, low, high in zip(numbers, down.tolist(), up.tolist(), strict=True):
        assert Fraction(low) <= q <= Fraction(high)
        assert Fraction(float(np.nextafter(low, np.inf))) > q
        assert Fraction(float(np.nextafter(high, -np.inf))) < q


@given(st.fractions())
def test_fractions_are_read_from_their_texts(number: Fraction) -> None:
    assert rational(str(number), "a number") == number


@pytest.mark.parametrize("value", ["", "-", "1/", "/2", "1/0", "1/-2", "+1", " 1", "1 ", "1\n", "1_0", "1.0", "1/2/3",
                                   "--1", "\u0661", "1" * 1001, "\ud800", 1, None, 1.0, True])
def test_what_is_no_fraction_of_integers_is_rejected(value: object) -> None:
    with pytest.raises(Rejected, match=r"a number is no text|a number is .* no fraction of integers"):
        rational(value, "a number")


@given(st.floats(-1e300, -1e-300), st.integers(2, 12))
def test_a_bound_that_is_shown_is_none_below_it(bound: float, digits: int) -> None:
    text = shown_above(bound, digits)
    assert Fraction(bound) <= Fraction(text) <= Fraction(bound) * (1 - Fraction(11, 10**digits))
    assert shown_above(-0.25, digits) == "-0.25"
