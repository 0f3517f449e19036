"""The dual of the relaxation: a bound for any duals, its own gradient, and the LP of the triangles at its best."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor

from tests.support.nets import nets
from tests.support.small_nets import box_around, dense
from verify.ops import Abs, LeakyReLU, Piecewise, ReLU
from verify.ops.base import IntervalBounds
from verify.sets import Ball, Box
from verify.upper.crown import linear_boxes
from verify.upper.duals.activation import ActivationLayer
from verify.upper.duals.descent import optimise
from verify.upper.duals.domains import Domains, Objective, Pulled
from verify.upper.duals.dual import Dual, RelaxedDomains
from verify.upper.duals.float64 import outward

NETS = {name: net.double() for name, net in nets().items()}
HINGES = {"relu": ReLU(), "leaky": LeakyReLU(Fraction(1, 8)), "concave": LeakyReLU(Fraction(3, 2)), "abs": Abs()}
ROWS = 6


@cache
def dual_of(name: str, norm: str, seed: int) -> Dual:
    net = NETS[name]
    rng = torch.Generator().manual_seed(seed)
    inputs = Ball(torch.rand((2, *net.input_shape), generator=rng).double(), 0.3, norm)
    return Dual(net, inputs, linear_boxes(net, inputs))


def columns_of(dual: Dual, x: Tensor) -> tuple[Tensor, Tensor]:
    """The tracked entries' inputs (points, U) and the outputs at points."""
    values = {dual.network.graph.input: x}
    for node, p in dual.network.walk():
        values[node.name] = node.op.forward(p, *(values[name] for name in node.inputs))
    parts = [values[layer.source].flatten(1)[:, layer.tracked] for layer in dual.layers.values()]
    return torch.cat(parts, 1), values[dual.network.graph.output]


def random_rows(dual: Dual, seed: int) -> tuple[Objective, Domains, Tensor]:
    """Rows over outputs and inputs, on domains with some ranges halved, and a point (rows, *input shape) of each."""
    rng = torch.Generator().manual_seed(seed)
    owner = torch.arange(ROWS) % 2
    a = torch.randn((ROWS, *dual.network.output_shape), generator=rng).double()
    direct = torch.randn((ROWS, *dual.network.input_shape), generator=rng).double()
    low, high = dual.low[owner], dual.high[owner]
    point = dual.inputs.select(owner).sample(rng)
    z, middle, halved = columns_of(dual, point)[0], (low + high) / 2, torch.rand(low.shape, generator=rng) < 0.2
    low, high = torch.where(halved & (z >= middle), middle, low), torch.where(halved & (z < middle), middle, high)
    return Objective(dual.network.graph.output, a, direct), Domains(owner, low, high, low * 0, low * 0), point


def pull(relaxed: RelaxedDomains, objective: Objective, share: Tensor, multiplier: Tensor | None) -> Pulled:
    return relaxed.pull(objective, relaxed.least.lerp(relaxed.most, share), multiplier)


@settings(deadline=None, max_examples=24)
@given(st.sampled_from(sorted(NETS)), st.sampled_from(["linf", "l2", "l1"]), st.integers(0, 10**6))
def test_any_slopes_and_multipliers_bound_every_point_of_the_domain(name: str, norm: str, seed: int) -> None:
    dual = dual_of(name, norm, seed % 2)
    objective, domains, point = random_rows(dual, seed)
    relaxed = RelaxedDomains(dual, domains)
    rng = torch.Generator().manual_seed(seed)
    share = torch.rand(domains.low.shape, generator=rng).double()
    multiplier = torch.randn(domains.low.shape, generator=rng).double() * (share > 0.7)
    bound = pull(relaxed, objective, share, multiplier).bound
    assert bool(torch.isfinite(bound).all())
    inputs = dual.inputs.select(domains.owner)
    for near in (0.0, 0.001, 0.01, 0.1, 1.0):
        x = inputs.project(point.lerp(inputs.sample(rng), near))
        z, y = columns_of(dual, x)
        inside = ((z >= domains.low) & (z <= domains.high)).all(1)
        assert bool(inside.all()) or near > 0
        assert objective.direct is not None
        value = (objective.a * y).flatten(1).sum(1) + (objective.direct * x).flatten(1).sum(1)
        assert bool((value <= bound + 1e-9)[inside].all())


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", NETS)
def test_the_bound_is_the_value_at_the_primal_point(name: str, norm: str) -> None:
    dual = dual_of(name, norm, 3)
    objective, domains, _ = random_rows(dual, 4)
    relaxed = RelaxedDomains(dual, domains)
    share = torch.rand(domains.low.shape, generator=torch.Generator().manual_seed(5)).double()
    pulled = pull(relaxed, objective, share, None)
    primal = relaxed.primal(objective, pulled)
    assert objective.direct is not None
    value = (objective.a * primal.value).flatten(1).sum(1) + (objective.direct * primal.x).flatten(1).sum(1)
    assert torch.allclose(value, pulled.bound, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ["dense", "conv", "residual", "pooled"])
def test_the_primal_point_gives_the_gradient(name: str) -> None:
    dual = dual_of(name, "linf", 6)
    objective, domains, _ = random_rows(dual, 7)
    relaxed = RelaxedDomains(dual, domains)
    rng = torch.Generator().manual_seed(8)
    share = torch.rand(domains.low.shape, generator=rng).double() * 0.8 + 0.1
    multiplier = torch.randn(domains.low.shape, generator=rng).double()
    slope = relaxed.least.lerp(relaxed.most, share)
    pulled = relaxed.pull(objective, slope, multiplier)
    primal = relaxed.primal(objective, pulled)
    by_slope = pulled.free * (primal.z - relaxed.breakpoint)
    by_multiplier = primal.z - torch.where(multiplier > 0, relaxed.low, relaxed.high)
    step = 1e-7
    for _ in range(5):
        way = torch.randn(share.shape, generator=rng).double()
        for gradient, shifts in ((by_slope, (way, 0 * way)), (by_multiplier, (0 * way, way))):
            ends = [relaxed.pull(objective, slope + s * shifts[0], multiplier + s * shifts[1]).bound
                    for s in (-step, step)]
            found = (ends[1] - ends[0]) / (2 * step)
            assert torch.allclose(found, (gradient * way).sum(1), rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(sorted(NETS)), st.integers(0, 10**6), st.booleans(), st.booleans())
def test_a_descent_never_loses_and_leaves_its_arguments_alone(name: str, seed: int, splits: bool, stops: bool) -> None:
    dual = dual_of(name, "linf", 9)
    objective, domains, _ = random_rows(dual, seed)
    rng = torch.Generator().manual_seed(seed)
    domains = domains._replace(
        slope=torch.rand(domains.low.shape, generator=rng).double(),
        multiplier=torch.randn(domains.low.shape, generator=rng).double() / 10,
    )
    split = torch.rand(domains.low.shape, generator=rng) < 0.5 if splits else None
    before = [part.clone() for part in domains]
    start = optimise(dual, objective, domains, 1, split=split)
    cutoff = start.bound - 0.1 if stops else None
    found = optimise(dual, objective, domains, 7, cutoff, split)
    assert all(torch.equal(part, old) for part, old in zip(domains, before, strict=True))
    assert bool((found.bound <= start.bound).all())
    relaxed = RelaxedDomains(dual, found.domains)
    slope = found.domains.slope.clamp(relaxed.least, relaxed.most)
    again = relaxed.pull(objective, slope, found.domains.multiplier).bound
    assert torch.allclose(again, found.bound, rtol=1e-9, atol=1e-9)


def triangles(dual: Dual, a: Tensor, low: Tensor, high: Tensor) -> float | None:
    """max of row a over the LP of a chain of linear layers and hinges on these ranges (U,); None where it is empty."""
    box = dual.inputs
    bounds = list(zip(box.low.flatten().tolist(), box.high.flatten().tolist(), strict=True))
    upper, equal, last = [], [], list(range(len(bounds)))  # rows as ({variable: coefficient}, right hand side)
    for node, p in dual.network.walk():
        new = list(range(len(bounds), len(bounds) + node.shape[0]))
        bounds += [(None, None)] * len(new)
        if not isinstance(node.op, Piecewise):
            for i, weights in enumerate(p[0].tolist()):
                equal.append(({new[i]: -1.0, **dict(zip(last, weights, strict=True))}, -float(p[1][i])))
            last = new
            continue
        layer = dual.layers[node.name]
        left, right = map(float, node.op.slopes)
        side = 1.0 if layer.convex else -1.0
        for k, j in enumerate(layer.tracked.tolist()):
            ends = [float(part[layer.span][k]) for part in (low, high)]
            bounds[last[j]] = (ends[0], ends[1])
            values = [max(end, 0) * right + min(end, 0) * left for end in ends]
            chord = (values[1] - values[0]) / (ends[1] - ends[0])
            offset = values[1] - chord * ends[1]
            upper.append(({new[j]: side, last[j]: -side * chord}, side * offset))
            upper += [({new[j]: -side, last[j]: side * slope}, 0.0) for slope in (left, right)]
        for j in set(range(len(new))) - set(layer.tracked.tolist()):
            assert isinstance(layer, ActivationLayer)
            equal.append(({new[j]: 1.0, last[j]: -float(layer.slope[j])}, 0.0))
        last = new
    cost = np.zeros(len(bounds))
    cost[last] = -a.numpy()
    (rows, sides), (lines, values) = (_matrix(part, len(bounds)) for part in (upper, equal))
    found = linprog(cost, A_ub=rows, b_ub=sides, A_eq=lines, b_eq=values, bounds=bounds)
    return -found.fun if found.status == 0 else None


def _matrix(rows: list[tuple[dict[int, float], float]], width: int) -> tuple[np.ndarray, np.ndarray]:
    out = np.zeros((len(rows), width))
    for i, (entries, _) in enumerate(rows):
        for j, value in entries.items():
            out[i, j] += value
    return out, np.array([side for _, side in rows])


@pytest.mark.parametrize("name", HINGES)
@pytest.mark.parametrize("splits", [False, True])
def test_descents_approach_the_lp_of_the_triangles(name: str, splits: bool) -> None:
    met = 0
    for seed in range(4):
        net = dense(HINGES[name], (3, 5, 4, 3), seed).double()
        box = Box(*box_around(net, seed)).double()
        dual = Dual(net, box, linear_boxes(net, box))
        rng = torch.Generator().manual_seed(seed)
        a = torch.randn((1, 3), generator=rng).double()
        whole = dual.whole(torch.zeros(1, dtype=torch.long))
        low, high = whole.low.clone(), whole.high.clone()
        split = dual.unstable(low, high) & (torch.rand(low.shape, generator=rng) < 0.4) & torch.tensor(splits)
        above = torch.rand(low.shape, generator=rng) < 0.5
        low[split & above], high[split & ~above] = 0, 0
        best = triangles(dual, a[0], low[0], high[0])
        if best is None:
            continue
        domains = whole._replace(low=low, high=high)
        objective = Objective(net.graph.output, a)
        start, found = (float(optimise(dual, objective, domains, n, split=split).bound) for n in (1, 400))
        assert found >= best - 1e-7 * (1 + abs(best))
        assert found <= best + 0.03 * (start - best) + 1e-6
        met += 1
    assert met >= 2


def test_a_wide_dual_takes_the_columns_of_the_boxes_that_hold_its_own() -> None:
    net = NETS["dense"]
    inputs = Ball(torch.rand((3, 6), generator=torch.Generator().manual_seed(1)).double(), 0.05)
    boxes = linear_boxes(net, inputs)
    rounded = {name: outward(box, torch.float32) for name, box in boxes.items()}
    assert all(bool((box.low.double() <= boxes[name].low).all()) for name, box in rounded.items())
    assert all(bool((box.high.double() >= boxes[name].high).all()) for name, box in rounded.items())
    near = Dual(nets()["dense"], Ball(inputs.center.float(), 0.05), rounded)
    wide = Dual(net, inputs, boxes, like=near)
    assert wide.tracked == near.tracked
    assert all(torch.equal(wide.layers[name].tracked, layer.tracked) for name, layer in near.layers.items())
    for name, box in boxes.items():
        boxes[name] = IntervalBounds(box.low - 1, box.high + 1)
    with pytest.raises(ValueError, match="neither linear nor tracked"):
        Dual(net, inputs, boxes, like=near)
