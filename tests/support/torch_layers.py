"""What torch.nn and torch.nn.functional offer, a small instance of each: name, shape of one sample, module."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from fractions import Fraction
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import verify
from verify.errors import InputError, UnsupportedOp
from verify.ir.graph import Network
from verify.ops import IntervalBounds
from verify.problem import Problem
from verify.rows import Row
from verify.sets import Box
from verify.spec import from_rows
from verify.upper.crown import linear_boxes

HEAD = """# Layers and functions of torch

What `verify.trace` makes of a small instance of each, whether linear bounds (CROWN) over a box of radius 0.05 are
finite, and whether the checker accepts a certificate that the first outputs stay below them, with the width of the
bounds to spare; else the reason why not. [operators.md](operators.md) says the same of the operators that layers are
made of. The table is written by `python -m tests.support.torch_layers`, and a test compares it.

"""

FLAT, ROWS, IMAGE, SQUARE, VOLUME = (8,), (6, 8), (4, 6, 6), (8, 8), (2, 4, 4, 4)


class Of(nn.Module):
    """A function of the input and of layers of its own."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module):
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers)


def _halves(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], nn.Module]:
    """A function of the two halves of a flat input, each a batch of rows."""
    return lambda: Of(lambda x: function(x[:, :4], x[:, 4:]))


def _cell(cell: nn.Module) -> nn.Module:
    """Three steps of a recurrent cell."""
    def steps(x: Tensor, cell: Any) -> Tensor:
        state = None
        for t in range(3):
            state = cell(x[:, t], state)
        return state[0] if isinstance(state, tuple) else state  # type: ignore[return-value]
    return Of(steps, cell)


def _attended(x: Tensor) -> Tensor:
    heads = x.reshape(-1, 6, 2, 4).transpose(1, 2)
    return F.scaled_dot_product_attention(heads, heads * 0.5, heads.flip(2)).transpose(1, 2).reshape(-1, 6, 8)


def _causal(x: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(x, x, x, is_causal=True)


def _squeezed(x: Tensor, down: nn.Module, up: nn.Module) -> Tensor:
    """Squeeze and excitation."""
    gate = up(F.silu(down(x.mean((2, 3), keepdim=True)))).sigmoid()
    return x * gate


LAYERS: dict[str, tuple[tuple[int, ...], Callable[[], nn.Module]]] = {
    # linear
    "Identity": (FLAT, nn.Identity),
    "Linear": (FLAT, lambda: nn.Linear(8, 3)),
    "Bilinear": (FLAT, lambda: Of(lambda x, b: b(x[:, :4], x[:, 4:]), nn.Bilinear(4, 4, 3))),
    "LazyLinear": (FLAT, lambda: nn.LazyLinear(3)),
    "Embedding": (FLAT, lambda: Of(lambda x, e: x + e(torch.tensor([1])), nn.Embedding(4, 8))),
    # convolutions
    "Conv1d": (ROWS, lambda: nn.Conv1d(6, 4, 3, 2, 1)),
    "Conv2d": (IMAGE, lambda: nn.Conv2d(4, 4, 3, 1, 2, 2, groups=2)),
    "Conv3d": (VOLUME, lambda: nn.Conv3d(2, 3, 2)),
    "ConvTranspose1d": (ROWS, lambda: nn.ConvTranspose1d(6, 4, 3, 2, 1, 1)),
    "ConvTranspose2d": (IMAGE, lambda: nn.ConvTranspose2d(4, 4, 3, 2, 1, 1, 2)),
    "ConvTranspose3d": (VOLUME, lambda: nn.ConvTranspose3d(2, 3, 2)),
    "Unfold": (IMAGE, lambda: nn.Unfold(3, padding=1)),
    "Fold": ((8, 9), lambda: nn.Fold((4, 4), 2)),
    # pooling
    "MaxPool1d": (ROWS, lambda: nn.MaxPool1d(2)),
    "MaxPool2d": (IMAGE, lambda: nn.MaxPool2d(3, 2, 1)),
    "MaxPool3d": (VOLUME, lambda: nn.MaxPool3d(2)),
    "MaxUnpool2d": (IMAGE, lambda: Of(
        lambda x, p, u: u(*p(x)), nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2))),
    "AvgPool1d": (ROWS, lambda: nn.AvgPool1d(2)),
    "AvgPool2d": (IMAGE, lambda: nn.AvgPool2d(3, 2, 1)),
    "AvgPool3d": (VOLUME, lambda: nn.AvgPool3d(2)),
    "FractionalMaxPool2d": (IMAGE, lambda: nn.FractionalMaxPool2d(2, output_size=3)),
    "LPPool1d": (ROWS, lambda: nn.LPPool1d(2, 2)),
    "LPPool2d": (IMAGE, lambda: nn.LPPool2d(2, 2)),
    "AdaptiveMaxPool1d": (ROWS, lambda: nn.AdaptiveMaxPool1d(3)),
    "AdaptiveMaxPool2d": (IMAGE, lambda: nn.AdaptiveMaxPool2d((4, 5))),
    "AdaptiveAvgPool1d": (ROWS, lambda: nn.AdaptiveAvgPool1d(3)),
    "AdaptiveAvgPool2d": (IMAGE, lambda: nn.AdaptiveAvgPool2d((4, 5))),
    "AdaptiveAvgPool3d": (VOLUME, lambda: nn.AdaptiveAvgPool3d((3, 2, 4))),
    # padding
    "ReflectionPad1d": (ROWS, lambda: nn.ReflectionPad1d(2)),
    "ReflectionPad2d": (IMAGE, lambda: nn.ReflectionPad2d(1)),
    "ReplicationPad2d": (IMAGE, lambda: nn.ReplicationPad2d(1)),
    "ZeroPad2d": (IMAGE, lambda: nn.ZeroPad2d(1)),
    "ConstantPad1d": (ROWS, lambda: nn.ConstantPad1d(1, 0.5)),
    "CircularPad2d": (IMAGE, lambda: nn.CircularPad2d(1)),
    # activations
    "ReLU": (FLAT, nn.ReLU), "ReLU6": (FLAT, nn.ReLU6), "LeakyReLU": (FLAT, nn.LeakyReLU), "PReLU": (FLAT, nn.PReLU),
    "RReLU": (FLAT, nn.RReLU), "Threshold": (FLAT, lambda: nn.Threshold(0.1, 0.1)),
    "Threshold with a jump": (FLAT, lambda: nn.Threshold(0.1, 20.0)), "Hardtanh": (FLAT, nn.Hardtanh),
    "Hardsigmoid": (FLAT, nn.Hardsigmoid), "Hardswish": (FLAT, nn.Hardswish), "Hardshrink": (FLAT, nn.Hardshrink),
    "Softshrink": (FLAT, nn.Softshrink), "Tanhshrink": (FLAT, nn.Tanhshrink), "Softsign": (FLAT, nn.Softsign),
    "Softplus": (FLAT, nn.Softplus), "Sigmoid": (FLAT, nn.Sigmoid), "LogSigmoid": (FLAT, nn.LogSigmoid),
    "Tanh": (FLAT, nn.Tanh), "ELU": (FLAT, nn.ELU), "SELU": (FLAT, nn.SELU), "CELU": (FLAT, lambda: nn.CELU(0.5)),
    "GELU": (FLAT, nn.GELU), "GELU of tanh": (FLAT, lambda: nn.GELU("tanh")), "SiLU": (FLAT, nn.SiLU),
    "Mish": (FLAT, nn.Mish), "GLU": (FLAT, nn.GLU), "Softmax": (FLAT, lambda: nn.Softmax(1)),
    "Softmin": (FLAT, lambda: nn.Softmin(1)), "LogSoftmax": (FLAT, lambda: nn.LogSoftmax(1)),
    "Softmax2d": (IMAGE, nn.Softmax2d), "Softmax in the middle": (ROWS, lambda: Of(lambda x: 2 * x.softmax(2) + 1)),
    "LogSoftmax in the middle": (ROWS, lambda: Of(lambda x: -x.log_softmax(1).sum(1))),
    # normalisation
    "BatchNorm1d": (FLAT, lambda: nn.BatchNorm1d(8)), "BatchNorm2d": (IMAGE, lambda: nn.BatchNorm2d(4)),
    "BatchNorm3d": (VOLUME, lambda: nn.BatchNorm3d(2)),
    "BatchNorm2d without statistics": (IMAGE, lambda: nn.BatchNorm2d(4, track_running_stats=False)),
    "GroupNorm": (IMAGE, lambda: nn.GroupNorm(2, 4)), "LayerNorm": (ROWS, lambda: nn.LayerNorm(8)),
    "LayerNorm over two axes": (ROWS, lambda: nn.LayerNorm([6, 8])), "RMSNorm": (ROWS, lambda: nn.RMSNorm(8)),
    "InstanceNorm1d": (ROWS, lambda: nn.InstanceNorm1d(6)),
    "InstanceNorm2d": (IMAGE, lambda: nn.InstanceNorm2d(4, affine=True)),
    "LocalResponseNorm": (IMAGE, lambda: nn.LocalResponseNorm(3)),
    "CrossMapLRN2d": (IMAGE, lambda: nn.CrossMapLRN2d(3)),
    # recurrent
    "RNN": (ROWS, lambda: Of(lambda x, n: n(x)[0], nn.RNN(8, 3, batch_first=True))),
    "LSTM": (ROWS, lambda: Of(lambda x, n: n(x)[0], nn.LSTM(8, 3, batch_first=True))),
    "LSTM, both ways": ((3, 8), lambda: Of(
        lambda x, n: n(x)[0], nn.LSTM(8, 3, batch_first=True, bidirectional=True))),
    "GRU": (ROWS, lambda: Of(lambda x, n: n(x)[0], nn.GRU(8, 3, batch_first=True))),
    "GRU with time first": (ROWS, lambda: Of(lambda x, n: n(x.transpose(0, 1))[1][0], nn.GRU(8, 3))),
    "RNNCell": (ROWS, lambda: _cell(nn.RNNCell(8, 3))), "LSTMCell": (ROWS, lambda: _cell(nn.LSTMCell(8, 3))),
    "GRUCell": (ROWS, lambda: _cell(nn.GRUCell(8, 3))),
    # attention
    "MultiheadAttention": (ROWS, lambda: Of(lambda x, a: a(x, x, x, need_weights=False)[0],
                                            nn.MultiheadAttention(8, 2, batch_first=True))),
    "MultiheadAttention with weights": (ROWS, lambda: Of(lambda x, a: a(x, x, x)[1],
                                                         nn.MultiheadAttention(8, 2, batch_first=True))),
    "TransformerEncoderLayer": (ROWS, lambda: nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)),
    "TransformerEncoderLayer, norm first": (ROWS, lambda: nn.TransformerEncoderLayer(
        8, 2, 12, activation="gelu", batch_first=True, norm_first=True)),
    "TransformerEncoder": (ROWS, lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), 2, enable_nested_tensor=False)),
    "TransformerDecoderLayer": (ROWS, lambda: Of(lambda x, d: d(x[:, :3], x[:, 3:]),
                                                 nn.TransformerDecoderLayer(8, 2, 12, batch_first=True))),
    "scaled_dot_product_attention": (ROWS, lambda: Of(_attended)),
    "scaled_dot_product_attention, causal": (ROWS, lambda: Of(_causal)),
    # moving, resizing, dropping
    "Dropout": (FLAT, nn.Dropout), "Dropout2d": (IMAGE, nn.Dropout2d), "AlphaDropout": (FLAT, nn.AlphaDropout),
    "Flatten": (IMAGE, nn.Flatten), "Unflatten": (FLAT, lambda: nn.Unflatten(1, (2, 4))),
    "PixelShuffle": (IMAGE, lambda: nn.PixelShuffle(2)), "PixelUnshuffle": (IMAGE, lambda: nn.PixelUnshuffle(2)),
    "ChannelShuffle": (IMAGE, lambda: nn.ChannelShuffle(2)),
    "Upsample": (IMAGE, lambda: nn.Upsample(scale_factor=2)),
    "Upsample, bilinear": (IMAGE, lambda: nn.Upsample(scale_factor=2, mode="bilinear")),
    "Upsample, bicubic": (IMAGE, lambda: nn.Upsample(scale_factor=2, mode="bicubic")),
    "interpolate to a size": (IMAGE, lambda: Of(
        lambda x: F.interpolate(x, (4, 9), mode="bilinear", align_corners=True))),
    "grid_sample": (IMAGE, lambda: Of(lambda x: F.grid_sample(
        x, F.affine_grid(torch.eye(2, 3)[None], [1, 4, 6, 6], False).expand(len(x), 6, 6, 2), align_corners=False))),
    # distances
    "CosineSimilarity": (FLAT, _halves(lambda a, b: F.cosine_similarity(a, b)[:, None])),
    "PairwiseDistance": (FLAT, _halves(lambda a, b: F.pairwise_distance(a, b)[:, None])),
    "cdist": (ROWS, lambda: Of(lambda x: torch.cdist(x[:, :2], x[:, 2:]))),
    "normalize": (FLAT, lambda: Of(lambda x: F.normalize(x, dim=1))),
    # functions
    "glu of SiLU": (FLAT, _halves(lambda a, b: F.silu(a) * b)), "GEGLU": (FLAT, _halves(lambda a, b: F.gelu(a) * b)),
    "squeeze and excitation": (IMAGE, lambda: Of(_squeezed, nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1))),
    "mul": (FLAT, _halves(lambda a, b: a * b)), "div": (FLAT, _halves(lambda a, b: a / (1 + b * b))),
    "matmul": (ROWS, lambda: Of(lambda x: x @ x.transpose(1, 2))), "bmm": (ROWS, lambda: Of(
        lambda x: torch.bmm(x[:, :2], x[:, 2:].transpose(1, 2)))),
    "einsum": (ROWS, lambda: Of(lambda x: torch.einsum("bid,bjd->bij", x, x.relu()))),
    "outer product": (FLAT, lambda: Of(lambda x: torch.einsum("bi,bj->bij", x, x.tanh()))),
    "square": (FLAT, lambda: Of(lambda x: x * x + x.square() + x**2)),
    "pow": (FLAT, lambda: Of(lambda x: x.abs() ** 1.5)),
    "cube": (FLAT, lambda: Of(lambda x: x**3)), "sqrt": (FLAT, lambda: Of(lambda x: (x.abs() + 1).sqrt())),
    "rsqrt": (FLAT, lambda: Of(lambda x: (x * x + 1).rsqrt())),
    "reciprocal": (FLAT, lambda: Of(lambda x: (x.exp() + 1).reciprocal())),
    "exp": (FLAT, lambda: Of(torch.exp)),
    "log": (FLAT, lambda: Of(lambda x: (x * x + 1).log())), "log1p": (FLAT, lambda: Of(lambda x: (x * x).log1p())),
    "expm1": (FLAT, lambda: Of(torch.expm1)), "sin": (FLAT, lambda: Of(torch.sin)),
    "cos": (FLAT, lambda: Of(torch.cos)),
    "tan": (FLAT, lambda: Of(torch.tan)), "atan": (FLAT, lambda: Of(torch.atan)), "erf": (FLAT, lambda: Of(torch.erf)),
    "sinh": (FLAT, lambda: Of(torch.sinh)), "cosh": (FLAT, lambda: Of(torch.cosh)),
    "abs": (FLAT, lambda: Of(torch.abs)),
    "sign": (FLAT, lambda: Of(torch.sign)), "floor": (FLAT, lambda: Of(torch.floor)),
    "ceil": (FLAT, lambda: Of(torch.ceil)),
    "round": (FLAT, lambda: Of(torch.round)), "heaviside": (FLAT, lambda: Of(lambda x: (x > 0).float())),
    "clamp": (FLAT, lambda: Of(lambda x: x.clamp(-1, 1))), "maximum": (FLAT, _halves(torch.maximum)),
    "logsumexp": (ROWS, lambda: Of(lambda x: x.logsumexp(1))), "logaddexp": (FLAT, _halves(torch.logaddexp)),
    "norm": (ROWS, lambda: Of(lambda x: x.norm(dim=1))), "std": (ROWS, lambda: Of(lambda x: x.std(1))),
    "var": (ROWS, lambda: Of(lambda x: x.var(1, unbiased=False))),
    "prod": (ROWS, lambda: Of(lambda x: x[:, :3].prod(1))),
    "cumsum": (ROWS, lambda: Of(lambda x: x.cumsum(1))), "tril": (SQUARE, lambda: Of(torch.tril)),
    "roll": (ROWS, lambda: Of(lambda x: x.roll(2, 1))), "argmax": (ROWS, lambda: Of(lambda x: x.argmax(1).float())),
    "gather by a computed index": (ROWS, lambda: Of(lambda x: x.gather(1, x.argmax(1, keepdim=True)))),
    "gather": (ROWS, lambda: Of(lambda x: x.gather(2, torch.tensor([[[3, 0]] * 6]).expand(len(x), 6, 2)))),
    "scatter": (ROWS, lambda: Of(
        lambda x: x.scatter(2, torch.tensor([[[3, 0]] * 6]).expand(len(x), 6, 2), x[:, :, 4:6]))),
    "scatter a number": (ROWS, lambda: Of(
        lambda x: x.scatter(2, torch.tensor([[[3, 0]] * 6]).expand(len(x), 6, 2), 0.5))),
    "baddbmm": (ROWS, lambda: Of(lambda x: torch.baddbmm(x[:, :, :6], x, x.transpose(1, 2), beta=0.5, alpha=0.3))),
    "masked softmax": (ROWS, lambda: Of(lambda x: 2 * x.masked_fill(torch.eye(8)[:6] > 0, -torch.inf).softmax(2))),
    "topk": (ROWS, lambda: Of(lambda x: x.topk(2, 1).values)), "sort": (ROWS, lambda: Of(lambda x: x.sort(1).values)),
    "fft": (ROWS, lambda: Of(lambda x: torch.fft.rfft(x).abs())),
}


def layer(name: str, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """(module in eval mode, example of two samples)."""
    shape, make = LAYERS[name]
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    module = make().eval()
    x = torch.randn(2, *shape, generator=generator)
    with torch.no_grad():
        module(x)  # lazy layers take their shapes
    return module, x


ZERO, ONE = Fraction(0), Fraction(1)
SPREAD, POINTS = 0.05, 40  # of the box around the first sample, and points in it


def outcome(name: str) -> str:
    """"traced, bounded, certified" as far as it comes, with the reason where there is no certificate; or why it is not
    traced. Reasons are without the names of nodes."""
    module, x = layer(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = verify.trace(module, x)
    except (UnsupportedOp, InputError) as refusal:
        return _told(str(refusal))
    point, x = x[:1], x[:1].double()
    box = linear_boxes(network.double(), Box(x - SPREAD, x + SPREAD))[network.graph.output]
    noise = torch.Generator().manual_seed(1)
    points = x + SPREAD * (2 * torch.rand(POINTS, *x.shape[1:], generator=noise, dtype=torch.float64) - 1)
    values = network.double()(points)
    if network.head is None:
        slack = 1e-9 * (1 + values.abs())
        assert bool(((values >= box.low - slack) & (values <= box.high + slack)).all()), f"{name} leaves its bounds"
    if not bool(torch.isfinite(torch.stack([*box])).all()):
        return "traced"
    proof = verify.prove(_question(network, point, box))
    return "traced, bounded, certified" if proof.certificate else f"traced, bounded; {_told(proof.reason)}"


def _told(reason: str) -> str:
    reason = re.sub(r"^node \S+ \((aten\.)?([^)]*)\)( of shape \([^)]*\))? ", r"\2: ", reason)
    return reason.partition("; ")[0].replace("|", "or").strip()


def _question(network: Network, point: Tensor, box: IntervalBounds) -> Problem:
    """Does one of the first four outputs reach a number above its bounds; of a head, which keeps the order alone, does
    the least of the first three outputs beat the largest."""
    box = IntervalBounds(*(end.flatten() for end in box))
    if network.head is not None:
        order = network(point).flatten()[:3].argsort().tolist()
        disjuncts: list[tuple[Row]] = [(Row(tuple(sorted(((order[0], ONE), (order[-1], -ONE)))), (), ZERO),)]
    else:
        tops = (box.high + (box.high - box.low) + 1e-3).tolist()[:4]
        disjuncts = [(Row(((k, ONE),), (), Fraction(top)),) for k, top in enumerate(tops)]
    spec = from_rows([disjuncts], network.outputs, prod(network.input_shape), torch.float32)
    return Problem(network, Box(point - SPREAD, point + SPREAD), spec, torch.tensor([0]), 1)


def table() -> str:
    """All layers with their outcomes, as the table of docs/layers.md."""
    rows = [f"| {name} | {outcome(name)} |" for name in LAYERS]
    return "\n".join(["| layer or function | |", "|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    print(HEAD + table(), end="")
