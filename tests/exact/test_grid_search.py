"""Branch and bound and MILP over grids against all points, and where the box says the opposite."""

from __future__ import annotations

import pytest
import torch

import verify
from tests.support.grids import brute, dense, image, tents
from verify.bracket import Verdict
from verify.exact.search import branching_choice
from verify.upper.duals.proof_log import ProofLog

NEAR = 2e-5


@pytest.mark.parametrize("seed", range(2))
def test_the_maximum_over_a_grid_is_that_of_all_its_points(seed: int) -> None:
    levels, source = 16, torch.Generator().manual_seed(seed)
    x = image(torch.randint(0, levels + 1, (4,), generator=source).tolist(), levels)
    network = dense(4, seed)
    problem = verify.robustness(network, x, network(x).argmax(1), "1/8", grid=levels)
    expected = brute(problem, levels)
    for method in (verify.BranchAndBound(goal="optimum", gap=1e-6), verify.MILP()):
        found = verify.solve(problem, method)
        assert found.upper.item() == pytest.approx(expected, abs=NEAR)
        assert found.upper.item() >= expected - 2e-6 * (method.name == "MILP")
        assert found.lower.item() == pytest.approx(expected, abs=NEAR)
        assert found.witness is not None
        assert bool(problem.inputs.contains(found.witness).all())


@pytest.mark.parametrize("seed", [0])
def test_levels_are_split_where_many_inputs_vary(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if 1 input were many: all that varies more is searched as a box, and its levels are split."""
    monkeypatch.setattr(branching_choice, "FEW", 1)
    levels, source = 8, torch.Generator().manual_seed(seed)
    x = image(torch.randint(0, levels + 1, (4,), generator=source).tolist(), levels)
    for network in (dense(4, seed), tents(levels, 4, seed)):
        problem = verify.robustness(network, x, [0], "1/4", grid=levels)
        expected = brute(problem, levels)
        found = verify.solve(problem, verify.BranchAndBound(goal="optimum", gap=1e-5))
        assert found.lower.item() - 1e-6 <= expected <= found.upper.item() <= expected + NEAR
        for log in (None, ProofLog()):  # with one the box is tried first
            decided = verify.solve(problem, verify.BranchAndBound(), proof_log=log).verdicts[0]
            assert decided is (Verdict.FALSIFIED if expected >= 0 else Verdict.VERIFIED)


@pytest.mark.parametrize("inputs", [1, 3])
def test_what_lies_between_the_levels_is_not_in_the_grid(inputs: int) -> None:
    levels = 16
    network, x = tents(levels, inputs, seed=1), image([8] * inputs, levels)
    over_box = verify.solve(verify.robustness(network, x, [0], "1/2"), verify.BranchAndBound())
    assert over_box.verdicts[0] is Verdict.FALSIFIED
    problem = verify.robustness(network, x, [0], "1/2", grid=levels)
    assert verify.solve(problem, verify.BranchAndBound()).verdicts[0] is Verdict.VERIFIED
    for method in (verify.BranchAndBound(goal="optimum", gap=1e-6), verify.MILP()):
        assert verify.solve(problem, method).upper.item() == pytest.approx(-inputs / 2, abs=NEAR)
