"""MILP against enumeration of phases, its limits, and the published minima."""

from __future__ import annotations

import gzip
from collections import Counter

import numpy as np
import pytest
import torch
from verify.models import digits

from tests.support.helpers import SHARED, needs_shared
from tests.support.phases import exact_maximum
from tests.support.small_nets import NETWORKS, box_around, dense, problem
from verify.bracket import Rigour
from verify.errors import UnsupportedMethod
from verify.exact.milp import MILP
from verify.exact.programs.milp_loop import Encoded, Maximise
from verify.exact.programs.obbt import tighten
from verify.ir.builder import GraphBuilder
from verify.ir.graph import Network
from verify.ir.load import load
from verify.lower.pgd import PGD
from verify.ops import Linear, ReLU, Reshape, Sigmoid
from verify.problem import Problem, robustness
from verify.sets import Box
from verify.solvers.highs import Solution, SolverStatus
from verify.solvers.objectives import CaseModel, case_of
from verify.solving import solve
from verify.spec import margins
from verify.upper.crown import CROWN, linear_boxes
from verify.upper.interval import Interval
from verify.upper.lp import LP

KINDS = ("untargeted", "conjunctive", "polytope")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_milp_is_the_maximum_over_all_phases(name: str, kind: str) -> None:
    """And the sandwich: samples <= witness <= v* <= LP <= CROWN <= interval."""
    p = problem(NETWORKS[name](7), kind, 11)
    exact = exact_maximum(p)
    milp, lp, crown, interval = (solve(p, method) for method in (MILP(), LP(), CROWN(), Interval()))
    slack = 2e-5 * (1 + abs(exact))
    assert milp.upper.item() == pytest.approx(exact, abs=slack)
    assert milp.lower.item() == pytest.approx(exact, abs=20 * slack)
    assert exact - slack <= lp.upper.item() <= crown.upper.item() + slack
    assert crown.upper.item() <= interval.upper.item() + slack
    rng = torch.Generator().manual_seed(0)
    for _ in range(50):
        assert p.violation(p.inputs.sample(rng)).item() <= exact + slack
    assert milp.above is not None
    assert milp.above.rigour is Rigour.SOLVER
    assert lp.above is not None
    assert lp.above.rigour is Rigour.FLOAT


@pytest.mark.parametrize("seed", range(6))
def test_eight_relus(seed: int) -> None:
    p = problem(dense(ReLU(), (4, 8, 3), seed), "untargeted", seed)
    exact = exact_maximum(p)
    found = solve(p, MILP())
    assert found.upper.item() == pytest.approx(exact, abs=1e-5)
    assert found.lower.item() == pytest.approx(exact, abs=1e-4)


def test_cases_are_solved_one_by_one_and_joined_by_owner() -> None:
    network = NETWORKS["relu"](3)
    ends = [box_around(network, seed) for seed in (1, 2, 3)]
    low, high = (torch.cat(side) for side in zip(*ends, strict=True))
    inputs = Box(low, high)
    p = Problem(network, inputs, margins(torch.tensor([0, 1, 2]), 3), torch.tensor([0, 0, 1]), 2)
    exact = [exact_maximum(p, case) for case in range(3)]
    found = solve(p, MILP())
    assert found.upper.tolist() == pytest.approx([max(exact[:2]), exact[2]], abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_tightened_boxes_hold_every_value(seed: int) -> None:
    p = problem(NETWORKS["residual"](seed), "untargeted", seed)
    case, notes = case_of(p, 0), Counter()
    before = linear_boxes(case.network, case.inputs)
    after = tighten(case, before, notes)
    rng = torch.Generator().manual_seed(seed)
    x = case.inputs.low + torch.rand(200, 3, generator=rng).double() * (case.inputs.high - case.inputs.low)
    values = {p.network.graph.input: x}
    for node, parameters in case.network.walk():
        values[node.name] = node.op.forward(parameters, *(values[name] for name in node.inputs))
        assert (values[node.name] >= after[node.name].low - 1e-9).all()
        assert (values[node.name] <= after[node.name].high + 1e-9).all()
        assert (after[node.name].low >= before[node.name].low).all()
        assert (after[node.name].high <= before[node.name].high).all()


def test_no_time_leaves_a_valid_bound_and_says_so() -> None:
    p = problem(dense(ReLU(), (4, 8, 3), 1), "untargeted", 1)
    found = solve(p, MILP(time_limit=0.0))
    assert found.notes["stopped"] == "time limit"
    assert np.isfinite(found.upper.item())
    assert found.upper.item() >= exact_maximum(p) - 1e-6


def test_what_cannot_be_encoded_is_refused() -> None:
    smooth = dense(Sigmoid(), (3, 4, 3), 0)
    with pytest.raises(UnsupportedMethod, match="act"):
        solve(problem(smooth, "untargeted", 0), MILP())
    relu = dense(ReLU(), (3, 4, 3), 0)
    for norm in ("l1", "l2"):
        for method in (MILP(), LP()):
            with pytest.raises(UnsupportedMethod, match=norm):
                solve(robustness(relu, torch.zeros(1, 3), [0], 0.1, norm, clip=None), method)


def tutorial() -> tuple[Network, torch.Tensor]:
    """The tutorial's small network and MNIST test image 0, a 7."""
    from safetensors.torch import load_file

    weights = load_file(SHARED / "data/tutorial/model_small.safetensors")
    b = GraphBuilder("x", (1, 28, 28))
    at = b.add("flat", Reshape((784,)), ("x",))
    for i, key in enumerate(("1", "3", "5")):
        names = tuple(b.parameter(name, weights[name]) for name in (f"{key}.weight", f"{key}.bias"))
        at = b.add("fc", Linear(), (at if i == 0 else b.add("relu", ReLU(), (at,)),), names)
    with gzip.open(SHARED / "data/mnist/t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + 784), dtype=np.uint8, offset=16)
    return b.finish(at), torch.tensor(pixels.reshape(1, 1, 28, 28) / 255, dtype=torch.float32)


@needs_shared
@pytest.mark.parametrize(("target", "published"), [(2, 2.0393), (6, 20.454)])
def test_published_minimum(target: int, published: float) -> None:
    network, x = tutorial()
    found = solve(robustness(network, x, [7], 0.05, target=target), MILP())
    digits = abs(float(f"{published:.3e}")) * 1e-4
    assert -found.upper.item() == pytest.approx(published, abs=10 * digits / 2)
    assert -found.lower.item() == pytest.approx(published, abs=10 * digits / 2)


def test_a_bound_that_highs_calls_optimal_is_not_below_a_point() -> None:
    """With its usual tolerance and few heuristics HiGHS 1.15 says -8.3687 here."""
    x, y = digits()
    stubborn = robustness(load("digits-conv-interval"), x[3:4], y[3:4], "0.04")
    point = solve(stubborn, PGD(restarts=3, stop_when_falsified=False))
    found = solve(stubborn, MILP())
    assert float(found.upper[0]) >= float(point.lower[0]) - 1e-5
    assert float(found.upper[0]) == pytest.approx(float(point.lower[0]), abs=1e-3)


def test_a_claim_below_a_point_is_refused() -> None:
    small = problem(NETWORKS["relu"](7), "untargeted", 11)
    honest = solve(small, LP()).upper

    def lies(model: CaseModel) -> Maximise:
        return lambda k: Solution(SolverStatus.OPTIMAL, -1e3, -1e3)

    answer = Encoded(lies, "Liar", "a liar", None).answer(small.merged)
    assert answer.upper is not None
    assert answer.notes["refuted"] == answer.notes["milps"] != 0
    assert "Liar claims a bound that a point refutes" in str(answer.notes["stopped"])
    assert torch.allclose(small.reduce(answer.upper).to(honest), honest)
