"""What norms say of vectors, beside searches by bisection."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from verify.registry import NORMS
from verify.sets.norms import Norm, RoundNorm, norm_of

SIZE, CASES = 9, 30


def farthest(norm: Norm, a: Tensor, down: Tensor, up: Tensor, radius: float) -> float:
    """The largest a . d over the ball of this radius and the range."""
    if isinstance(norm, RoundNorm):
        d = norm.maximiser(a, down, up, radius)
    else:
        reach = radius * torch.from_numpy(norm.reach(SIZE).astype("float64"))
        d = torch.where(a > 0, up.minimum(reach), down.maximum(-reach))
    return float((a * d).sum())


@pytest.mark.parametrize("name", NORMS)
def test_the_shortest_way_is_as_long_as_the_least_radius_that_gains_what_is_wanted(name: str) -> None:
    norm, noise = norm_of(name), torch.Generator().manual_seed(5)
    a, down, up = (torch.randn(CASES, SIZE, generator=noise, dtype=torch.float64) for _ in range(3))
    down, up = -down.abs(), up.abs()
    a[::4, :3], a[1], down[::3, 2:5], up[::7, :2] = 0, 0, 0, 0
    most = torch.where(a > 0, a * up, a * down).sum(1, keepdim=True)
    wanted = torch.rand(CASES, 1, generator=noise, dtype=torch.float64) * most
    wanted[::5] = 2 * most[::5] + 1  # more than there is
    d = norm.shortest(a, wanted, down, up)
    assert bool(((d >= down) & (d <= up)).all())
    gained = wanted.minimum(most)
    torch.testing.assert_close((a * d).sum(1, keepdim=True), gained)
    for case in range(CASES):
        low, high = 0.0, 100.0
        for _ in range(50):
            middle = (low + high) / 2
            enough = farthest(norm, a[case], down[case], up[case], middle) >= float(gained[case]) - 1e-12
            low, high = (low, middle) if enough else (middle, high)
        assert float(norm.measure(d[case])) == pytest.approx(high, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_shortest_way_does_not_overflow(name: str, scale: float) -> None:
    a, ones = torch.tensor([[3.0, -4.0, 0.0]]) * scale, torch.ones(1, 3)
    d = norm_of(name).shortest(a, torch.tensor([[scale]]), -ones, ones)
    torch.testing.assert_close((a / scale * d).sum(1), torch.ones(1))
