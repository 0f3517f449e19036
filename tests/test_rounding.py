"""Networks that float32 or a solver's tolerance gets wrong: nothing false may be said of them."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import nn

import verify
from verify.bracket import Verdict
from verify.method import Method

METHODS: list[Method] = [
    verify.FGSM(), verify.PGD(), verify.Interval(), verify.CROWN(), verify.AlphaCROWN(), verify.LP(), verify.MILP(),
]


def chain(*layers: tuple[list[list[float]], list[float]]) -> nn.Sequential:
    """Linear layers with these weights and biases, ReLU in between."""
    modules: list[nn.Module] = []
    for weight, bias in layers:
        linear = nn.Linear(len(weight[0]), len(weight))
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(weight))
            linear.bias.copy_(torch.tensor(bias))
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1]).eval()


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_a_needle_is_not_verified_away(method: Method) -> None:
    needle = chain(([[1e6]], [-1.0]), ([[-1.0]], [1.0]), ([[0.0], [1.0]], [0.999, 0.0]))  # v(0) = 0.001, else -0.999
    problem = verify.robustness(verify.trace(needle, torch.zeros(1, 1)), torch.tensor([[0.5]]), [0], eps="1/2")
    bracket = verify.solve(problem, method)
    assert bracket.verdicts != [Verdict.VERIFIED]
    assert float(bracket.upper[0]) >= 0.0009


@cache
def cancelling() -> list[tuple[verify.Problem, float, float]]:
    """(a problem of one point, its violation in float64, the scale of the first layer's weights)."""
    problems = []
    for seed in range(40):
        random = torch.Generator().manual_seed(seed)
        scale = 10.0 ** (2 + seed % 4)
        sizes = (3, 6, 4, 2)
        layers = [(torch.randn((n, m), generator=random), torch.randn(n, generator=random)) for m, n in pairwise(sizes)]
        layers[0] = (layers[0][0] * scale, layers[0][1] * scale)
        module = chain(*((w.tolist(), b.tolist()) for w, b in layers))
        x = torch.rand((1, 3), generator=random)
        with torch.no_grad():
            logits = module.double()(x.double())[0]
            last = module.float()[4]
            assert isinstance(last, nn.Linear)
            last.bias[0] += float(logits[1] - logits[0])
            logits = module.double()(x.double())[0]
            value = float(logits[1] - logits[0])  # close to 0, on either side
        problem = verify.robustness(verify.trace(module.float(), x), x, [0], eps=0, clip=None)
        problems.append((problem, value, scale))
    return problems


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_cancellation_at_a_point_verifies_nothing_false(method: Method) -> None:
    for seed, (problem, value, scale) in enumerate(cancelling()):
        verdict = verify.solve(problem, method).verdicts[0]
        assert not (verdict is Verdict.VERIFIED and value >= 0), seed
        assert not (verdict is Verdict.FALSIFIED and value < -1e-9 * scale), seed


def test_tiny_weights_amplified_later_stay_within_what_a_solver_resolves() -> None:
    for bias, robust in ((0.3, False), (0.6, True)):
        net = chain(([[1e-9], [-1e-9]], [-0.5e-9, 0.5e-9]), ([[1e9, 1e9], [0.0, 0.0]], [0.0, bias]))
        problem = verify.robustness(verify.trace(net, torch.zeros(1, 1)), torch.tensor([[0.5]]), [1], eps="1/2")
        bracket = verify.solve(problem, verify.MILP())
        assert float(bracket.upper[0]) >= 0.5 - bias - 1e-6
        assert robust or bracket.verdicts != [Verdict.VERIFIED]
