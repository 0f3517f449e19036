"""On a GPU every method says what it says on the CPU. Skipped, with the reason, where there is none."""

from __future__ import annotations

import pytest
import torch
from verify.models import build, digits
from verify.models.architectures import make

import verify
from verify.method import Method
from verify.train.live import Live
from verify.train.losses import LOSSES

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
BOUNDS = (verify.Interval(), verify.CROWN(), verify.AlphaCROWN())


@pytest.fixture(autouse=True)
def _plain_float32() -> None:
    torch.backends.cudnn.allow_tf32 = False


def problem(name: str, device: str) -> verify.Problem:
    x, y = digits()
    module, example = build(name)
    return verify.robustness(verify.trace(module, example).to(device), x[:16], y[:16], eps="0.05")


@pytest.mark.parametrize("method", BOUNDS, ids=lambda m: m.name)
@pytest.mark.parametrize("name", ["digits-dense-adversarial", "digits-conv-interval"])
def test_upper_bounds_agree(name: str, method: Method) -> None:
    here, there = (verify.solve(problem(name, device), method).upper.cpu() for device in ("cpu", "cuda"))
    torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-3)


def test_attacks_and_searches_agree_on_verdicts() -> None:
    for method in (verify.PGD(restarts=2), verify.BranchAndBound(time_limit=20)):
        here, there = (verify.solve(problem("digits-conv-interval", device), method) for device in ("cpu", "cuda"))
        decided = [pair for pair in zip(here.verdicts, there.verdicts, strict=True) if "unknown" not in map(str, pair)]
        assert decided
        assert all(a == b for a, b in decided)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_agree(name: str) -> None:
    module = make("resnet-small", (1, 12, 12), 4, batch_norm=True)
    x, y = torch.rand(8, 1, 12, 12, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4
    found = []
    for device in ("cpu", "cuda"):
        live, noise = Live(module.to(device), x.to(device)), torch.Generator().manual_seed(1)
        module.zero_grad()
        loss = LOSSES[name]()(live.on_batch(at := x.to(device)), at, y.to(device), 0.05, noise)
        loss.backward()
        gradients = (p.grad for p in live.weights.values() if p.grad is not None)
        found.append([loss.detach().cpu(), *(g.cpu().clone() for g in gradients)])
    scale = max(float(g.abs().max()) for g in found[0][1:])  # biases before a normalisation have no gradient but noise
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-2, atol=2e-3 * scale)
