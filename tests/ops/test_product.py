"""Products of two varying values: planes of any share, rows that cross them, and bounds beside enumeration."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import verify
from verify.errors import UnsupportedMethod, UnsupportedOp
from verify.ir.builder import GraphBuilder
from verify.ir.graph import Network
from verify.ops import Add, IntervalBounds, Linear, MatMul, Multiply, Product, Reshape
from verify.ops.product import Halves, ProductPlanes
from verify.problem import Problem
from verify.sets import Box
from verify.spec import Specification

OPS: list[tuple[Product, int]] = [
    (Multiply((3,)), 6), (Multiply((2, 2)), 8), (MatMul((2, 3), (3, 2)), 12), (MatMul((2, 1, 2), (2, 2, 2)), 12),
]
every_product = pytest.mark.parametrize(("op", "entries"), OPS, ids=[str(op) for op, _ in OPS])


def random_box(entries: int, seed: int, batch: int = 3) -> IntervalBounds:
    noise = torch.Generator().manual_seed(seed)
    center, radius = (torch.randn((batch, entries), generator=noise, dtype=torch.float64) for _ in range(2))
    return IntervalBounds(center - radius.abs(), center + radius.abs())


def members(box: IntervalBounds, count: int, seed: int) -> Tensor:
    """Points of boxes, corners and random ones, (count, batch, entries)."""
    noise = torch.Generator().manual_seed(seed)
    t = torch.rand((count, *box.low.shape), generator=noise, dtype=torch.float64)
    t[::2] = t[::2].round()
    return box.low + t * (box.high - box.low)


@every_product
@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=15)
def test_planes_of_any_share_hold(op: Product, entries: int, seed: int) -> None:
    box, noise = random_box(entries, seed), torch.Generator().manual_seed(seed)
    shape = op.forward((), box.low).shape
    shares = (torch.rand(shape, generator=noise, dtype=torch.float64) * 2 - 1 for _ in range(2))
    planes = ProductPlanes.between(op, Halves.of(op, box), *shares)
    for x in members(box, 40, seed):
        y = op.forward((), x)
        assert (planes.at(x, torch.ones_like(y)) >= y - 1e-12).all()
        assert (planes.at(x, -torch.ones_like(y)) <= y + 1e-12).all()


def test_the_ends_of_the_shares_are_the_planes_of_mccormick() -> None:
    """Each of the four planes of x y over [a, b] x [c, d], by its coefficients."""
    op, (a, b, c, d) = Multiply((1,)), (-1.0, 3.0, 2.0, 5.0)
    box = IntervalBounds(torch.tensor([[a, c]]), torch.tensor([[b, d]]))
    expected = {(1.0, False): (a, c), (-1.0, False): (b, d), (1.0, True): (b, c), (-1.0, True): (a, d)}
    for (share, is_upper), (x_end, y_end) in expected.items():  # x_end y + y_end x - x_end y_end
        share = torch.tensor([[share]])
        planes = ProductPlanes.between(op, Halves.of(op, box), share, share)
        ways = [float(planes.linear(torch.tensor([point]), is_upper)) for point in ((1.0, 0.0), (0.0, 1.0))]
        assert ways == [y_end, x_end]
        assert float(planes.upper_intercept if is_upper else planes.lower_intercept) == -x_end * y_end


@every_product
@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=15)
def test_rows_are_pulled_to_the_functions_that_they_meet(op: Product, entries: int, seed: int) -> None:
    """The pulled row is the gradient of the sum of both functions, by the sign of the coefficient."""
    box, noise = random_box(entries, seed), torch.Generator().manual_seed(seed)
    planes = op.relax((), box)
    at = op.nearer((), box, planes, members(box, 1, seed)[0], 0.7)
    a = torch.randn((5, *op.forward((), box.low).shape[1:]), generator=noise, dtype=torch.float64)
    owner = torch.tensor([0, 0, 1, 2, 2])
    for relaxation in (planes, at, at.select(torch.tensor([0, 1, 2]))):
        x = torch.zeros((5, entries), dtype=torch.float64, requires_grad=True)
        total = (relaxation.select(owner).at(x, a) * a).sum()
        (expected,) = torch.autograd.grad(total, x)
        torch.testing.assert_close(relaxation.pull(a, owner), expected)


@every_product
def test_the_nearest_planes_are_tightest_at_their_point(op: Product, entries: int) -> None:
    box = random_box(entries, 5)
    x, noise = members(box, 1, 6)[0], torch.Generator().manual_seed(7)
    best = op.nearer((), box, op.relax((), box), x, 1.0)
    one = torch.ones_like(op.forward((), x))
    for _ in range(20):
        shares = (torch.rand(one.shape, generator=noise, dtype=torch.float64) * 2 - 1 for _ in range(2))
        other = ProductPlanes.between(op, Halves.of(op, box), *shares)
        assert (best.at(x, one) <= other.at(x, one) + 1e-12).all()
        assert (best.at(x, -one) >= other.at(x, -one) - 1e-12).all()


@every_product
def test_pairs_list_every_product(op: Product, entries: int) -> None:
    v = np.arange(1, entries + 1) ** 2
    x, y = (part.ravel() for part in op.split(v))
    total = np.zeros(op.times(*op.split(v)).size)
    for out, left, right in op.pairs():
        total[out] += x[left] * y[right]
    assert total.tolist() == op.times(*op.split(v)).ravel().tolist()


@every_product
def test_values_at_rational_points_are_exact(op: Product, entries: int) -> None:
    x = np.array([Fraction(k + 1, 3 * k + 7) for k in range(entries)], dtype=object)
    low, high = op.enclose((), x)
    assert low is high
    assert all(isinstance(value, Fraction) for value in low.flat)
    assert abs(low.astype(float) - op.forward((), torch.from_numpy(x.astype(float))[None])[0].numpy()).max() < 1e-14


def test_an_interval_of_products_with_infinite_ends_is_infinite_or_right() -> None:
    box = IntervalBounds(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, torch.inf]]))
    low, high = Multiply((1,)).interval((), box)
    assert low.item() <= 0
    assert high.item() == torch.inf


# ---- networks ----


def quadratic(seed: int) -> Network:
    """(A x + a) * (B x + b), entrywise, and its product as matrices with another affine map, in float64; 4 outputs."""
    noise = torch.Generator().manual_seed(seed)
    builder = GraphBuilder("x", (3,), torch.float64)

    def affine(name: str) -> str:
        shapes = ((4, 3), (4,))
        own = (builder.parameter(f"{name}{i}", torch.randn(s, generator=noise).double()) for i, s in enumerate(shapes))
        return builder.add(name, Linear(), ("x",), tuple(own))

    first, second, third = map(affine, "abc")
    square = builder.product("p", first, second)
    parts = [builder.add("m", Reshape((2, 2)), (value,)) for value in (square, third)]
    matrix = builder.product("q", *parts, is_matrix=True)
    flat = builder.add("flat", Reshape((4,)), (matrix,))
    return builder.finish(builder.add("sum", Add((1, -1)), (flat, square)))


def value(network: Network, radius: float) -> Problem:
    """The value of the first output less the second over a box."""
    center = torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64)
    rows = torch.tensor([[[1.0, -1.0, 0.0, 0.0]]], dtype=torch.float64)
    spec = Specification(rows, torch.zeros(1, 1).double(), torch.zeros(1, 1).long(), torch.ones(1, 1).bool())
    return Problem(network, Box(center - radius, center + radius), spec, torch.tensor([0]), 1)


@pytest.mark.parametrize("seed", range(6))
def test_every_bound_of_a_polynomial_lies_above_its_values(seed: int) -> None:
    """A grid and the corners; and branch and bound meets the best of them."""
    problem = value(quadratic(seed), 0.4)
    axis = torch.linspace(-0.4, 0.4, 21, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis, axis) + problem.inputs.low[0] + 0.4
    y = problem.network(x)
    best = float((y.flatten(1)[:, 0] - y.flatten(1)[:, 1]).max())
    methods = (verify.Interval(), verify.CROWN(), verify.AlphaCROWN(goal="optimum"), verify.LP())
    bounds = [float(verify.solve(problem, method).upper[0]) for method in methods]
    assert min(bounds) >= best - 1e-9
    assert bounds[0] >= bounds[1] - 1e-9 >= bounds[2] - 2e-9
    assert bounds[3] <= bounds[1] + 1e-6
    search = verify.solve(problem, verify.BranchAndBound(goal="optimum", gap=1e-3))
    assert best - 1e-9 <= search.upper[0] <= search.lower[0] + 1.1e-3
    assert search.lower[0] >= best - 1e-3


def test_milp_refuses_a_product_by_name() -> None:
    with pytest.raises(UnsupportedMethod, match="Multiply"):
        verify.solve(value(quadratic(0), 0.1), verify.MILP())


def test_a_product_of_other_shapes_is_refused() -> None:
    builder = GraphBuilder("x", (2, 3))
    flat = builder.add("flat", Reshape((6,)), ("x",))
    with pytest.raises(UnsupportedOp, match=r"\(2, 3\) and \(6,\)"):
        builder.product("p", "x", flat)
    with pytest.raises(UnsupportedOp, match="repeat or reshape"):
        builder.product("p", "x", "x", is_matrix=True)
