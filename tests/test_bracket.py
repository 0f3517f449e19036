"""Brackets: verdicts, meeting, contradictions, NaN."""

from __future__ import annotations

import pytest
import torch

from verify.bracket import Bracket, Rigour, Side, Verdict
from verify.errors import Contradiction, InputError

NAN, INF = torch.nan, torch.inf


def bracket(lower: list[float], upper: list[float], name: str = "a", rigour: Rigour = Rigour.FLOAT) -> Bracket:
    witness = torch.tensor(lower)[:, None].expand(-1, 2).clone()
    return Bracket(torch.tensor(lower), torch.tensor(upper), witness, Side(name, rigour), Side(name, rigour))


def test_verdicts() -> None:
    found = bracket([-INF, -3.0, -1.0, 0.0, 2.0, -INF], [INF, -1.0, 0.0, 0.0, 5.0, -INF]).verdicts
    known = [Verdict.UNKNOWN, Verdict.VERIFIED, Verdict.UNKNOWN, Verdict.FALSIFIED, Verdict.FALSIFIED, Verdict.VERIFIED]
    assert found == known


def test_nan_never_verifies_and_never_falsifies() -> None:
    assert bracket([NAN, -1.0, NAN], [1.0, NAN, NAN]).verdicts == [Verdict.UNKNOWN] * 3


def test_a_witness_outweighs_a_bound_within_the_tolerance() -> None:
    assert bracket([1e-7], [-1e-7]).check().verdicts == [Verdict.FALSIFIED]


def test_meet_takes_the_better_side_with_its_witness() -> None:
    met = bracket([-3.0, -1.0, -INF], [1.0, 2.0, INF]).meet(bracket([-2.0, -4.0, -INF], [3.0, 0.5, -1.0], "b"))
    assert met.lower.tolist() == [-2.0, -1.0, -INF]
    assert met.upper.tolist() == [1.0, 0.5, -1.0]
    assert met.witness is not None
    assert met.witness[:, 0].tolist() == [-2.0, -1.0, -INF]
    assert met.below is not None
    assert met.below.method == "a+b"
    assert met.gap[:2].tolist() == [3.0, 1.5]


def test_meet_lets_nan_yield_to_a_number() -> None:
    met = bracket([NAN, -1.0], [NAN, 2.0]).meet(bracket([-2.0, NAN], [1.0, NAN]))
    assert met.lower.tolist() == [-2.0, -1.0]
    assert met.upper.tolist() == [1.0, 2.0]
    other = bracket([-2.0, -1.0], [1.0, 2.0]).meet(bracket([NAN, NAN], [NAN, NAN]))
    assert other.lower.tolist() == [-2.0, -1.0]
    assert other.upper.tolist() == [1.0, 2.0]


def test_meet_takes_the_only_witness_and_the_only_side() -> None:
    bound = Bracket(torch.tensor([-INF]), torch.tensor([1.0]), above=Side("bound", Rigour.PROVED))
    attack = Bracket(torch.tensor([0.5]), torch.tensor([INF]), torch.ones(1, 2), below=Side("attack", Rigour.FLOAT))
    for met in (bound.meet(attack), attack.meet(bound)):
        assert met.witness is not None
        assert met.below == attack.below
        assert met.above == bound.above
        assert met.verdicts == [Verdict.FALSIFIED]


def test_a_mixed_side_keeps_the_weaker_rigour() -> None:
    proved = bracket([-1.0, -1.0], [1.0, 5.0], "p", Rigour.PROVED)
    solved = bracket([-1.0, -1.0], [3.0, 2.0], "s", Rigour.SOLVER)
    met = proved.meet(solved)
    assert met.above is not None
    assert (met.above.method, met.above.rigour) == ("p+s", Rigour.SOLVER)


@pytest.mark.parametrize(("lower", "upper"), [(1.0, 0.5), (INF, 3.0), (3.0, -INF), (1001.0, 1000.0)])
def test_crossing_is_a_contradiction_with_a_bundle(lower: float, upper: float) -> None:
    attack, bound = bracket([-1.0, lower], [INF, INF], "attack"), bracket([-INF, -INF], [0.0, upper], "bound")
    with pytest.raises(Contradiction, match=r"problem 1: attack found a point .* upper bound .* of bound") as caught:
        attack.meet(bound)
    assert caught.value.bundle["problems"] == [1]
    assert caught.value.bundle["sides"] == (attack, bound)
    with pytest.raises(Contradiction) as again:
        bracket([lower], [upper]).check({"seed": 3})
    assert again.value.bundle["seed"] == 3


def test_float_sides_may_cross_by_the_tolerance_and_proved_sides_may_not() -> None:
    assert bracket([100.0], [99.9995]).check() is not None
    with pytest.raises(Contradiction):
        bracket([100.0], [99.9995], rigour=Rigour.PROVED).check()
    with pytest.raises(Contradiction):
        bracket([100.0], [99.5]).check()


def test_ends_that_no_method_gave_do_not_cross() -> None:
    with pytest.raises(InputError, match="problem 1 has the lower end 2 above the upper end 1"):
        Bracket(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 1.0]))
    with pytest.raises(InputError, match="two tensors"):
        Bracket(torch.zeros(2), torch.zeros(3))


def test_batches_must_match() -> None:
    with pytest.raises(InputError, match="cannot meet"):
        bracket([0.0], [1.0]).meet(bracket([0.0, 0.0], [1.0, 1.0]))


def test_parts_of_a_batch() -> None:
    whole = Bracket(torch.tensor([-1.0, 0.5, -2.0]), torch.tensor([1.0, 1.0, -1.0]), torch.arange(6.0).reshape(3, 2),
                    rounding=torch.tensor([0.0, 0.1, 0.2]), marks=(7, 8, 9))
    for index, places in ((1, [1]), (slice(1, None), [1, 2]), ([2, 0], [2, 0]), (-1, [2])):
        part = whole.select(index)
        for mine, all_ in ((part.lower, whole.lower), (part.witness, whole.witness), (part.rounding, whole.rounding)):
            assert mine is not None
            assert all_ is not None
            assert torch.equal(mine, all_[places])
        assert part.marks == tuple((7, 8, 9)[k] for k in places)
    with pytest.raises(IndexError):
        whole.select(3)


def test_a_bracket_shows_itself_as_a_table() -> None:
    side = Side("CROWN<1>", Rigour.FLOAT)
    shown = repr(Bracket(torch.tensor([-torch.inf, 0.25]), torch.tensor([-1 / 3, 0.5]), above=side)).splitlines()
    assert shown[0] == "Bracket (upper by CROWN<1>)"
    assert [line.split() for line in shown[1:]] == [
        ["problem", "lower", "upper", "verdict"], ["0", "-inf", "-0.333333", "verified"],
        ["1", "0.25", "0.5", "falsified"],
    ]
    long = Bracket(torch.zeros(50), torch.ones(50), above=side)
    assert repr(long).splitlines()[-1].split() == ["..", "30", "more"]
    html = long._repr_html_()
    assert html.count("<tr>") == 22
    assert "CROWN&lt;1&gt;" in html
