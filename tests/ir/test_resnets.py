"""Residual networks as torchvision writes them go through every backend without special cases."""

from __future__ import annotations

import pytest
import torch

import verify
from tests.support.resnet import BasicBlock, Bottleneck, resnet


@pytest.mark.parametrize(
    ("block", "layers", "size"), [(BasicBlock, (2, 2, 2, 2), 16), (Bottleneck, (3, 4, 6, 3), 32)], ids=["18", "50"]
)
def test_traced_attacked_and_bounded(block: type, layers: tuple[int, ...], size: int) -> None:
    torch.manual_seed(0)
    net = verify.trace(resnet(block, layers).eval(), torch.zeros(1, 3, size, size))
    x = torch.rand((2, 3, size, size), generator=torch.Generator().manual_seed(1))
    labels = net(x).argmax(1)
    problem = verify.robustness(net, x, labels, eps="1/100000")
    attack = verify.solve(problem, verify.PGD(steps=2))
    interval = verify.solve(problem, verify.Interval())
    attack.meet(interval)
    assert bool(torch.isfinite(interval.upper).all())
    if block is BasicBlock:
        crown = verify.solve(problem.select(torch.tensor([0])), verify.CROWN())
        assert crown.verdicts == [verify.Verdict.VERIFIED]
        assert float(crown.upper[0]) < float(interval.upper[0])
        assert float(crown.upper[0]) >= float(attack.lower[0]) - 1e-5
