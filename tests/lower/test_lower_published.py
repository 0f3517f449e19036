"""Attacks beside published figures."""

from __future__ import annotations

import gzip
from math import prod

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.helpers import SHARED, needs_shared
from verify.ir.builder import GraphBuilder
from verify.ir.graph import Network
from verify.lower.fgsm import FGSM
from verify.lower.pgd import PGD
from verify.ops import Conv, Linear, ReLU, Reshape
from verify.problem import robustness
from verify.solving import solve


def tutorial(name: str) -> Network:
    """One of the shared MNIST networks, built from its weights."""
    from safetensors.torch import load_file

    weights = load_file(SHARED / "data" / "tutorial" / f"{name}.safetensors")
    builder, value = GraphBuilder("x", (1, 28, 28)), "x"
    layers = sorted({int(key.split(".")[0]) for key in weights})
    for k, layer in enumerate(layers):
        weight = weights[f"{layer}.weight"]
        names = builder.parameter(f"w{k}", weight), builder.parameter(f"b{k}", weights[f"{layer}.bias"])
        if weight.dim() == 4:
            stride = 1 + k % 2
            value = builder.add(f"conv{k}", Conv((stride, stride), (1, 1), (1, 1), 1), (value,), names)
        else:
            if len(builder.shapes[value]) > 1:
                value = builder.add("flat", Reshape((prod(builder.shapes[value]),)), (value,))
            value = builder.add(f"linear{k}", Linear(), (value,), names)
        if k < len(layers) - 1:
            value = builder.add(f"relu{k}", ReLU(), (value,))
    return builder.finish(value)


def mnist(count: int) -> tuple[Tensor, Tensor]:
    folder = SHARED / "data" / "mnist"
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(16 + 784 * count), np.uint8, offset=16).reshape(count, 1, 28, 28)
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + count), np.uint8, offset=8)
    return torch.from_numpy(images.copy()).float() / 255, torch.from_numpy(labels.copy())


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize(
    ("name", "count", "clean", "fgsm", "pgd"),
    [("model_dnn_2", 500, 2.9, 92.6, 96.4), ("model_dnn_4", 500, 2.8, 88.3, 98.4), ("model_cnn", 200, 1.1, 41.7, 74.3)],
)
def test_errors_on_mnist_are_near_the_published_ones(
    name: str, count: int, clean: float, fgsm: float, pgd: float
) -> None:
    """The tutorial attacks all images, without a clip: orientation, but our attack may not be much weaker."""
    network, (x, y) = tutorial(name), mnist(count)
    given = robustness(network, x, y, "0.1", clip=None)
    errors = [100 * float((given.violation(x) >= 0).float().mean())]
    errors += [100 * float((solve(given, method).lower >= 0).float().mean()) for method in (FGSM(), PGD())]
    assert errors[0] == pytest.approx(clean, abs=3)
    assert errors[1] == pytest.approx(fgsm, abs=12)
    assert pgd - 6 <= errors[2] <= pgd + 12


@needs_shared
def test_published_minima_are_not_crossed_and_nearly_reached() -> None:
    """The nine exact minima of the margin of the tutorial's small network on the first test image.

    They belong to the ball that is clipped to [0, 1]: without the clip there are points far below them.
    """
    x, y = mnist(1)
    known = {0: 5.810, 1: 10.836, 2: 2.0393, 3: 0.01887, 4: 13.528, 5: 5.146, 6: 20.454, 8: 3.543, 9: 4.274}
    goals = torch.tensor(list(known))
    given = robustness(tutorial("model_small"), x.repeat(9, 1, 1, 1), y.repeat(9), "0.05", target=goals)
    lower = -solve(given, PGD(100, restarts=5)).lower.double()
    exact = torch.tensor(list(known.values()), dtype=torch.float64)
    assert bool((lower >= exact - 1e-3).all())
    assert bool((lower <= exact + 0.3).all())
