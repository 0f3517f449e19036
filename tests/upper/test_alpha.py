"""AlphaCROWN against enumeration, attacks, float64 samples and published bounds; networks without dead neurons."""

from __future__ import annotations

import csv

import pytest
import torch
from torch import nn

import verify
from tests.support.helpers import SHARED, needs_shared
from tests.support.nets import nets, seeded
from tests.support.phases import exact_maximum
from tests.support.small_nets import NETWORKS, problem
from verify.bracket import Verdict
from verify.errors import InputError
from verify.ops.base import IntervalBounds
from verify.problem import Problem
from verify.sets import Ball
from verify.solving import solve
from verify.spec import margins
from verify.upper.alpha_crown import AlphaCROWN, alpha_row_bounds
from verify.upper.crown import CROWN, linear_boxes, linear_row_bounds
from verify.upper.duals.prefix import Stage
from verify.upper.duals.prune import live_entries, pruned
from verify.upper.duals.root_bounds import Root

NETS = nets()
FOLDER = SHARED / "vnncomp" / "mnist_fc"


def problem_of(name: str, norm: str, eps: str, batch: int = 4) -> Problem:
    """Balls around random points and the rows of their own classes."""
    net = NETS[name]
    x = torch.rand((batch, *net.input_shape), generator=torch.Generator().manual_seed(3))
    return verify.robustness(net, x, net(x).argmax(1), eps=eps, norm=norm)


KINDS = [(name, kind) for name in NETWORKS for kind in ("untargeted", "conjunctive", "polytope")]


@pytest.mark.parametrize(("name", "kind"), [pair for pair in KINDS if pair[0] != "conv" or pair[1] == "untargeted"])
def test_bounds_lie_between_the_maximum_over_all_phases_and_crown(name: str, kind: str) -> None:
    p = problem(NETWORKS[name](5), kind, 6)
    exact, crown, found = exact_maximum(p), float(solve(p, CROWN()).upper[0]), float(solve(p, AlphaCROWN()).upper[0])
    slack = 2e-5 * (1 + abs(exact))
    assert exact - slack <= found <= crown + slack


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", NETS)
def test_bounds_lie_above_attacks_and_tighten_crown(name: str, norm: str) -> None:
    p = problem_of(name, norm, "1/10")
    attack, crown, alpha = (solve(p, method) for method in (verify.PGD(steps=20), CROWN(), AlphaCROWN()))
    attack.meet(alpha)
    assert bool((alpha.upper <= crown.upper + 1e-6).all())


@pytest.mark.parametrize("name", NETS)
def test_ranges_and_rows_hold_in_float64(name: str) -> None:
    p = problem_of(name, "linf", "1/10", batch=2)
    root, wide = Root.of(p, 5), p.in_float64
    rows = alpha_row_bounds(p, 6, 3)
    rng = torch.Generator().manual_seed(1)
    for _ in range(40):
        x = wide.inputs.sample(rng)
        values = {root.in_float64.network.graph.input: x}
        for node, weights in root.in_float64.network.walk():
            values[node.name] = node.op.forward(weights, *(values[key] for key in node.inputs))
        z = torch.cat([values[s.source].flatten(1)[:, s.tracked] for s in root.in_float64.layers.values()], 1)
        slack = 1e-12 * (1 + z.abs())
        assert bool(((z >= root.low - slack) & (z <= root.high + slack)).all())
        assert bool((wide.spec.values(x, wide.network(x)) <= rows + 1e-12).all())


@pytest.mark.parametrize("name", NETS)
def test_a_batch_equals_its_samples_and_float64_the_network_in_float64(name: str) -> None:
    p = problem_of(name, "linf", "1/20")
    together = alpha_row_bounds(p, 4, 3)
    alone = torch.cat([alpha_row_bounds(p.select(torch.tensor([i])), 4, 3) for i in range(4)])
    assert torch.allclose(together, alone, rtol=1e-3, atol=1e-3)
    assert torch.allclose(together, alpha_row_bounds(p.in_float64.merged, 4, 3), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["dense", "conv", "residual"])
def test_slopes_of_their_own_tighten_rows_and_ranges(name: str) -> None:
    p = problem_of(name, "linf", "1/4")
    crown = linear_row_bounds(p.network, p.inputs, p.spec).double()
    rows = alpha_row_bounds(p, 20, 10)
    assert bool((rows <= crown + 1e-6).all())
    assert bool((rows < crown - 1e-3).any())
    few, many = Root.of(p, 2), Root.of(p, 20)
    assert float((many.high - many.low).sum()) <= float((few.high - few.low).sum())


@pytest.mark.parametrize("name", ["dense", "clipped", "residual"])
def test_a_pruned_network_equals_the_whole_one_on_its_boxes(name: str) -> None:
    net = NETS[name].double()
    x = torch.rand((3, *net.input_shape), generator=torch.Generator().manual_seed(2)).double()
    inputs = Ball(x, "1/50")
    boxes = linear_boxes(net, inputs)
    live = live_entries(net, boxes)
    small, shrunk = pruned(net, boxes, live)
    if name == "dense":
        assert sum(map(len, live.values())) < 32
    for key, index in live.items():
        assert torch.equal(shrunk[key].low, boxes[key].low[:, index])
    rng = torch.Generator().manual_seed(4)
    for _ in range(20):
        point = inputs.sample(rng)
        assert torch.allclose(small(point), net(point), rtol=1e-12, atol=1e-12)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="steps=0"):
        AlphaCROWN(steps=0)
    with pytest.raises(InputError, match="neuron_steps=-1"):
        AlphaCROWN(neuron_steps=-1)


def test_cases_that_crown_verifies_keep_its_bound() -> None:
    p = problem_of("dense", "linf", "1/100")
    crown, alpha = solve(p, CROWN()), solve(p, AlphaCROWN())
    verified = crown.upper < 0
    assert bool(verified.any())
    assert torch.equal(alpha.upper[verified], crown.upper[verified])


def test_a_network_without_nonlinear_nodes() -> None:
    net = verify.trace(torch.nn.Linear(4, 3), torch.zeros(1, 4))
    p = verify.robustness(net, torch.rand(2, 4), [0, 1], eps="1/10", clip=None)
    assert torch.allclose(alpha_row_bounds(p, 3, 2).float(), linear_row_bounds(p.network, p.inputs, p.spec), atol=1e-6)
    spec = margins(torch.zeros(2, dtype=torch.long), 3)
    assert alpha_row_bounds(Problem(net, p.inputs, spec, p.owner, 2), 1, 1).shape == (2, 2)


def stored(method: str, nets: str) -> list[dict[str, str]]:
    """Rows of the published bounds of auto_LiRPA."""
    with (SHARED / "baselines" / "auto_lirpa_bounds.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["method"] == method and nets in row["onnx"]]


@needs_shared
@pytest.mark.parametrize("net", ["256x2", "256x4"])
def test_bounds_are_as_tight_as_twenty_steps_of_auto_lirpa(net: str) -> None:
    for row in stored("alpha20", net):
        p = verify.from_vnnlib(verify.load(FOLDER / row["onnx"]), verify.read_vnnlib(FOLDER / row["vnnlib"])).merged
        bounds = -alpha_row_bounds(p, AlphaCROWN().steps, AlphaCROWN().neuron_steps)
        for ours, theirs in ((bounds.min(), float(row["min_bound"])), (bounds.mean(), float(row["mean_bound"]))):
            assert float(ours) >= theirs - 1e-4 * abs(theirs)


@needs_shared
def test_no_satisfiable_property_is_verified() -> None:
    with (FOLDER / "expected.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if "256x2" in row["onnx"]]
    net, verified = verify.load(FOLDER / rows[0]["onnx"]), 0
    for row in rows:
        bracket = solve(verify.from_vnnlib(net, verify.read_vnnlib(FOLDER / row["vnnlib"])), AlphaCROWN())
        assert not (row["verdict"] == "sat" and float(bracket.upper[0]) < 0)
        verified += float(bracket.upper[0]) < 0
    assert verified >= 8


@pytest.mark.parametrize("shape", [(2, 12, 12), (1, 9, 14)])
@pytest.mark.parametrize("act", [nn.ReLU(), nn.LeakyReLU(0.1)])
def test_patches_give_the_bounds_of_the_whole_network(shape: tuple[int, ...], act: nn.Module) -> None:
    """Strides, paddings, dilation and groups; windows that reach over the edge; several samples."""
    layers = nn.Sequential(
        nn.Conv2d(shape[0], 4, (3, 2), (2, 1), (1, 0)), act, nn.Conv2d(4, 4, 2, 1, 1, groups=2), act,
        nn.Conv2d(4, 3, 2, 2, 0, dilation=(1, 2)), act, nn.Flatten(), nn.LazyLinear(3),
    )
    example = torch.zeros(1, *shape)
    layers(example)
    net = verify.trace(seeded(layers, 5), example)
    x = torch.rand((2, *shape), generator=torch.Generator().manual_seed(6))
    p = verify.robustness(net, x, net(x).argmax(1), eps="1/10").merged
    root, met = Root.of(p, 2), 0
    for activation in list(root.dual.layers.values())[1:]:
        stage = Stage.of(root.dual, root.in_float64, IntervalBounds(root.low, root.high), activation.span.start)
        patch = stage.before(activation.source)
        met += patch is not stage
        ranges = IntervalBounds(root.low[:, activation.span], root.high[:, activation.span])
        owner, index = activation.unstable(ranges).nonzero(as_tuple=True)
        sign = torch.where(torch.arange(len(owner)) % 2 == 0, 1.0, -1.0)
        for steps in (1, 4):
            entries = activation.source, activation.tracked[index], sign, owner, steps
            ends = [s.entries(*entries, None) for s in (stage, patch)]
            assert torch.allclose(*ends, rtol=1e-5, atol=1e-5)
    assert met == 2


@pytest.mark.parametrize(("norm", "eps", "maximum"), [("l1", "1/2", 4.0), ("l2", "1/5", 5 - 10 * (0.6 - 0.2 * 8**0.5))])
def test_a_neuron_that_is_stable_in_the_ball_but_not_at_the_middle_of_its_hull(
    norm: str, eps: str, maximum: float
) -> None:
    """y = (0, 5 - 10 relu(0.6 - sum x)) around x = 0, clipped: the ball keeps sum x below 0.6, its hull does not."""
    module = nn.Sequential(nn.Linear(8, 1), nn.ReLU(), nn.Linear(1, 2))
    weights = (-torch.ones(1, 8), torch.tensor([0.6]), torch.tensor([[0.0], [-10.0]]), torch.tensor([0.0, 5.0]))
    module.load_state_dict(dict(zip(("0.weight", "0.bias", "2.weight", "2.bias"), weights, strict=True)))
    network = verify.trace(module, torch.zeros(1, 8))
    problem = verify.robustness(network, torch.zeros(1, 8), [0], eps, norm)
    for method in (verify.CROWN(), verify.AlphaCROWN(), verify.BranchAndBound(goal="optimum")):
        bracket = verify.solve(problem, method).meet(verify.solve(problem, verify.PGD(stop_when_falsified=False)))
        assert float(bracket.lower[0]) <= maximum + 1e-5
        assert maximum - 1e-5 <= float(bracket.upper[0]) <= maximum + 0.2
        assert bracket.verdicts == [Verdict.FALSIFIED]
