"""Specifications: the aggregate against a naive loop, margins, errors."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from verify.errors import InputError
from verify.spec import Specification, margins


def naive(spec: Specification, rows: Tensor) -> list[float]:
    out = []
    for case in range(spec.cases):
        worst = -math.inf
        for k in range(spec.disjuncts):
            chosen = [r for r in range(rows.shape[1]) if spec.mask[case, r] and spec.disjunct[case, r] == k]
            if chosen:
                worst = max(worst, min(float(rows[case, r]) for r in chosen))
        out.append(worst)
    return out


@st.composite
def specifications(draw: st.DrawFn) -> tuple[Specification, Tensor, Tensor]:
    """A random one with padding, and points x (cases, 3), y (cases, 2, 2) to evaluate."""
    seed, cases, rows = draw(st.integers(0, 10**6)), draw(st.integers(1, 4)), draw(st.integers(1, 6))
    source = torch.Generator().manual_seed(seed)
    disjunct = torch.randint(0, draw(st.integers(1, 4)), (cases, rows), generator=source)
    mask = torch.rand(cases, rows, generator=source) < draw(st.sampled_from([0.3, 0.8, 1.1]))
    output, offset = torch.randn(cases, rows, 4, generator=source), torch.randn(cases, rows, generator=source)
    extra = torch.randn(cases, rows, 3, generator=source) if draw(st.booleans()) else None
    x, y = torch.randn(cases, 3, generator=source), torch.randn(cases, 2, 2, generator=source)
    return Specification(output, offset, disjunct, mask, extra), x, y


@settings(deadline=None, max_examples=80)
@given(specifications())
def test_violation_equals_a_naive_loop(drawn: tuple[Specification, Tensor, Tensor]) -> None:
    spec, x, y = drawn
    rows = spec.values(x, y)
    for case in range(spec.cases):
        for r in range(rows.shape[1]):
            value = spec.output[case, r] @ y[case].flatten() - spec.offset[case, r]
            value = value if spec.input is None else value + spec.input[case, r] @ x[case]
            assert float(rows[case, r]) == pytest.approx(float(value), abs=1e-5)
    assert spec.violation(x, y).tolist() == naive(spec, rows)
    index = torch.tensor([spec.cases - 1, 0, 0])
    assert spec.select(index).violation(x[index], y[index]).tolist() == [naive(spec, rows)[i] for i in index.tolist()]
    counts = [(spec.mask[c] & (spec.disjunct[c] == k)).sum() for c in range(spec.cases) for k in range(spec.disjuncts)]
    assert spec.is_conjunctive == any(count > 1 for count in counts)


@settings(deadline=None, max_examples=40)
@given(specifications(), st.integers(0, 5), st.floats(0, 3))
def test_violation_is_monotone_in_every_row(
    drawn: tuple[Specification, Tensor, Tensor], row: int, more: float
) -> None:
    spec, x, y = drawn
    rows = spec.values(x, y)
    raised = rows.clone()
    raised[:, row % rows.shape[1]] += more
    assert bool((spec.aggregate(raised) >= spec.aggregate(rows)).all())


def test_nan_rows_stay_nan_and_padding_does_not_count() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True]])
    disjunct = torch.tensor([[0, 1, 1], [0, 1, 1]])
    spec = Specification(torch.zeros(2, 3, 1), torch.zeros(2, 3), disjunct, mask)
    found = spec.aggregate(torch.tensor([[1.0, 2.0, torch.nan], [1.0, 2.0, torch.nan]]))
    assert float(found[0]) == 2.0
    assert bool(found[1].isnan())


def test_a_case_without_rows_is_never_violated() -> None:
    shape = (1, 2)
    spec = Specification(torch.zeros(1, 2, 3), torch.zeros(shape), torch.zeros(shape).long(), torch.zeros(shape) > 0)
    assert float(spec.violation(torch.zeros(1, 1), torch.ones(1, 3))) == -math.inf


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_untargeted_margins(dtype: torch.dtype) -> None:
    y, labels = torch.randn(5, 4), torch.tensor([0, 3, 2, 1, 0], dtype=dtype)
    found = margins(labels, 4).violation(torch.zeros(5, 1), y)
    for i, label in enumerate(labels.tolist()):
        assert float(found[i]) == pytest.approx(max(float(y[i, j] - y[i, label]) for j in range(4) if j != label))


def test_targeted_margins() -> None:
    y, labels = torch.randn(3, 4, dtype=torch.float64), torch.tensor([0, 3, 2])
    one = margins(labels, 4, 1, torch.float64).violation(torch.zeros(3, 1), y)
    assert torch.equal(one, y[:, 1] - y[range(3), labels])
    each = margins(labels, 4, torch.tensor([1, 2, 0]), torch.float64).violation(torch.zeros(3, 1), y)
    assert torch.equal(each, y[range(3), [1, 2, 0]] - y[range(3), labels])


def test_errors_say_what_is_wrong() -> None:
    labels = torch.tensor([0, 2])
    with pytest.raises(InputError, match=r"label 3 of sample 1 is out of range; the network has 3 classes"):
        margins(torch.tensor([0, 3]), 3)
    with pytest.raises(InputError, match=r"label -1 of sample 0"):
        margins(torch.tensor([-1, 0]), 3)
    with pytest.raises(InputError, match="must be integer"):
        margins(torch.tensor([0.0]), 3)
    with pytest.raises(InputError, match="labels are booleans; pass class numbers"):
        margins(torch.tensor([True, False]), 3)
    with pytest.raises(InputError, match=r"1 output has no wrong class; .* linear rows, or VNN-LIB"):
        margins(torch.tensor([0]), 1)
    with pytest.raises(InputError, match="target 7"):
        margins(labels, 3, 7)
    with pytest.raises(InputError, match="is its label"):
        margins(labels, 3, 2)
    with pytest.raises(InputError, match="3 targets but 2 labels"):
        margins(labels, 3, torch.tensor([1, 1, 1]))
    with pytest.raises(InputError, match="targets have shape"):
        margins(labels, 3, torch.tensor([[1], [1]]))
    shape = (1, 2)
    with pytest.raises(InputError, match="disagree"):
        Specification(torch.zeros(1, 2, 3), torch.zeros(1, 1), torch.zeros(shape).long(), torch.ones(shape) > 0)
    with pytest.raises(InputError, match="not finite"):
        Specification(torch.zeros(1, 2, 3), torch.ones(shape) / 0, torch.zeros(shape).long(), torch.ones(shape) > 0)
