"""Parsing of numbers and their outward rounding, against fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.errors import InputError
from verify.rationals import exact_array, rational, round_down, round_up, unit_fraction

DTYPES = (torch.float32, torch.float64)


@pytest.mark.parametrize(("written", "meant"), [
    ("8/255", Fraction(8, 255)), (" 8 / 255 ", Fraction(8, 255)), ("1e-3", Fraction(1, 1000)),
    ("-0.25", Fraction(-1, 4)), ("1e-3/2", Fraction(1, 2000)), ("+.5", Fraction(1, 2)),
    (3, Fraction(3)), (0.1, Fraction(1, 10)), (1e-9, Fraction(1, 10**9)),
    (Fraction(2, 3), Fraction(2, 3)), (np.float64(0.1), Fraction(1, 10)), (np.float32(0.1), Fraction(1, 10)),
    (np.int64(2**62), Fraction(2**62)), ("1/-2", Fraction(-1, 2)),
])
def test_numbers_are_read_as_written(written: object, meant: Fraction):
    found = rational(written)  # pyright: ignore
    assert found == meant
    assert type(found.numerator) is int


@pytest.mark.parametrize("written", [
    "1/0", "0/0", "nan", "inf", "-inf", "", " ", "/", "1/", "1/2/3", "eps", "0x10", "1,5", "nan/2", "1/inf",
    float("nan"), float("inf"), None, [1], True, False, np.True_,
])
def test_what_is_no_finite_number_is_refused(written: object):
    with pytest.raises(InputError, match=r"clip .* is not a finite number; write for example"):
        rational(written, "clip")  # pyright: ignore


def _largest(dtype: torch.dtype) -> Fraction:
    return Fraction(torch.finfo(dtype).max)


@st.composite
def rationals(draw: st.DrawFn, dtype: torch.dtype) -> Fraction:
    """Near floats of every size, on them, between them, and anywhere."""
    width = 32 if dtype == torch.float32 else 64
    near = Fraction(draw(st.floats(allow_nan=False, allow_infinity=False, width=width)))
    shift = draw(st.sampled_from([0, 1, -1])) * Fraction(1, 1 << draw(st.integers(1, 1200)))
    anywhere = draw(st.fractions(-10, 10)) * Fraction(10) ** draw(st.integers(-50, 30))
    value = draw(st.sampled_from([near, near + shift, near * (1 + shift), anywhere]))
    return max(-_largest(dtype), min(value, _largest(dtype)))


@pytest.mark.parametrize("dtype", DTYPES, ids=("float32", "float64"))
@given(data=st.data())
@settings(deadline=None, max_examples=200)
def test_rounding_is_outward_and_tight(dtype: torch.dtype, data: st.DataObject):
    value = data.draw(rationals(dtype))
    array = np.array([[value]], dtype=object)
    down, up = round_down(array, dtype), round_up(array, dtype)
    assert down.dtype == up.dtype == dtype
    assert down.shape == up.shape == (1, 1)
    low, high = Fraction(down.item()), Fraction(up.item())
    assert low <= value <= high
    if low == high:
        assert value == low
    else:  # neighbours
        after = torch.nextafter(down, torch.full_like(down, torch.inf))
        assert after.item() == up.item()
        assert low < value < high


@pytest.mark.parametrize("dtype", DTYPES, ids=("float32", "float64"))
def test_rounding_of_subnormals_and_of_the_largest_numbers(dtype: torch.dtype):
    least = Fraction(torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps)
    tiny = np.array([least / 3, -least / 3, least, 5 * least / 2], dtype=object)
    assert [Fraction(v) / least for v in round_down(tiny, dtype).tolist()] == [0, -1, 1, 2]
    assert [Fraction(v) / least for v in round_up(tiny, dtype).tolist()] == [1, 0, 1, 3]
    for beyond in (_largest(dtype) + least, -_largest(dtype) * 2, Fraction(10) ** 5000):
        for outward in (round_down, round_up):
            with pytest.raises(InputError, match="beyond the largest float"):
                outward(np.array([Fraction(0), beyond], dtype=object), dtype)
    edge = np.array([_largest(dtype), -_largest(dtype)], dtype=object)
    assert torch.equal(round_down(edge, dtype), round_up(edge, dtype))


def test_rounding_knows_two_dtypes():
    with pytest.raises(InputError, match="bfloat16"):
        round_up(np.array([Fraction(1)], dtype=object), torch.bfloat16)


def test_exact_array_holds_the_values():
    x = torch.tensor([[0.1, -2.5], [1e-45, 3e38]])
    assert exact_array(x).tolist() == [[Fraction(v) for v in row] for row in x.double().tolist()]
    assert exact_array(torch.zeros(0, 3)).shape == (0, 3)
    for bad in (torch.nan, torch.inf):
        with pytest.raises(InputError, match="not finite"):
            exact_array(torch.tensor([1.0, bad]))


@given(st.integers(1, 1 << 26))
@settings(deadline=None, max_examples=200)
def test_unit_fractions_are_recovered(n: int):
    assert unit_fraction(1 / n) == Fraction(1, n)
