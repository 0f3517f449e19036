"""Linear bounds: sound against samples and attacks, exact where theory says so, equal in every layout."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import verify
from tests.support.nets import nets, seeded
from verify.ir.graph import Network
from verify.ops.base import IntervalBounds
from verify.sets import Ball, Box, InputSet
from verify.spec import Specification, margins
from verify.upper.crown import linear_boxes, linear_row_bounds
from verify.upper.interval import interval_boxes
from verify.upper.linear_bounds import backward, chunks, rows

NETS = nets()


def inputs_of(net: Network, batch: int, eps: float, norm: str, seed: int) -> Ball:
    generator = torch.Generator().manual_seed(seed)
    return Ball(torch.rand((batch, *net.input_shape), generator=generator), eps, norm)


def values_of(net: Network, x: torch.Tensor) -> dict[str, torch.Tensor]:
    values = {net.graph.input: x}
    for node, p in net.walk():
        values[node.name] = node.op.forward(p, *(values[name] for name in node.inputs))
    return values


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", NETS)
def test_boxes_hold_every_value_of_sampled_inputs(name: str, norm: str) -> None:
    net = NETS[name]
    inputs = inputs_of(net, 3, 0.3, norm, seed=1)
    boxes, plain = linear_boxes(net, inputs), interval_boxes(net, rows_box(inputs))
    generator = torch.Generator().manual_seed(2)
    for _ in range(60):
        x = inputs.sample(generator)
        corner = inputs.maximiser(torch.randn(x.shape, generator=generator))
        for point in (x, corner):
            for key, value in values_of(net, point).items():
                slack = 1e-4 * (1 + value.abs())
                assert bool((value >= boxes[key].low - slack).all())
                assert bool((value <= boxes[key].high + slack).all())
    for key, box in boxes.items():
        width, widest = box.high - box.low, plain[key].high - plain[key].low
        assert bool((width <= widest + 1e-4 * (1 + widest)).all()), key


def rows_box(inputs: InputSet) -> IntervalBounds:
    return IntervalBounds(inputs.low, inputs.high)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", NETS)
def test_row_bounds_lie_above_attacks_and_below_intervals(name: str, norm: str) -> None:
    net = NETS[name]
    inputs = inputs_of(net, 4, 0.1, norm, seed=3)
    problem = verify.robustness(net, inputs.center, net(inputs.center).argmax(1), eps=0.1, norm=norm)
    attack = verify.solve(problem, verify.PGD(steps=20))
    linear, interval = verify.solve(problem, verify.CROWN()), verify.solve(problem, verify.Interval())
    assert bool(torch.isfinite(linear.upper).all())
    assert bool((linear.upper <= interval.upper + 1e-5).all())
    attack.meet(linear).meet(interval)
    assert bool((linear.upper - attack.lower < interval.upper - attack.lower).any())


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("clip", [None, (0, 1)])
def test_linear_networks_are_solved_exactly(norm: str, clip: tuple[int, int] | None) -> None:
    net = verify.trace(seeded(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), 5), torch.zeros(1, 3, 4))
    generator = torch.Generator().manual_seed(6)
    x = torch.rand((8, 3, 4), generator=generator)
    labels = torch.arange(8) % 4
    problem = verify.robustness(net, x, labels, eps=0.25, norm=norm, clip=clip, target=(labels + 1) % 4)
    lower, upper = verify.solve(problem, verify.FGSM()).lower, verify.solve(problem, verify.CROWN()).upper
    assert torch.allclose(lower, upper, atol=1e-5, rtol=1e-5)
    if clip is None:
        weight = next(p for p in net.parameters.values() if p.dim() == 2)
        order = {"linf": 1, "l2": 2, "l1": torch.inf}[norm]
        spec = problem.spec
        at_center = spec.values(x, net(x))
        dual = (spec.output @ weight).norm(p=order, dim=2)
        assert torch.allclose(upper, spec.aggregate(at_center + 0.25 * dual), atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_a_batch_of_seven_equals_seven_batches_of_one(name: str) -> None:
    net = NETS[name]
    inputs = inputs_of(net, 7, 0.05, "linf", seed=4)
    spec = margins(torch.arange(7) % 3, 3)
    together = linear_row_bounds(net, inputs, spec)
    for i in range(7):
        index = torch.tensor([i])
        alone = linear_row_bounds(net, inputs.select(index), spec.select(index))
        assert torch.allclose(together[i], alone[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["conv", "residual", "pooled"])
def test_windows_equal_dense_rows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = NETS[name]
    inputs = inputs_of(net, 3, 0.05, "linf", seed=7)
    spec = margins(torch.zeros(3, dtype=torch.long), 3)
    windowed, bounds = linear_boxes(net, inputs), linear_row_bounds(net, inputs, spec)

    def unit_dense(
        self: backward.Backward, name: str, owner: torch.Tensor, index: torch.Tensor, sign: torch.Tensor
    ) -> tuple[str, rows.Rows]:
        shape = self.network.graph.shape_of(name)
        a = torch.zeros(len(index), int(torch.Size(shape).numel()))
        a[torch.arange(len(index)), index] = sign
        return name, rows.Dense(a.reshape(-1, *shape), owner)

    monkeypatch.setattr(backward.Backward, "_units", unit_dense)
    dense = linear_boxes(net, inputs)
    for key in windowed:
        assert torch.allclose(windowed[key].low, dense[key].low, atol=1e-4), key
        assert torch.allclose(windowed[key].high, dense[key].high, atol=1e-4), key
    assert torch.allclose(bounds, linear_row_bounds(net, inputs, spec), atol=1e-4)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    net = NETS["residual"]
    inputs = inputs_of(net, 3, 0.05, "linf", seed=8)
    spec = margins(torch.zeros(3, dtype=torch.long), 3)
    whole = linear_row_bounds(net, inputs, spec)
    monkeypatch.setitem(chunks.CHUNK, "cpu", 1)
    assert torch.allclose(whole, linear_row_bounds(net, inputs, spec), atol=1e-4)


def test_rows_over_inputs_join_the_bound() -> None:
    net = NETS["dense"]
    generator = torch.Generator().manual_seed(9)
    inputs = inputs_of(net, 5, 0.2, "linf", seed=10)
    spec = Specification(
        torch.randn((5, 4, 3), generator=generator),
        torch.randn((5, 4), generator=generator),
        torch.tensor([0, 0, 1, 1]).expand(5, -1),
        torch.ones((5, 4), dtype=torch.bool),
        torch.randn((5, 4, 6), generator=generator),
    )
    bounds = linear_row_bounds(net, inputs, spec)
    for _ in range(100):
        x = inputs.sample(generator)
        assert bool((spec.values(x, net(x)) <= bounds + 1e-5).all())


def test_a_point_as_input_gives_the_networks_value() -> None:
    for name, net in NETS.items():
        x = torch.rand((2, *net.input_shape), generator=torch.Generator().manual_seed(11))
        spec = margins(torch.tensor([0, 2]), 3)
        bounds = linear_row_bounds(net, Box(x, x), spec)
        assert torch.allclose(bounds, spec.values(x, net(x)), atol=1e-4), name


def test_bounds_are_no_verdict_where_arithmetic_overflows() -> None:
    net = NETS["dense"]
    huge = {name: p * 1e38 for name, p in net.parameters.items()}
    wild = net.graph.freeze({name: p.nan_to_num(posinf=3e38, neginf=-3e38) for name, p in huge.items()})
    problem = verify.robustness(wild, torch.full((1, 6), 0.5), [0], eps=0.5)
    assert verify.solve(problem, verify.CROWN()).verdicts != [verify.Verdict.VERIFIED]


@pytest.mark.parametrize("second", [nn.Sigmoid(), nn.ReLU(), nn.Tanh()])
def test_a_curve_after_neurons_that_are_off_is_bounded(second: nn.Module) -> None:
    """Rows over what the first makes leave out neurons that are off; so do those that begin there."""
    module = seeded(
        nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 6), nn.ReLU(), second, nn.Linear(6, 2)), 0)
    with torch.no_grad():
        module.get_parameter("2.bias").copy_(torch.tensor([-9.0, -9.0, -9.0, -9.0, 0.1, 0.2]))
    net = verify.trace(module, torch.zeros(1, 2))
    problem = verify.robustness(net, torch.full((1, 2), 0.5), [0], eps=0.4)
    bracket = verify.solve(problem, verify.CROWN()).meet(verify.solve(problem, verify.PGD()))
    assert bracket.upper.isfinite().all()
    assert float(bracket.upper[0] - bracket.lower[0]) < 0.5


def test_second_guess_only_improves(monkeypatch: pytest.MonkeyPatch) -> None:
    from verify.upper import crown as linear

    net = NETS["dense"]
    inputs = inputs_of(net, 16, 0.3, "linf", seed=12)
    spec = margins(torch.zeros(16, dtype=torch.long), 3)
    refined = linear_row_bounds(net, inputs, spec)

    def none(_: object, __: object, a: torch.Tensor, *rest: object) -> torch.Tensor:
        return torch.full((len(a),), torch.inf)

    monkeypatch.setattr(linear, "second_guess", none)
    first = linear_row_bounds(net, inputs, spec)
    assert bool((refined <= first).all())
    assert bool((refined < first - 1e-4).any())
