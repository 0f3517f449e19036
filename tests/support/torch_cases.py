"""Small modules, one for each operator of the PyTorch front-end, and how to compare a network with its module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.resnet import shaken
from verify.ir.graph import Network


class Call(nn.Module):
    """A function of its own layers, some constants and the input."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module):
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)
        generator = torch.Generator().manual_seed(5)
        self.register_buffer("left", torch.randn(4, 6, generator=generator))
        self.register_buffer("right", torch.randn(8, 5, generator=generator))
        self.register_buffer("stack", torch.randn(6, 8, 5, generator=generator))
        self.register_buffer("image", torch.rand(2, 1, 1, generator=generator) + 0.5)
        self.register_buffer("order", torch.tensor([1, 0]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def _layer(m: Any, x: Tensor) -> Tensor:
    return m.layers[0](x)


def _lead_to_bare_and_back(m: Any, x: Tensor) -> Tensor:
    y = x.squeeze(0) @ m.right
    return (y.t() @ m.left.t()).relu().mean(0).unsqueeze(0)


def _filled(m: Any, x: Tensor) -> Tensor:
    """Assignment to columns, one column, listed columns, and where a comparison holds."""
    y = torch.zeros(x.shape[0], 12)
    y[:, 1:9] = x
    y[:, 3] = 0.5
    y[:, 0] += 1
    y[:, [11, 9]] = x[:, :2].abs()
    y[y < -0.2] = -0.2
    return y


def _filled_rows(m: Any, x: Tensor) -> Tensor:
    """Memory that is set piece by piece, and rows of it that are added to."""
    y = x.new_empty(x.shape[0], 6, 10)
    y[:, :, :8] = x
    y[:, :, 8:] = m.right[0, :2]
    y[:, 1:3] += x[:, :2, :1]
    y[:, ::2, 4] = x[:, 1::2, 0]
    return y


def _recurrence(m: Any, x: Tensor) -> Tensor:
    return m.layers[0](x)[0]


def _attention(m: Any, x: Tensor) -> Tensor:
    return m.layers[0](x, x, x, need_weights=False)[0]


def _columns(x: Tensor) -> Tensor:
    return torch.tensor([[[3, 0]] * 6]).expand(len(x), 6, 2)


def _spelled(x: Tensor, axis: int) -> Tensor:
    """A softmax by its definition."""
    terms = x.exp()
    return terms / terms.sum(axis, True)


def _double_inside(m: Any, x: Tensor) -> Tensor:
    return (x.double() @ m.right.double() + 0.5).relu().float() - 0.25


IMAGE, ROWS, FLAT = (2, 6, 6), (6, 8), (8,)
CASES: dict[str, tuple[tuple[int, ...], Callable[..., Tensor], list[Callable[[], nn.Module]]]] = {
    "linear": (FLAT, _layer, [lambda: nn.Linear(8, 3)]),
    "linear without bias": (FLAT, _layer, [lambda: nn.Linear(8, 3, bias=False)]),
    "linear over rows": (ROWS, _layer, [lambda: nn.Linear(8, 3)]),
    "mm": (FLAT, lambda m, x: x @ m.right, []),
    "addmm": (FLAT, lambda m, x: torch.addmm(m.right[0], x, m.right, beta=2, alpha=0.5), []),
    "addmm of a matrix": (FLAT, lambda m, x: torch.addmm(m.right[:1], x, m.right), []),
    "matmul over rows": (ROWS, lambda m, x: x @ m.right, []),
    "matmul from the left": (ROWS, lambda m, x: m.left @ x, []),
    "bmm": (ROWS, lambda m, x: torch.bmm(x, m.right.expand(x.shape[0], 8, 5)), []),
    "stacked product": (ROWS, lambda m, x: x[:, :, None] @ m.stack, []),
    "stacked product over rows": (IMAGE, lambda m, x: x @ m.stack[:2, :6], []),
    "einsum with a weight": (FLAT, lambda m, x: torch.einsum("bi,io->bo", x, m.right), []),
    "einsum over maps": (IMAGE, lambda m, x: torch.einsum("bchw,kh->bckw", x, m.left), []),
    "einsum by row": (ROWS, lambda m, x: torch.einsum("btd,tde->bte", x, m.stack), []),
    "einsum to numbers": (ROWS, lambda m, x: torch.einsum("btd,dt->b", x, m.stack[:, :, 0].t())[:, None], []),
    "matrix on maps": (IMAGE, lambda m, x: m.left @ x, []),
    "rows first and back": (ROWS, lambda m, x: m.layers[0](x.transpose(0, 1)).relu().permute(1, 2, 0),
                            [lambda: nn.Linear(8, 3)]),
    "columns first": (FLAT, lambda m, x: (m.right.t() @ x.t().contiguous()).t(), []),
    "recurrent": (ROWS, _recurrence, [lambda: nn.RNN(8, 3, batch_first=True)]),
    "recurrent both ways": (ROWS, _recurrence, [lambda: nn.RNN(8, 3, 2, "relu", batch_first=True, bidirectional=True)]),
    "cumulative sum": (IMAGE, lambda m, x: x.cumsum(2) - x.cumsum(1), []),
    "double inside": (FLAT, _double_inside, []),
    "no batch inside": (ROWS, _lead_to_bare_and_back, []),
    "conv1d": (ROWS, _layer, [lambda: nn.Conv1d(6, 4, 3, stride=2, padding=1)]),
    "conv1d same": (ROWS, _layer, [lambda: nn.Conv1d(6, 4, 3, padding="same", dilation=2)]),
    "conv2d": (IMAGE, _layer, [lambda: nn.Conv2d(2, 4, (3, 2), padding=(1, 0), dilation=2, groups=2)]),
    "conv2d without bias": (IMAGE, _layer, [lambda: nn.Conv2d(2, 3, 3, bias=False)]),
    "conv2d reflecting": (IMAGE, _layer, [lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect")]),
    "conv3d": ((2, 4, 4, 4), _layer, [lambda: nn.Conv3d(2, 3, 2)]),
    "transposed conv": (IMAGE, _layer, [lambda: nn.ConvTranspose2d(2, 4, 3, 2, 1, 1, groups=2)]),
    "batch norm": (IMAGE, _layer, [lambda: shaken(nn.BatchNorm2d(2))]),
    "batch norm of features": (FLAT, _layer, [lambda: shaken(nn.BatchNorm1d(8, eps=1e-3))]),
    "batch norm, not affine": (IMAGE, _layer, [lambda: shaken(nn.BatchNorm2d(2, affine=False))]),
    "relu": (FLAT, lambda m, x: x.relu(), []),
    "leaky relu": (FLAT, lambda m, x: F.leaky_relu(x, 0.3) + F.leaky_relu(x), []),
    "prelu": (IMAGE, _layer, [lambda: nn.PReLU(2, init=0.3)]),
    "prelu with negative slopes": (FLAT, lambda m, x: F.prelu(x, m.right[:, 0]), []),
    "rrelu": (FLAT, lambda m, x: F.rrelu(x), []),
    "threshold": (FLAT, lambda m, x: F.threshold(x, 0, 0) + F.threshold(x, 0.25, 0.25), []),
    "threshold that jumps": (FLAT, lambda m, x: F.threshold(x, 0.25, -0.5), []),
    "steps": (FLAT, lambda m, x: x.sign() + (3 * x).floor() - (5 * x).ceil() + (2 * x).round(), []),
    "heaviside": (FLAT, lambda m, x: torch.heaviside(x, x.new_full((), 0.5)), []),
    "hardshrink": (FLAT, lambda m, x: F.hardshrink(x, 0.3) + F.hardshrink(2 * x, 1.1), []),
    "hyperbolic": (FLAT, lambda m, x: x.sinh() - x.cosh() + (x / 4).tan(), []),
    "grid sample": ((2, 4, 3), lambda m, x: F.grid_sample(
        x, torch.linspace(-1.2, 1.1, 24).reshape(1, 3, 4, 2).expand(len(x), 3, 4, 2), align_corners=False), []),
    "grid sample of the nearest": ((2, 4, 3), lambda m, x: F.grid_sample(
        x, torch.linspace(-1.2, 1.1, 24).reshape(1, 3, 4, 2).expand(len(x), 3, 4, 2), "nearest", "border", True), []),
    "softshrink": (FLAT, lambda m, x: F.softshrink(x, 0.3), []),
    "where": (ROWS, lambda m, x: torch.where(x <= 0.5, x * 0.5 - 0.25, (x - 0.5) / 3), []),
    "where by tensors": (ROWS, lambda m, x: torch.where(x > m.right[:, 0], x, m.right[:, 0]), []),
    "where of two": (ROWS, lambda m, x: torch.where(x[:, :3] > x[:, 3:], x[:, 3:], x[:, :3]), []),
    "where by a constant": (ROWS, lambda m, x: torch.where(m.right[:, 0] > 0, x, -x) + x.tril(), []),
    "product with a mask": (FLAT, lambda m, x: x * (x > 0) + (x >= 0).float() * (-x) + x.masked_fill(x < 0, 0), []),
    "hardtanh": (FLAT, lambda m, x: F.hardtanh(x, -0.5, 0.7) + F.relu6(8 * x), []),
    "hardsigmoid": (FLAT, lambda m, x: F.hardsigmoid(5 * x), []),
    "clamp": (FLAT, lambda m, x: x.clamp(-0.2, 0.6), []),
    "clamp min": (FLAT, lambda m, x: x.clamp(min=-0.2) + x.clamp(min=0), []),
    "clamp max": (FLAT, lambda m, x: x.clamp(max=0.4), []),
    "clamp tensors": (ROWS, lambda m, x: x.clamp(m.right[:, 0], m.right[:, 0] + 1), []),
    "abs and neg": (FLAT, lambda m, x: x.abs() - (-x), []),
    "softplus": (FLAT, lambda m, x: F.softplus(x) - F.softplus(30 * x, 2, 25), []),
    "exp and log": (FLAT, lambda m, x: x.exp() - (x.abs() + 0.3).log() + x.abs().log1p() - x.expm1(), []),
    "powers": (FLAT, lambda m, x: x**2 - x.square() * 0.3 + (x.abs() + 0.5) ** 1.3 + x**3 - x**1, []),
    "roots": (FLAT, lambda m, x: x.abs().sqrt() + (x.abs() + 1).rsqrt() - 1 / (x.abs() + 0.7), []),
    "gelu": (FLAT, lambda m, x: F.gelu(2 * x) - F.gelu(x, approximate="tanh"), []),
    "silu and mish": (FLAT, lambda m, x: F.silu(x) - F.mish(3 * x), []),
    "gates": (FLAT, lambda m, x: x * x.sigmoid() - (1.702 * x).sigmoid() * x + x * F.softplus(x).tanh()
              + 0.5 * x * (1 + torch.erf(x / 2**0.5)) + x * F.hardsigmoid(x), []),
    "softsign": (FLAT, lambda m, x: F.softsign(3 * x), []),
    "elu": (FLAT, lambda m, x: F.elu(x, 1.5) - F.selu(x) + F.celu(2 * x, 0.7), []),
    "hardswish": (FLAT, lambda m, x: F.hardswish(3 * x), []),
    "waves": (FLAT, lambda m, x: (4 * x).sin() - (3 * x).cos() + x.atan(), []),
    "erf": (FLAT, lambda m, x: x.erf(), []),
    "sigmoid and tanh": (FLAT, lambda m, x: x.sigmoid() + x.tanh(), []),
    "add and sub": (FLAT, lambda m, x: torch.add(x, x.relu(), alpha=2) - torch.sub(x, x.abs(), alpha=0.5), []),
    "add constants": (ROWS, lambda m, x: 1 + torch.sub(m.right[:, 1], x + m.right.t()[0], alpha=2), []),
    "broadcast a constant": ((2, 1, 6), lambda m, x: x + m.image * x, []),
    "broadcast a value": (IMAGE, lambda m, x: x - x.mean((2, 3), keepdim=True), []),
    "mul and div": (IMAGE, lambda m, x: (x * m.image / 3.0 - 0.1) / m.image[None], []),
    "products": (IMAGE, lambda m, x: x * x.mean((2, 3), keepdim=True) - x.abs() * x / (1 + x * x) + 2 / (x.exp() + 1),
                 []),
    "products of matrices": (ROWS, lambda m, x: (x @ x.transpose(1, 2)) @ (x - m.right[:, 0]), []),
    "products along an axis": (ROWS, lambda m, x: x[:, :5].prod(1) + x.var(1) + x.std(1, unbiased=False), []),
    "softmax of rows": (ROWS, lambda m, x: (3 * x).softmax(2) - x.log_softmax(1) + (2 * x).logsumexp(1, True), []),
    "softmax of two": (ROWS, lambda m, x: x.reshape(-1, 12, 2, 2).softmax(2).flatten(1)
                       + x.reshape(-1, 24, 2).log_softmax(2).flatten(1), []),
    "softmax spelled out": (ROWS, lambda m, x: _spelled(x, 2) - _spelled(x - x.amax(1, True), 1), []),
    "softmax with a mask": (ROWS, lambda m, x: 1 - x.masked_fill(m.stack[0, :, 0] > 0.5, -torch.inf).softmax(2), []),
    "log-sum-exp of two": (ROWS, lambda m, x: torch.logaddexp(x[:, :3], x[:, 3:]) + F.logsigmoid(x[:, :3]), []),
    "attention": (ROWS, _attention, [lambda: nn.MultiheadAttention(8, 2, batch_first=True)]),
    "causal attention": (ROWS, lambda m, x: F.scaled_dot_product_attention(x, x, x.flip(1), is_causal=True), []),
    "layer norm": (ROWS, _layer, [lambda: shaken(nn.LayerNorm([6, 8]))]),
    "root mean square norm": (ROWS, _layer, [lambda: nn.RMSNorm(8)]),
    "group norm": (IMAGE, _layer, [lambda: shaken(nn.GroupNorm(2, 2))]),
    "instance norm": (IMAGE, _layer, [lambda: shaken(nn.InstanceNorm2d(2, affine=True))]),
    "response norm": (IMAGE, _layer, [lambda: nn.LocalResponseNorm(2, 0.5)]),
    "norms": (ROWS, lambda m, x: x.norm(dim=1) + x.norm(1, 1) + x.abs().amax(1) + F.normalize(x, dim=1).sum(1), []),
    "distances": (ROWS, lambda m, x: torch.cdist(x[:, :2], x[:, 2:]), []),
    "bilinear": (FLAT, lambda m, x: m.layers[0](x[:, :4], x[:, 4:]), [lambda: nn.Bilinear(4, 4, 3)]),
    "long short-term memory": (ROWS, _recurrence, [lambda: nn.LSTM(8, 3, 2, batch_first=True, bidirectional=True)]),
    "gated recurrence": (ROWS, _recurrence, [lambda: nn.GRU(8, 3, batch_first=True)]),
    "gather and scatter": (ROWS, lambda m, x: x.gather(2, _columns(x)).sum(2) + x.scatter(2, _columns(x), x[:, :, :2])
                           .scatter(2, _columns(x), 0.25).sum(2), []),
    "max pool 1d": (ROWS, lambda m, x: F.max_pool1d(x, 2), []),
    "max pool 2d": (IMAGE, lambda m, x: F.max_pool2d(x, 3, 2, 1), []),
    "max pool with ceil and dilation": (IMAGE, lambda m, x: F.max_pool2d(x, 2, 3, 0, 2, ceil_mode=True), []),
    "max pool 3d": ((2, 4, 4, 4), lambda m, x: F.max_pool3d(x, 2), []),
    "avg pool": (IMAGE, lambda m, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False, ceil_mode=True), []),
    "avg pool 1d": (ROWS, lambda m, x: F.avg_pool1d(x, 2), []),
    "avg pool with a divisor": (IMAGE, lambda m, x: F.avg_pool2d(x, 3, 2, 1, True, True, 7), []),
    "adaptive, uneven": (IMAGE, lambda m, x: F.adaptive_avg_pool2d(x, (4, 9)), []),
    "adaptive 1d": (ROWS, lambda m, x: F.adaptive_avg_pool1d(x, 3), []),
    "adaptive 3d": ((2, 2, 3, 5), lambda m, x: F.adaptive_avg_pool3d(x, (3, 2, 4)), []),
    "adaptive max": (IMAGE, lambda m, x: F.adaptive_max_pool2d(x, (4, 9)), []),
    "adaptive max 1d": (ROWS, lambda m, x: F.adaptive_max_pool1d(x, 3), []),
    "adaptive to 1": (IMAGE, lambda m, x: F.adaptive_avg_pool2d(x, 1), []),
    "adaptive": (IMAGE, lambda m, x: F.adaptive_avg_pool2d(x, (3, 2)), []),
    "mean and sum": (IMAGE, lambda m, x: x.mean((2, 3)) + x.sum(1, keepdim=True).mean((1, 2, 3)).unsqueeze(1), []),
    "amax and max": (IMAGE, lambda m, x: x.amax((1, 3)) + x.max(1).values.min(-1).values - x.amin((1, 2)), []),
    "maximum": (ROWS, lambda m, x: torch.maximum(x[:, :3], x[:, 3:]), []),
    "minimum": (ROWS, lambda m, x: torch.minimum(x, x.mean(1, keepdim=True)), []),
    "maximum with a constant": (ROWS, lambda m, x: x.maximum(m.right[:, 0]) - torch.minimum(m.right[:, 1], x), []),
    "cat": (IMAGE, lambda m, x: torch.cat((x, x.relu(), x[:, :, :, :2]), 3), []),
    "cat with constants": (ROWS, lambda m, x: torch.cat((m.left[:, :1].expand(x.shape[0], 4, 8), x, x[:, :1]), 1), []),
    "stack": (FLAT, lambda m, x: torch.stack((x, x.abs()), 2), []),
    "split": (ROWS, lambda m, x: x.split([1, 5], 1)[1] - torch.cat(x.chunk(2, 2), 1)[:, :5].repeat(1, 1, 2), []),
    "unbind": (ROWS, lambda m, x: x.unbind(1)[2] + x.select(1, -1), []),
    "slice": (IMAGE, lambda m, x: x[:, :, 1:5:2, ..., -3:], []),
    "first sample": (IMAGE, lambda m, x: x[0].flatten()[None], []),
    "index": (IMAGE, lambda m, x: x[:, [1, 0]][:, m.order].index_select(1, m.order), []),
    "index in pairs": (IMAGE, lambda m, x: x[:, :, [0, 1, 2], [3, 4, 5]], []),
    "view": (IMAGE, lambda m, x: x.reshape(x.shape[0], -1, 4).view(x.shape[0], 3, 24), []),
    "flatten": (IMAGE, lambda m, x: x.flatten(1).relu().unflatten(1, (8, 9)), []),
    "permute": (IMAGE, lambda m, x: x.permute(0, 3, 1, 2).transpose(1, -1), []),
    "squeeze": ((1, 8), lambda m, x: x.squeeze(1).unsqueeze(-1), []),
    "expand": ((1, 8), lambda m, x: x.expand(-1, 3, -1), []),
    "pad": (IMAGE, lambda m, x: F.pad(x, (1, 0, -1, 2)) + F.pad(x, (1, 0, -1, 2), value=0.5), []),
    "pad by reflection": (IMAGE, lambda m, x: F.pad(x, (1, 2, 3, 0), mode="reflect"), []),
    "pad by replication": (ROWS, lambda m, x: F.pad(x, (2, 1), mode="replicate"), []),
    "pad around": (IMAGE, lambda m, x: F.pad(x, (1, 2, 3, 0), mode="circular"), []),
    "conv2d around": (IMAGE, _layer, [lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")]),
    "unfold": (IMAGE, lambda m, x: F.unfold(x, (2, 3), stride=2, padding=1), []),
    "unfold an axis": (ROWS, lambda m, x: x.unfold(2, 3, 2), []),
    "fold": ((8, 9), lambda m, x: F.fold(x, (4, 4), 2), []),
    "fold with padding": ((8, 4), lambda m, x: F.fold(x, (3, 3), 2, padding=1, stride=2), []),
    "assignment": (FLAT, _filled, []),
    "assignment to rows": (ROWS, _filled_rows, []),
    "resize linearly": (IMAGE, lambda m, x: F.interpolate(x, (9, 4), mode="bilinear"), []),
    "resize by factors": (IMAGE, lambda m, x: F.interpolate(x, scale_factor=(2, 1.5), mode="bilinear"), []),
    "resize with corners": (IMAGE, lambda m, x: F.interpolate(x, (9, 4), mode="bilinear", align_corners=True), []),
    "resize 1d": (ROWS, lambda m, x: F.interpolate(x, 11, mode="linear"), []),
    "resize 3d": ((1, 2, 3, 4), lambda m, x: F.interpolate(x, (3, 2, 7), mode="trilinear"), []),
    "resize by cubes": (IMAGE, lambda m, x: F.interpolate(x, (9, 4), mode="bicubic"), []),
    "upsample": (IMAGE, lambda m, x: F.interpolate(x, scale_factor=2) - F.interpolate(x.abs(), (12, 12)), []),
    "upsample exactly": (IMAGE, lambda m, x: F.interpolate(x, (9, 7), mode="nearest-exact"), []),
    "upsample to a size": (ROWS, lambda m, x: F.interpolate(x, 11), []),
    "pixel shuffle": ((4, 3, 3), lambda m, x: F.pixel_shuffle(x, 2), []),
    "flip and roll": (IMAGE, lambda m, x: x.flip(2, 3).roll(1, 3), []),
    "aliases": (IMAGE, lambda m, x: F.dropout(x.clone().detach().to(torch.float32).contiguous(), 0.5, m.training), []),
    "dropout": (IMAGE, _layer, [lambda: nn.Dropout(0.5)]),
    "like": (FLAT, lambda m, x: x + torch.full_like(x, 0.25), []),
    "weight norm": (FLAT, _layer, [lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 3))]),
}


def make(name: str) -> tuple[nn.Module, Tensor]:
    """The module of a case in eval mode, and seven inputs."""
    shape, function, layers = CASES[name]
    torch.manual_seed(2)
    module = Call(function, *(build() for build in layers)).eval()
    return module, torch.randn(7, *shape, generator=torch.Generator().manual_seed(1))


def _one_by_one(module: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([module(row[None]) for row in x])


def agree(network: Network, module: nn.Module, x: Tensor, tolerance: float = 1e-5) -> None:
    expected = _one_by_one(module, x)
    torch.testing.assert_close(network(x), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(torch.cat([network(row[None]) for row in x]), expected, rtol=tolerance, atol=tolerance)


class Function(nn.Module):
    """A function of the input alone."""

    def __init__(self, function: Callable[[Tensor], Any]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def small() -> nn.Sequential:
    """A network with each common kind of layer, for inputs (batch, 1, 4, 4)."""
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), shaken(nn.BatchNorm2d(3)), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(12, 4), nn.Sigmoid(), nn.Linear(4, 2, bias=False),
    )
