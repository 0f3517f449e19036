"""Bounds, rewrites and training losses over random graphs of all operators: nothing lies below a value that occurs."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import Generator, Tensor
from torch.testing import assert_close

from tests.support.random_graphs import random_network
from verify.errors import UnsupportedMethod
from verify.ir.evaluate import exact_value
from verify.ir.graph import Network
from verify.ir.rewrite import simplify
from verify.ops import Affine, Curve
from verify.ops.base import IntervalBounds
from verify.problem import Problem
from verify.rationals import exact_array
from verify.sets import Ball
from verify.solving import solve
from verify.spec import Specification
from verify.train.losses import CrownIBP, DualLoss, FusedCrownIBP, IntervalLoss
from verify.train.losses.base import Threat, cross_entropy
from verify.train.losses.projected import parallel
from verify.upper.alpha_crown import AlphaCROWN
from verify.upper.crown import linear_boxes, linear_row_bounds
from verify.upper.interval import interval_boxes, row_bounds
from verify.upper.linear_bounds.crown_ibp import adaptive, affine_end_boxes, crown_ibp_bounds

SAMPLES, ROWS, BATCH = 60, 3, 2


class Case:
    """A random network, as it was made and simplified, balls around random points, rows, and points of the balls."""

    def __init__(self, seed: int):
        self.network = random_network(seed)
        self.noise = Generator().manual_seed(seed)
        self.x = self.random(BATCH, *self.network.input_shape)
        self.norm, self.eps = ("linf", "l2", "l1")[seed % 3], (0.02, 0.3, 2.0)[seed // 3 % 3]
        self.ball = Ball(self.x, self.eps, self.norm, None)
        rows = self.random(BATCH, ROWS, self.network.outputs)
        direct = self.random(BATCH, ROWS, self.x[0].numel()) if seed % 2 else None
        shape = (BATCH, ROWS)
        self.spec = Specification(rows, self.random(*shape), torch.arange(ROWS).expand(shape),
                                  torch.ones(shape, dtype=torch.bool), direct)
        self.points = torch.stack(list(self._points()))  # (points, batch, *shape)

    def random(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.noise, dtype=torch.float64)

    def _points(self):
        yield self.x
        for _ in range(SAMPLES):
            yield self.ball.project(self.x + self.eps * self.random(*self.x.shape))
        for _ in range(SAMPLES // 2):
            yield self.ball.maximiser(self.random(*self.x.shape))
        if self.norm == "linf":
            for signs in list(product((-1, 1), repeat=min(6, self.x[0].numel())))[:64]:
                corner = torch.tensor(signs, dtype=torch.float64).repeat(self.x[0].numel())[: self.x[0].numel()]
                yield self.x + self.eps * corner.reshape(self.x[0].shape)

    def values(self, network: Network) -> dict[str, Tensor]:
        """Every value of the network at all points, (points, batch, *shape)."""
        found = {network.graph.input: self.points.flatten(0, 1)}
        for node, p in network.walk():
            found[node.name] = node.op.forward(p, *(found[name] for name in node.inputs))
        return {name: value.unflatten(0, self.points.shape[:2]) for name, value in found.items()}

    def reached(self, outputs: Tensor) -> Tensor:
        """The largest value of each row, (batch, rows)."""
        values = [self.spec.values(x, y) for x, y in zip(self.points, outputs, strict=True)]
        return torch.stack(values).amax(0)


def above(bound: Tensor, value: Tensor, scale: Tensor) -> bool:
    """Whether a bound is not below a value by more than float64's rounding of numbers of this size."""
    return bool((bound >= value - 1e-11 * (1 + scale)).all())


def check(seed: int) -> None:
    case = Case(seed)
    merged = simplify(case.network)
    seen = case.values(case.network)
    size = torch.stack([value.abs().amax() for value in seen.values()]).amax()
    outputs = seen[case.network.graph.output]
    assert_close(case.values(merged)[merged.graph.output], outputs, rtol=0, atol=float(1e-11 * (1 + size)))
    if all(node.op.is_exact for node in case.network.graph.nodes):
        check_exact(case, outputs, size)
    for network in (case.network, merged):
        check_values(case, network, size)
        check_rows(case, network, outputs, size)
    check_losses(case, merged, outputs)


def check_exact(case: Case, outputs: Tensor, size: Tensor) -> None:
    """The last point of the first sample, a corner for a box, in rational arithmetic."""
    try:
        exact = exact_value(case.network, exact_array(case.points[-1, 0]))
    except UnsupportedMethod:  # batch normalisation has irrational values
        return
    near = torch.from_numpy(exact.astype(np.float64))
    assert_close(outputs[-1, 0], near, rtol=0, atol=float(1e-11 * (1 + size)))


def check_values(case: Case, network: Network, size: Tensor) -> None:
    """Boxes hold every value."""
    inputs = IntervalBounds(case.ball.low, case.ball.high)
    for boxes in (interval_boxes(network, inputs), linear_boxes(network, case.ball)):
        for name, value in case.values(network).items():
            assert above(boxes[name].high, value, size), name
            assert above(-boxes[name].low, -value, size), name


def check_rows(case: Case, network: Network, outputs: Tensor, size: Tensor) -> None:
    """Every bound of rows lies above the values that they reach."""
    reached, boxes = case.reached(outputs), interval_boxes(network, IntervalBounds(case.ball.low, case.ball.high))
    scale = size * case.spec.output.abs().sum(2)
    assert above(row_bounds(network, boxes, case.spec, None), reached, scale)
    assert above(linear_row_bounds(network, case.ball, case.spec), reached, scale)
    rows = case.spec.output.unflatten(2, network.output_shape)
    values = torch.einsum("bro,pbo->pbr", case.spec.output, outputs.flatten(2))
    ends = affine_end_boxes(network, boxes, rows)
    assert above(ends.high, values, scale)
    assert above(-ends.low, -values, scale)
    for relax in (adaptive, parallel) if has_bands(network) else (adaptive,):
        assert above(crown_ibp_bounds(network, case.ball, boxes, rows, relax), values, scale)


def check_losses(case: Case, network: Network, outputs: Tensor) -> None:
    """Certified losses are at least the largest loss that is reached; the estimated one is a number."""
    if len(network.output_shape) > 1 or bool(outputs.abs().amax() > 100):  # a loss takes a vector of logits
        return
    y = outputs[0].flatten(1).argmin(1)
    reached = torch.stack([cross_entropy(z, y) for z in outputs.flatten(2)]).amax(0).mean()
    threat = Threat(case.norm, None)
    for loss in (IntervalLoss(threat=threat), CrownIBP(threat=threat), FusedCrownIBP(threat=threat)):
        found = loss(network, case.x, y, case.eps, case.noise)
        assert float(found) >= float(reached) - 1e-9, loss
    if case.norm != "l1" and has_bands(network):
        assert bool(torch.isfinite(DualLoss(4, threat=threat)(network, case.x, y, case.eps, case.noise)))


def has_bands(network: Network) -> bool:
    """Whether the dual loss takes it."""
    return all(isinstance(node.op, Affine | Curve) for node in network.graph.nodes)


def check_optimised(seed: int) -> None:
    """Optimised slopes, with all intermediate bounds."""
    case = Case(seed)
    outputs = case.values(case.network)[case.network.graph.output]
    problem = Problem(case.network, case.ball, case.spec, torch.arange(BATCH), BATCH)
    reached, scale = case.reached(outputs).amax(1), 1 + outputs.abs().amax() * case.spec.output.abs().sum(2).amax()
    assert above(solve(problem, AlphaCROWN(steps=3)).upper, reached, scale)


@pytest.mark.parametrize("start", range(0, 120, 40))
def test_bounds_hold_on_random_graphs(start: int) -> None:
    for seed in range(start, start + 16):
        check(seed)


def test_entries_without_slope_are_left_out_of_all_paths_to_a_value() -> None:
    check(3846)  # relu(x) beside relu(relu(x)), with entries that are constantly zero


def test_optimised_bounds_hold_on_random_graphs() -> None:
    for seed in range(0, 120, 20):
        check_optimised(seed)


@pytest.mark.conformance
@pytest.mark.parametrize("start", range(1000, 6000, 500))
def test_bounds_hold_on_many_random_graphs(start: int) -> None:
    for seed in range(start, start + 500):
        check(seed)
        if seed % 10 == 0:
            check_optimised(seed)
