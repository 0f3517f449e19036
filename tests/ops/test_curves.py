"""A curve is one record: bent one way, turning, with corners or a jump; all laws and methods run over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from inspect import signature
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import Tensor

import verify
from tests.ops import test_line_laws, test_op_enclosures, test_op_laws
from tests.support.laws import DTYPES, EXAMPLES, ORACLES, boundary_boxes, points
from tests.support.small_nets import dense, problem
from verify.errors import UnsupportedMethod
from verify.lower.pgd import PGD
from verify.ops import REGISTRY, Curvature, Curve, Example, IntervalBounds, Parameters, Sigmoid
from verify.ops.smooth.trigonometric import Wave
from verify.ops.steps import Floor, RoundToEven, Staircase, sign

CONCAVE, LINEAR, CONVEX = Curvature


@dataclass(frozen=True)
class Square(Curve):
    """x^2."""

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        return (CONVEX,)

    @property
    def turns(self) -> tuple[float, ...]:
        return (0.0,)

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return xs[0].square()

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return 2 * x


@dataclass(frozen=True)
class SiLU(Curve):
    """x / (1 + exp(-x)); f'' is 0 where x tanh(x / 2) = 2, f' where x + exp(x) + 1 = 0 with x the negative."""

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return Fraction(-2.3993572805154), Fraction(2.3993572805154)

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        return CONCAVE, CONVEX, CONCAVE

    @property
    def turns(self) -> tuple[float, ...]:
        return (-1.2784645427610738,)

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return xs[0] * torch.sigmoid(xs[0])

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        y = torch.sigmoid(x)
        return y * (1 + x * (1 - y))


ORACLE: dict[str, Callable[..., Tensor]] = {
    "Square": lambda op, p, x: torch.from_numpy(np.square(x.numpy())),
    "SiLU": lambda op, p, x: torch.from_numpy(x.numpy() * expit(x.numpy())),
}
CURVES = {cls.__name__: Example(cls(), (), ((5,),)) for cls in (Square, SiLU)}
EVERY = {**CURVES, **{name: e for name, e in EXAMPLES.items() if isinstance(e.op, Curve)}}
BOUNDED = {**CURVES, **{name: EXAMPLES[f"{name}-0"] for name in ("HardSwish", "GELU", "JumpingLines", "Floor")}}
every_curve = pytest.mark.parametrize("example", CURVES.values(), ids=CURVES)
STATED = {name: e for name, e in EVERY.items() if not isinstance(e.op, Staircase)}


def _laws() -> dict[str, Callable[..., None]]:
    """The laws that run over the sigmoid, by name."""
    found = {}
    for module in (test_op_laws, test_line_laws, test_op_enclosures):
        for name, law in vars(module).items():
            for mark in getattr(law, "pytestmark", ()):
                if mark.args and mark.args[0] == "example" and any(isinstance(e.op, Sigmoid) for e in mark.args[1]):
                    found[name] = law
    assert len(found) >= 10, "the laws of curves are found by their parametrisation"
    return found


LAWS = _laws()


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@every_curve
def test_the_laws_of_operators(example: Example, law: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    name = type(example.op).__name__
    monkeypatch.setitem(ORACLES, name, ORACLE[name])
    assert name not in REGISTRY
    for dtype in DTYPES if "dtype" in signature(law).parameters else (None,):
        law(example) if dtype is None else law(example, dtype)


@pytest.mark.parametrize("example", STATED.values(), ids=STATED)
def test_the_stated_pieces_are_those_of_the_function(example: Example) -> None:
    """By finite differences: f' on the pieces, the sign of f'', and where f turns."""
    op = example.op
    assert isinstance(op, Curve)
    first, last = op.window if isinstance(op, Wave) else (-9.0, 9.0)
    ends = [max(first, op.domain.low), *map(float, op.breakpoints), last]
    step, signs = 1e-3, list[Tensor]()
    for piece, (low, high) in enumerate(pairwise(ends)):
        low, high = low + (low in (op.domain.low, *op.domain.poles)), high - (high in op.domain.poles)
        x = torch.linspace(0, 1, 200, dtype=torch.float64) * (high - low - 4 * step) + low + 2 * step
        before, here, after = (op.forward((), x + shift) for shift in (-step, 0, step))
        slope, near = op.derivative(piece, x), 1e-5 * (1 + here.abs().amax())
        assert ((after - before) / (2 * step) - slope).abs().amax() < near
        bend = (after - 2 * here + before) / step**2
        curvature = op.curvature[piece]
        assert (bend.abs() < near).all() if curvature == LINEAR else (curvature * bend > -near).all()
        signs.append(slope.sign())
    turned = torch.cat([sign[sign != 0] for sign in signs]).diff().count_nonzero()
    assert turned <= len(op.turns) + len(op.domain.poles) or op.ulps == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("example", EVERY.values(), ids=EVERY)
def test_a_line_of_any_slope_bounds_and_touches(example: Example, dtype: torch.dtype) -> None:
    op = example.op
    assert isinstance(op, Curve)
    (box,) = boundary_boxes(example, dtype, 3)
    keep = ((box.high - box.low) < 1e3).all(1)
    box = IntervalBounds(box.low[keep], box.high[keep])
    drawn = torch.stack([x.double() for (x,) in points((box,), 200, 5)])
    values = op.forward((), drawn)
    for slope in (-2.0, -0.1, 0.0, 0.13, 0.7, 1.0, 5.0):
        lower, upper = (end.double() for end in op.line(box, torch.full_like(box.low, slope)))
        size = op.forward((), box.low).abs().maximum(op.forward((), box.high).abs()).maximum(box.low.abs())
        slack = 200 * torch.finfo(dtype).eps * (1 + size.maximum(box.high.abs()).double())
        offsets = values - slope * drawn
        room = slack * (0 if op.ulps else 1) + 1e-15 * (1 + offsets.abs().amax(0))
        assert (offsets.amin(0) >= lower - room).all()
        assert (offsets.amax(0) <= upper + room).all()
        near = slack + (abs(slope) + 1) * (box.high - box.low).double() / 50  # of a point that is looked at
        if op.is_continuous:
            assert (offsets.amin(0) <= lower + near * (1 + size)).all()
            assert (offsets.amax(0) >= upper - near * (1 + size)).all()


def test_boxes_at_a_jump_have_the_values_of_both_sides() -> None:
    low, high = torch.tensor([[-1.0, 0, 0, -1, 1]]), torch.tensor([[0.0, 0, 1, 1, 2]])
    found = sign().interval((), IntervalBounds(low, high))
    assert [[round(v) for v in end[0].tolist()] for end in found] == [[-1, 0, 0, -1, 1], [0, 0, 1, 1, 1]]


def test_staircases_at_and_beside_their_jumps() -> None:
    low, high = torch.tensor([[1.0, 1.0, 0.5, 1.5, 0.0]]), torch.tensor([[1.0, 1.5, 1.0, 2.5, 4.0]])
    box = IntervalBounds(low, high)
    ends = {Floor(): ([1, 1, 0, 1, 0], [1, 1, 1, 2, 4]), RoundToEven(): ([1, 1, 0, 2, 0], [1, 2, 1, 2, 4])}
    for op, (least, most) in ends.items():
        assert [[round(v, 3) for v in end[0].tolist()] for end in op.interval((), box)] == [least, most]
    lower, upper = Floor().line(box, torch.ones_like(low))  # floor(x) - x over the box
    assert [round(v, 3) for v in lower[0].tolist()] == [0, -0.5, -1, -1, -1]
    assert [round(v, 3) for v in upper[0].tolist()] == [0, 0, 0, 0, 0]


METHODS = [verify.Interval(), verify.CROWN(), verify.AlphaCROWN(goal="optimum"), verify.LP(),
           verify.BranchAndBound(goal="optimum", time_limit=2)]


@pytest.mark.parametrize("example", BOUNDED.values(), ids=BOUNDED)
def test_methods_bound_networks_of_it(example: Example) -> None:
    """No bound lies below a value that an attack finds, and branch and bound closes the gap."""
    assert isinstance(example.op, Curve)
    for seed, kind in enumerate(("untargeted", "conjunctive")):
        given = problem(dense(example.op, (3, 3, 3), seed), kind, seed)
        attacked = verify.solve(given, PGD(stop_when_falsified=False)).lower.item()
        found = [verify.solve(given, method) for method in METHODS]
        for bracket in found:
            assert max(attacked, bracket.lower.item()) <= bracket.upper.item() < torch.inf
        crown, best = found[1], found[-1]
        assert crown.upper.item() <= found[0].upper.item() + 1e-6
        assert best.upper.item() <= crown.upper.item() + 1e-6
        if example.op.is_continuous:
            assert best.upper.item() - best.lower.item() < 1e-2 * (1 + abs(best.lower.item()))


@pytest.mark.parametrize("example", BOUNDED.values(), ids=BOUNDED)
def test_a_milp_refuses_it(example: Example) -> None:
    with pytest.raises(UnsupportedMethod, match=f"{type(example.op).__name__}\\) exactly"):
        verify.solve(problem(dense(example.op, (3, 4, 3), 0), "untargeted", 0), verify.MILP())


@pytest.mark.parametrize("example", [e for e in EXAMPLES.values() if isinstance(e.op, Curve)], ids=str)
def test_an_end_that_is_no_number_decides_nothing(example: Example) -> None:
    low, high = torch.tensor([[torch.nan, torch.nan, -1.0]]), torch.tensor([[torch.nan, 1.0, torch.nan]])
    box = IntervalBounds(low, high)
    assert isinstance(example.op, Curve)
    assert example.op.unstable((), box).all()
    assert not example.op.linear_on((), box)[0].any()
