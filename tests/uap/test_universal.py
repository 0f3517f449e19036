"""One perturbation of many samples: what counts as fooled, the two attacks, and rates on other samples and models."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest
import torch
from torch import Tensor

import verify
from tests.support.small_nets import dense
from verify.ir.builder import GraphBuilder
from verify.ir.graph import Network
from verify.ops import Linear, ReLU
from verify.rationals import exact_array
from verify.uap.deepfool import way_out
from verify.uap.method import BestDelta, SharedAnswer, SharedMethod
from verify.uap.problem import SharedProblem, shared_problem

QUICK = (verify.UAP(epochs=3), verify.StochasticUAP(epochs=8, restarts=1))


def linear(weight: Tensor, bias: Tensor) -> Network:
    """The classifier W x + b."""
    builder = GraphBuilder("x", (weight.shape[1],))
    parameters = builder.parameter("w", weight), builder.parameter("b", bias)
    return builder.finish(builder.add("fc", Linear(), ("x",), parameters))


def exact_margins(
    weight: Tensor, bias: Tensor, x: Tensor, delta: Tensor, clip: tuple[int, int] | None
) -> list[Fraction]:
    """max over j != y of h_j - h_y of a linear classifier at x + delta, clipped, in rationals; y is predicted at x."""
    w, b, moved = exact_array(weight), exact_array(bias), exact_array(x) + exact_array(delta)
    if clip is not None:
        moved = [[min(max(value, Fraction(clip[0])), Fraction(clip[1])) for value in row] for row in moved.tolist()]
    found = []
    for row, clean in zip(moved, exact_array(x), strict=True):
        before, after = (w @ clean + b).tolist(), (w @ row + b).tolist()
        y = before.index(max(before))
        found.append(max(after[j] - after[y] for j in range(len(after)) if j != y))
    return found


@pytest.mark.parametrize(("norm", "clip"), [("linf", None), ("linf", (0, 1)), ("l2", None), ("l1", (0, 1))])
def test_what_is_fooled_is_fooled_in_rationals_and_lies_in_the_ball(norm: str, clip: tuple[int, int] | None):
    rng = torch.Generator().manual_seed(3)
    weight, bias = torch.randn(3, 6, generator=rng), torch.randn(3, generator=rng) / 4
    x, eps = torch.rand(12, 6, generator=rng), {"linf": "1/5", "l2": "2/5", "l1": "3/2"}[norm]
    found = verify.universal(linear(weight, bias), x, eps=eps, norm=norm, clip=clip, methods=QUICK)
    margins = exact_margins(weight, bias, x, found.delta, clip)
    assert found.fooled.tolist() == [margin >= 0 for margin in margins]
    size = [abs(d) for d in exact_array(found.delta).tolist()]
    lengths = {"linf": max(size), "l1": sum(size), "l2": sum(d * d for d in size)}
    assert lengths[norm] <= Fraction(eps) ** (2 if norm == "l2" else 1)
    assert 0 < found.lower <= found.upper == 12
    assert {name: one.count <= found.lower for name, one in found.methods.items()} == {"UAP": True, "SGD-UAP": True}


def test_deepfool_takes_the_shortest_way_out_of_a_linear_region():
    network = linear(torch.tensor([[0.0, 0.0], [3.0, 4.0], [-8.0, 6.0]]), torch.tensor([0.0, -1.0, -3.0]))
    x = torch.zeros(1, 2)
    problem = shared_problem(network, x, None, 1, "l2", None).each
    way = way_out(problem, x[0], 5, 0.0)  # distances 1/5 and 3/10
    torch.testing.assert_close(way, torch.tensor([0.6, 0.8]) / 5, rtol=1e-5, atol=1e-6)
    assert float(problem.violation(x + 1.02 * way)) > 0


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_algorithm_1_ends_once_enough_are_fooled(share: float):
    network, x = dense(ReLU(), (4, 8, 3), seed=1), torch.rand(10, 4, generator=torch.Generator().manual_seed(0))
    found = verify.universal(network, x, eps=2, methods=[verify.UAP(delta=share, epochs=12)])
    epochs = found.methods["UAP"].notes["epochs"]
    assert epochs == 12 if share == 0 and found.lower < 10 else epochs in range(1, 12)
    assert found.lower >= 5
    same = verify.universal(network, x, eps=2, methods=[verify.UAP(delta=share, epochs=12)])
    assert torch.equal(found.delta, same.delta)


def test_nothing_is_fooled_where_nothing_can_be():
    constant = linear(torch.zeros(4, 3), torch.tensor([0.0, 1.0, 2.0, 1.0]))
    x = torch.rand(1, 3, generator=torch.Generator().manual_seed(0))
    found = verify.universal(constant, x, eps=1, methods=QUICK)
    assert (found.lower, found.upper, found.rate) == (0, 1, 0)
    still = verify.universal(dense(ReLU(), (3, 5, 2), seed=0), x, eps=0, methods=QUICK)
    assert (still.lower, bool(still.delta.any())) == (0, False)


def test_labels_count_samples_that_are_wrong_already():
    network, x = dense(ReLU(), (4, 8, 3), seed=1), torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    wrong = (network(x).argmax(1) + 1) % 3
    assert verify.universal(network, x, wrong, eps=0, methods=QUICK).lower == 5


def test_a_penalty_keeps_perturbations_small():
    network, x = dense(ReLU(), (4, 8, 3), seed=1), torch.rand(10, 4, generator=torch.Generator().manual_seed(0))
    methods = [verify.StochasticUAP(epochs=6, penalty=penalty) for penalty in (0, 50)]
    free, bound = (verify.universal(network, x, eps=1, methods=[method]) for method in methods)
    assert free.lower > 0
    assert bound.delta.norm() < free.delta.norm() / 2


def test_rates_on_other_samples_and_models():
    rng = torch.Generator().manual_seed(0)
    networks = {"first": dense(ReLU(), (4, 8, 3), seed=1), "second": dense(ReLU(), (4, 8, 3), seed=2)}
    x, new = torch.rand(10, 4, generator=rng), torch.rand(600, 4, generator=rng)
    found = verify.universal(networks["first"], x, eps=1, clip=(0, 1), methods=QUICK)
    table = verify.transfer(networks, {"found": found.delta, "none": torch.zeros(4)}, new, clip=(0, 1))
    for name, network in networks.items():
        moved = (new + found.delta).clamp(0, 1)
        by_hand = (network(moved).argmax(1) != network(new).argmax(1)).double().mean()
        assert table["found"][name] == pytest.approx(float(by_hand))
        assert table["none"][name] == 0
    assert found.fooling_rate(new) == table["found"]["first"] > 0
    labels = torch.zeros(600, dtype=torch.long)
    wrong = (networks["first"]((new + found.delta).clamp(0, 1)).argmax(1) != 0).double().mean()
    assert found.fooling_rate(new, labels) == pytest.approx(float(wrong))


@dataclass(frozen=True)
class Liar(SharedMethod):
    """Claims that nothing is fooled."""

    @property
    def name(self) -> str:
        return "liar"

    def answer(self, problem: SharedProblem, best: BestDelta) -> SharedAnswer:
        return SharedAnswer((torch.full((4,), 7.0),), upper=0)


def test_a_wrong_bound_is_a_contradiction_and_points_are_projected():
    network, x = dense(ReLU(), (4, 8, 3), seed=1), torch.rand(10, 4, generator=torch.Generator().manual_seed(0))
    alone = verify.universal(network, x, eps="1/1000", methods=[Liar()])
    assert (alone.lower, alone.upper, alone.closed) == (0, 0, True)
    delta = alone.methods["liar"].delta
    assert delta is not None
    assert float(delta.abs().max()) <= 1 / 1000
    with pytest.raises(verify.Contradiction, match="liar allows 0"):
        verify.universal(network, x, eps=1, methods=[*QUICK, Liar()])


def test_what_does_not_fit_is_said():
    network, x = dense(ReLU(), (4, 8, 3), seed=1), torch.ones(2, 4)
    with pytest.raises(verify.InputError, match="at least one"):
        verify.universal(network, x[:0], eps=1)
    with pytest.raises(verify.InputError, match=r"verify\.UAP\(\)"):
        verify.universal(network, x, eps=1, methods=[verify.UAP])  # type: ignore[list-item]
    with pytest.raises(verify.InputError, match="one perturbation of many samples, not PGD"):
        verify.universal(network, x, eps=1, methods=[verify.PGD()])  # type: ignore[list-item]
    with pytest.raises(verify.InputError, match="takes a list of them"):
        verify.universal(network, x, eps=1, methods=verify.UAP())  # type: ignore[arg-type]
    with pytest.raises(verify.InputError, match=r"y has shape \(1,\)"):
        verify.fooling_rate(network, x, torch.zeros(4), y=torch.zeros(1))
    assert verify.fooling_rate(network, x.numpy(), torch.zeros(4)) == 0  # pyright: ignore[reportArgumentType]
    with pytest.raises(verify.InputError, match="one name"):
        verify.universal(network, x, eps=1, methods=[verify.UAP(), verify.UAP(epochs=2)])
    with pytest.raises(verify.InputError, match="delta=2"):
        verify.UAP(delta=2)
    with pytest.raises(verify.InputError, match="penalty=-1"):
        verify.StochasticUAP(penalty=-1)
    with pytest.raises(verify.InputError, match="lower end"):
        verify.universal(network, x, eps=1, clip=(1, 1), methods=QUICK)
    with pytest.raises(verify.InputError, match="cannot be added"):
        verify.fooling_rate(network, x, torch.zeros(5))
    late = verify.universal(network, x, eps=1, time_limit=0)
    assert late.methods["UAP"].notes["stopped"]
