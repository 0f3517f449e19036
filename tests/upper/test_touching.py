"""Lines of curves that touch where a row likes: sound wherever, downhill by their gradient, tighter once optimised."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import verify
from tests.support.nets import seeded
from verify.ir.torch_export import trace
from verify.ops import Clip, Curve, Erf, Exp, IntervalBounds, Log, Power, Sigmoid, Softplus, Tanh
from verify.sets import Box
from verify.upper.crown import linear_boxes
from verify.upper.duals.activation import activation_layer
from verify.upper.duals.domains import Domains, Objective
from verify.upper.duals.dual import Dual, RelaxedDomains
from verify.upper.duals.touching import Touching

CURVES: list[tuple[Curve, float]] = [  # and the least number of their ranges
    (Sigmoid(), -6.0), (Tanh(), -6.0), (Softplus(), -6.0), (Erf(), -6.0), (Exp(), -6.0), (Log(), 0.1),
    (Clip(Fraction(-1), Fraction(2)), -6.0),
    *((Power(Fraction(n)), least) for n, least in ((2, -6.0), (3, -6.0), (-1, 0.1))),
]


@pytest.mark.parametrize(("op", "least"), CURVES, ids=[str(op) for op, _ in CURVES])
@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=10)
def test_lines_hold_wherever_they_touch(op: Curve, least: float, seed: int) -> None:
    noise = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=noise, dtype=torch.float64)

    low = least + 6 * uniform(4, 20)
    box = IntervalBounds(low, low + 6 * uniform(4, 20) ** 3)
    at = box.low.lerp(box.high, uniform(4, 20))
    layer = activation_layer(op, (), "z", box, 0, torch.arange(20))
    touching = Touching.of(layer, box, at, op.forward((), at))
    a = torch.randn((4, 20), generator=noise, dtype=torch.float64)
    met = touching.cross(a, uniform(4, 20))
    for place in torch.linspace(0, 1, 41):
        x = box.low.lerp(box.high, place.double())
        line, value = touching.value(met.state, x - at), op.forward((), x) - op.forward((), at)
        assert bool(((line - value) * a.sign() >= -1e-12).all())
        rows = met.added + torch.linalg.vecdot(met.rows, x - at)
        torch.testing.assert_close(rows, torch.linalg.vecdot(a, line))


def smooth_net(act: type[nn.Module]) -> verify.Network:
    layers = nn.Linear(6, 12), act(), nn.Linear(12, 12), act(), nn.Linear(12, 3)
    module = seeded(nn.Sequential(*layers), 3)
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(2)
    return trace(module, torch.zeros(1, 6))


@pytest.mark.parametrize("act", [nn.Sigmoid, nn.Tanh, nn.Softplus])
def test_a_small_step_down_the_gradient_lowers_the_bound(act: type[nn.Module]) -> None:
    network = smooth_net(act).double()
    center = torch.rand((2, 6), generator=torch.Generator().manual_seed(0)).double()
    inputs = Box(center - 0.2, center + 0.2)
    dual = Dual(network, inputs, linear_boxes(network, inputs))
    owner = torch.arange(6) % 2
    a = torch.randn((6, 3), generator=torch.Generator().manual_seed(1)).double()
    objective, low, high = Objective(network.graph.output, a), dual.low[owner], dual.high[owner]
    relaxed = RelaxedDomains(dual, Domains(owner, low, high, low * 0, low * 0))
    share = torch.rand(low.shape, generator=torch.Generator().manual_seed(2)).double()
    pulled = relaxed.pull(objective, share, None)
    gradient = relaxed.gradient(pulled, relaxed.primal(objective, pulled))
    assert bool((gradient != 0).any(1).all())
    step = 1e-5 * gradient / gradient.abs().amax(1, keepdim=True)
    assert bool((relaxed.pull(objective, share - step, None).bound < pulled.bound).all())


@pytest.mark.parametrize("act", [nn.Sigmoid, nn.Tanh, nn.Softplus])
def test_optimised_curves_close_a_tenth_of_what_usual_lines_leave(act: type[nn.Module]) -> None:
    network = smooth_net(act)
    x = torch.rand((4, 6), generator=torch.Generator().manual_seed(4))
    problem = verify.robustness(network, x, network(x).argmax(1), eps="1/10", clip=None)
    attack, crown, alpha = (
        verify.solve(problem, method) for method in
        (verify.PGD(stop_when_falsified=False), verify.CROWN(), verify.AlphaCROWN(goal="optimum")))
    assert bool((attack.lower <= alpha.upper).all())
    assert float((crown.upper - alpha.upper).sum()) > 0.1 * float((crown.upper - attack.lower).sum())
