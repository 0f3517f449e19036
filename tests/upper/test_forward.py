"""Forward linear bounds: forms enclose samples, and sharpen the sweep without changing what it proves."""

from __future__ import annotations

import time

import pytest
import torch

import verify
from tests.support.nets import nets
from tests.support.small_nets import dense, problem
from verify.deadline import Deadline, within
from verify.errors import OutOfTime
from verify.ir.graph import Network
from verify.ops import ReLU
from verify.ops.base import IntervalBounds
from verify.problem import Problem
from verify.sets import Box
from verify.upper import crown
from verify.upper.crown import cheap_forward, linear_boxes, sweep
from verify.upper.interval import interval_boxes
from verify.upper.linear_bounds.forward import Forward

NETS = nets()


def boxes_of(net: Network, batch: int, radius: float, seed: int) -> Box:
    middle = torch.rand((batch, *net.input_shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Box(middle - radius, middle + radius)


def samples(box: Box, count: int, seed: int) -> torch.Tensor:
    """Points in [-1, 1]^inputs, (count, batch, *shape), corners first."""
    noise = torch.rand((count, *box.low.shape), generator=torch.Generator().manual_seed(seed), dtype=box.low.dtype)
    noise = 2 * noise - 1
    noise[: count // 2] = noise[: count // 2].sign()
    return noise


@pytest.mark.parametrize("radius", [0.02, 0.3])
@pytest.mark.parametrize("name", NETS)
def test_forms_enclose_every_value_of_sampled_inputs(name: str, radius: float) -> None:
    net = NETS[name].double()
    box = boxes_of(net, 4, radius, 1)
    forward = Forward(net, IntervalBounds(box.low, box.high))
    sweep(net, box, forward)
    for t in samples(box, 40, 2):
        values = {net.graph.input: (box.low + box.high) / 2 + t * radius}
        for node, p in net.walk():
            values[node.name] = node.op.forward(p, *(values[source] for source in node.inputs))
        for node_name, form in forward.forms.items():
            flat = torch.einsum("ib...,bi->b...", form.columns, t.flatten(1))
            error = torch.zeros(()) if form.error is None else form.error
            assert bool(((values[node_name] - form.middle - flat).abs() <= error + 1e-9).all()), node_name
            low, high = form.box
            assert bool(((low - 1e-9 <= values[node_name]) & (values[node_name] <= high + 1e-9)).all())


@pytest.mark.parametrize("name", NETS)
def test_the_sweep_stays_inside_both_of_its_parts(name: str) -> None:
    net = NETS[name].double()
    box = boxes_of(net, 5, 0.05, 3)
    forward = Forward(net, IntervalBounds(box.low, box.high))
    with_forward = sweep(net, box, forward)[1]
    widths = {key: (end.high - end.low).sum() for key, end in with_forward.items()}
    plain, interval = linear_boxes(net, box), interval_boxes(net, IntervalBounds(box.low, box.high))
    last = net.graph.output
    assert widths[last] <= (interval[last].high - interval[last].low).sum() + 1e-9
    assert widths[last] <= 1.05 * (plain[last].high - plain[last].low).sum()


def test_without_nonlinear_neurons_the_form_is_exact() -> None:
    net = NETS["dense"].double()
    box = boxes_of(net, 3, 1e-7, 4)
    forward = Forward(net, IntervalBounds(box.low, box.high))
    sweep(net, box, forward)
    form = forward.forms[net.graph.output]
    assert form.error is not None
    assert float(form.error.max()) <= 1e-12
    x = ((box.low + box.high) / 2).requires_grad_()
    y = net(x)
    for k in range(y.shape[1]):
        gradient = torch.autograd.grad(y[:, k].sum(), x, retain_graph=True)[0]
        torch.testing.assert_close(form.columns[..., k], (gradient * 1e-7).T, rtol=1e-4, atol=1e-14)


def test_inputs_that_matter_have_scores() -> None:
    net = NETS["dense"].double()
    box = boxes_of(net, 3, 0.3, 5)
    low, high = box.low.clone(), box.high.clone()
    low[:, 2] = high[:, 2] = (low[:, 2] + high[:, 2]) / 2  # an input without a range has the score 0
    forward = Forward(net, IntervalBounds(low, high))
    sweep(net, Box(low, high), forward)
    weights = {name: torch.ones_like(gap) for name, (gap, _) in forward.gaps.items()}
    scores = forward.input_scores(weights, torch.arange(3))
    assert scores.shape == (3, 6)
    assert bool((scores[:, 2] == 0).all())
    assert bool((scores[:, [0, 1, 3, 4, 5]] > 0).all())


def test_few_inputs_before_many_neurons_take_forward_bounds() -> None:
    """And the boxes that come of both hold at samples."""
    p = problem(dense(ReLU(), (2, 80, 80, 3), 4), "untargeted", 4)
    assert cheap_forward(p.network, p.inputs) is not None
    few = problem(dense(ReLU(), (4, 8, 3), 4), "untargeted", 4)
    assert cheap_forward(few.network, few.inputs) is None
    boxes = linear_boxes(p.network, p.inputs)
    x = p.inputs.select(torch.zeros(500, dtype=torch.long)).sample(torch.Generator().manual_seed(0))
    values = {p.network.graph.input: x}
    for node, parameters in p.network.walk():
        values[node.name] = node.op.forward(parameters, *(values[name] for name in node.inputs))
        low, high = boxes[node.name]
        assert bool(((values[node.name] >= low - 1e-3) & (values[node.name] <= high + 1e-3)).all())


def test_forward_bounds_without_room_are_not_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    p = problem(dense(ReLU(), (2, 80, 80, 3), 4), "untargeted", 4)
    assert cheap_forward(p.network, p.inputs) is not None
    monkeypatch.setattr(crown, "FORMS", 1)
    assert cheap_forward(p.network, p.inputs) is None


def test_interval_bounds_stand_where_linear_ones_are_late(monkeypatch: pytest.MonkeyPatch) -> None:
    p = problem(dense(ReLU(), (2, 80, 80, 3), 4), "untargeted", 4)

    def late(_: Problem) -> torch.Tensor:
        time.sleep(0.3)
        raise OutOfTime

    known = verify.Interval().answer(p).upper
    assert known is not None
    monkeypatch.setattr(crown, "_least_bounds", late)
    for large, expected in ((0, known), (1 << 16, torch.full_like(known, torch.inf))):
        monkeypatch.setattr(crown, "LARGE", large)
        with within(Deadline.after(0.2)):
            found = verify.CROWN().answer(p)
        assert found.upper is not None
        assert found.notes["stopped"]
        assert torch.equal(found.upper, expected)
