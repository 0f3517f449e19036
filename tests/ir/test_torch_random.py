"""The PyTorch front-end on random attributes of windows, padding, resizing and assignments; constants stay exact."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.torch_cases import Call, Function, agree, make
from verify import prove
from verify.errors import UnsupportedOp, VerifyError
from verify.ir.evaluate import exact_value
from verify.ir.torch_export import trace
from verify.problem import robustness

Draw = random.Random


def _window(draw: Draw) -> Callable[[Tensor], Tensor]:
    kernel, stride = (draw.randint(1, 3), draw.randint(1, 4)), (draw.randint(1, 3), draw.randint(1, 3))
    padding = tuple(draw.randint(0, k // 2) for k in kernel)
    ceil, count, divisor = draw.random() < 0.5, draw.random() < 0.5, draw.choice([None, 3, 7])
    return lambda x: torch.cat((F.avg_pool2d(x, kernel, stride, padding, ceil, count, divisor),
                                F.max_pool2d(x, kernel, stride, padding, 1, ceil)), 1)


def _adaptive(draw: Draw) -> Callable[[Tensor], Tensor]:
    size = draw.randint(1, 8), draw.randint(1, 8)
    return lambda x: torch.cat((F.adaptive_avg_pool2d(x, size), F.adaptive_max_pool2d(x, size)), 1)


def _padding(draw: Draw) -> Callable[[Tensor], Tensor]:
    widths = [draw.randint(0, 3) for _ in range(4)]
    mode = draw.choice(["reflect", "replicate", "circular"])
    shorter = [draw.randint(-1, 2) for _ in range(4)]
    return lambda x: F.pad(F.pad(x, widths, mode=mode), shorter, value=0.3)


def _resizing(draw: Draw) -> Callable[[Tensor], Tensor]:
    corners = draw.random() < 0.5
    if draw.random() < 0.5:
        size = draw.randint(1, 9), draw.randint(1, 9)
        return lambda x: F.interpolate(x, size, mode="bilinear", align_corners=corners)
    factor = draw.choice([0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0])
    return lambda x: F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=corners)


def _folding(draw: Draw) -> Callable[[Tensor], Tensor]:
    kernel, stride, padding = draw.randint(1, 3), draw.randint(1, 2), draw.randint(0, 1)
    return lambda x: F.fold(F.unfold(x, kernel, 1, padding, stride), x.shape[2:], kernel, 1, padding, stride)


KINDS = {"window": _window, "adaptive": _adaptive, "padding": _padding, "resizing": _resizing, "folding": _folding}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_random_attributes_agree_with_torch(kind: str, seed: int) -> None:
    draw = Draw(f"{kind} {seed}")
    module = Function(KINDS[kind](draw)).eval()
    x = torch.randn(3, 2, draw.randint(4, 6), draw.randint(4, 6), generator=torch.Generator().manual_seed(seed))
    agree(trace(module, x), module, x)


class _Divided(nn.Module):
    """w (x / c) - w, which is 0 at x = c; the float32 reciprocal of c is too small for these c."""

    divisor: Tensor

    def __init__(self, divisor: float, weight: float):
        super().__init__()
        self.register_buffer("divisor", torch.tensor([divisor]))
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        return x / self.divisor * self.weight - self.weight


def _exact(module: nn.Module, x: Tensor) -> list[Fraction]:
    point = np.array([Fraction(float(v)) for v in x.flatten()], dtype=object).reshape(tuple(x.shape))
    return exact_value(trace(module, x[None]), point).flatten().tolist()


@pytest.mark.parametrize("divisor", [0.2023, 0.3081, 3.0, 41.0])
def test_a_division_by_a_constant_is_exact(divisor: float) -> None:
    assert _exact(_Divided(divisor, 2.0**23), torch.tensor([divisor])) == [0]


@pytest.mark.parametrize("function", [
    lambda x: F.adaptive_avg_pool2d(x, (2, 2)),
    lambda x: F.avg_pool2d(x, 3, 2, 1, True, False),
    lambda x: F.avg_pool2d(x, 3, 3, 0, False, True, 9),
    lambda x: F.interpolate(x, (7, 5), mode="bilinear"),
    lambda x: F.interpolate(x, (7, 4), mode="bilinear", align_corners=True),
    lambda x: x.mean((2, 3)),
])
def test_a_mean_of_ones_is_one(function: Callable[[Tensor], Tensor]) -> None:
    """Weights that are rounded would not add up to one."""
    assert set(_exact(Function(function), torch.ones(1, 3, 3))) == {1}


def test_a_constant_added_with_a_factor_is_exact() -> None:
    offset = torch.tensor([0.1, 1e7, -3.3])
    found = _exact(Function(lambda x: torch.sub(x, offset, alpha=0.3)), torch.zeros(3))
    assert found == [-Fraction(float(v)) * Fraction(float(np.float32(0.3))) for v in offset]


@pytest.mark.parametrize("name", ["prelu", "adaptive, uneven", "stacked product", "assignment", "recurrent both ways"])
def test_compositions_are_certified(name: str) -> None:
    body, x = make(name)
    with torch.no_grad():
        width = body(x[:1]).numel()
    module = nn.Sequential(body, nn.Flatten(), nn.Linear(width, 3)).eval()
    with torch.no_grad():
        labels = torch.cat([module(row[None]) for row in x[:1]]).argmax(1)
    problem = robustness(trace(module, x), x[:1], labels, eps="1/10000", clip=None)
    assert prove(problem, seconds=20).certificate is not None


@pytest.mark.parametrize(("function", "message"), [
    (lambda x: torch.where(x > 0, x + 1, x), "node where .*jumps where its comparison switches"),
    (lambda x: torch.where(x > 0, x.abs(), x.sigmoid()), "node where .*not shown to be affine in each entry"),
    (lambda x: (x > 0).float() * 2, "node mul .*which jumps"),
    (lambda x: (x > 0).float() + x, "node add .*takes a comparison for a number"),
    (lambda x: x.long().float(), "node _to_copy .*torch.int64 of values that vary"),
    (lambda x: x.new_empty(x.shape) + x, "node add .*not finite"),
    (lambda x: F.dropout(x, 0.5, True), "node native_dropout .*drops entries at random"),
    (lambda x: F.interpolate(x[:, None], scale_factor=1.7, mode="linear"), "node upsample_linear1d .*give the size"),
    (lambda x: x.double() + torch.full((3,), 0.1, dtype=torch.float64), "node add .*does not hold.*module.double"),
])
def test_what_is_refused_says_why(function: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(UnsupportedOp, match=message):
        trace(Function(function), torch.rand(1, 3))


def test_memory_that_is_read_before_it_is_set_is_refused() -> None:
    def partly(m: Call, x: Tensor) -> Tensor:
        y = x.new_empty(x.shape[0], 4)
        y[:, :3] = x
        return y.relu()

    with pytest.raises(VerifyError, match=r"torch\.empty left unset"):
        trace(Call(partly), torch.rand(1, 3))
