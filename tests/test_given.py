"""What is given as model, samples and labels: accepted alike wherever samples are, and refused in one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import verify
from tests.support.nets import seeded
from verify.errors import InputError, UnsupportedMethod
from verify.smoothing.smoothing import Smoothing

X = torch.rand((4, 3), generator=torch.Generator().manual_seed(0))
LINEAR = seeded(nn.Sequential(nn.Linear(3, 2)), 0)
ASK: dict[str, Callable[[Any, Any], Any]] = {  # what takes a model and samples
    "attack": lambda model, x: verify.attack(model, x, [0] * len(x), eps="1/10", method=verify.PGD(2)),
    "distance": lambda model, x: verify.distance(model, x, [0] * len(x), method=verify.FMN(2)),
    "universal": lambda model, x: verify.universal(model, x, eps="1/10", methods=[verify.UAP(epochs=1)]),
    "fooling rate": lambda model, x: verify.fooling_rate(model, x, torch.full((3,), 0.1)),
    "smoothing": lambda model, x: Smoothing(1, draws=4, first=2).certify(model, x),
}


class Gives(nn.Module):
    """A linear layer, and then what is made of its outputs."""

    def __init__(self, made: Callable[[Tensor], object]):
        super().__init__()
        self.layer, self.made = LINEAR, made

    def forward(self, x: Tensor) -> object:
        return self.made(self.layer(x))


MISTAKES = [
    (nn.Linear, X, "the model is the class Linear; pass an instance of it, such as Linear()"),
    ("digits-dense-interval", X, "the model 'digits-dense-interval' is a name; read it first with "
                                 "verify.load('digits-dense-interval')"),
    ("absent.onnx", X, "absent.onnx is no ONNX file; check the path"),
    (3, X, "a int cannot be executed; pass a torch module, an ONNX file, an onnxruntime session or another callable"),
    (Gives(lambda y: None), X, "the module Gives returns None and not a tensor; let it return its outputs"),
    (Gives(lambda y: [y]), X, "the module Gives returns a list and not one tensor; wrap it in a module that picks one"),
    (Gives(lambda y: (y, y)), X, "the module Gives returns a tuple and not one tensor; wrap it in a module that picks "
                                 "one"),
    (Gives(lambda y: {"y": y}), X, "the module Gives returns a dict and not one tensor; wrap it in a module that picks "
                                   "one"),
    (Gives(lambda y: "text"), X, "the module Gives returns a str and not a tensor; wrap it in a module that makes one"),
    (Gives(lambda y: y * 1j), X, "the module Gives returns complex numbers; wrap it in a module that makes real ones"),
    (Gives(lambda y: y[:, :0]), X, "the module Gives returns no numbers; wrap it"),
    (Gives(torch.rand_like), X, "the module Gives gives other outputs when it is called again; leave out what is "
                                "random"),
    (nn.Linear(3, 2).double(), X, "its weights are float64, pass x.double()"),
    (nn.Linear(3, 2), X.double(), "its weights are float32, pass x.float()"),
    (nn.Linear(3, 2), X.double().numpy(), "its weights are float32, pass x.float()"),
    (nn.Linear(3, 2).bfloat16(), X, "its weights are bfloat16, pass module.float()"),
    (nn.Linear(3, 2), X.half(), "the samples are torch.float16, in which nothing is decided; give float32 or float64"),
    (nn.Linear(3, 2, device="meta"), X, "the module Linear is on the device meta, where there are no numbers"),
    (verify.Averaged(lambda x: LINEAR(x) + random()), X, "it may draw from torch's generator alone"),
    (nn.Linear(4, 2), X, "cannot be copied and called on an input of shape (1, 3), float32"),
    (LINEAR, X[:0], "x has shape (0, 3), no sample; give at least one"),
    (LINEAR, X[:0].numpy(), "x has shape (0, 3), no sample; give at least one"),
    (LINEAR, X.long(), "x has type torch.int64 but must be float; divide pixels by 255, or convert with x.float()"),
    (LINEAR, X * 1j, "x has type torch.complex64 but must be float; pass real floats"),
    (LINEAR, "samples", "x is 'samples', which is no tensor; pass a tensor or array of numbers"),
    (verify.trace(LINEAR, X[:1]), X[:, :2], "inputs have shape (2,) but the network takes (3,); reshape the data"),
    (verify.trace(LINEAR, X[:1]), X[:0], "x has shape (0, 3), no sample; give at least one"),
    (verify.trace(LINEAR, X[:1]), X[0], "x has shape (3,), one sample; add a batch axis with x[None]"),
]


@pytest.mark.parametrize("ask", ASK)
def test_every_mistake_is_one_sentence_everywhere(ask: str) -> None:
    for model, x, told in MISTAKES:
        with pytest.raises(InputError, match=re.escape(told)) as found:
            ASK[ask](model, x)
        assert "\n" not in str(found.value)


@pytest.mark.parametrize("ask", ASK)
def test_tensors_and_arrays_modules_and_networks_are_taken_alike(ask: str) -> None:
    def call(x: Tensor) -> np.ndarray:
        return LINEAR(x).detach().numpy()

    for model in (LINEAR, verify.trace(LINEAR, X[:1]), call):
        for x in (X, X.numpy(), X.numpy().astype(np.float64) if isinstance(model, verify.Network) else X):
            ASK[ask](model, x)


def test_a_shared_perturbation_of_a_module_fools_it_and_has_no_bound() -> None:
    found = verify.universal(LINEAR, X, eps=1, methods=[verify.UAP(epochs=3)])
    same = verify.universal(verify.trace(LINEAR, X[:1]), X, eps=1, methods=[verify.UAP(epochs=3)])
    assert (found.lower, found.upper) == (same.lower, 4)
    assert found.lower > 0
    assert found.fooling_rate(X) == verify.fooling_rate(LINEAR, X, found.delta) == found.lower / 4
    with pytest.raises(UnsupportedMethod, match="UAPBound needs the graph of the network, but Sequential is only"):
        verify.universal(LINEAR, X, eps=1, methods=[verify.UAPBound(5)])


def test_outputs_that_are_not_finite_are_counted() -> None:
    limit = float(LINEAR(X)[:, 0].detach().sort().values[1])
    model = Gives(lambda y: y / (y[:, :1] > limit))
    odd = int((~model(X).isfinite().all(1)).sum())  # pyright: ignore[reportAttributeAccessIssue]
    assert 0 < odd < 4
    found = verify.attack(model, X, [0] * 4, eps="1/10", method=verify.PGD(2))
    assert found.warnings[0].startswith(f"the outputs are not finite on {odd} of 4 samples, which count as wrong; mend")
    assert not any("gradient" in text for text in found.warnings)
    for ask in ("universal", "fooling rate"):
        with pytest.raises(InputError, match=f"not finite on {odd} of 4 samples, so that they have no class"):
            ASK[ask](model, X)


def test_outputs_that_are_not_finite_around_a_sample_are_told() -> None:
    model = Gives(lambda y: torch.where((y - LINEAR(X[:1])).abs().amax(1, keepdim=True) < 1e-6, y, torch.nan))
    found = verify.attack(model, X[:1], LINEAR(X[:1]).argmax(1), eps="1/10", method=verify.PGD(2))
    assert found.robust_accuracy == 1
    assert "not finite at a random point around 1 of 1 samples" in "".join(found.warnings)


def test_what_a_nearest_point_fools_is_no_tie() -> None:
    """The boundary x_0 = x_1 is met exactly by halving; a classifier answers there as before."""
    model, x = nn.Linear(2, 2, bias=False), torch.tensor([[0.75, 0.25], [0.5, 0.25], [1.0, 0.0]])
    model.load_state_dict({"weight": torch.eye(2)})
    found = verify.attack(model, x, [0, 0, 0], eps=1, norm="l2", method=verify.FMN())
    assert bool(found.fooled.all())
    assert model(found.points).argmax(1).tolist() == [1, 1, 1]
    near = verify.distance(model, x, [0, 0, 0], norm="l2", method=verify.FMN())
    assert model(near.points).argmax(1).tolist() == [1, 1, 1]
    torch.testing.assert_close(near.distance, torch.tensor([0.5, 0.25, 1.0]).double() / 2**0.5, rtol=1e-2, atol=0)


def test_labels_and_targets_are_told_by_their_samples() -> None:
    for y, target, told in (
        (None, None, "y is None, but each sample needs its class"), ([0, 1], None, "y has shape (2,); expected (4,)"),
        ("first", None, "y is 'first', which is no tensor"),
        ([0, 1, 2, 0], None, "label 2 of sample 2 is out of range"),
        ([0, 0, 1, 0], 1, "the target of sample 2 is its label, class 1; choose another class"),
        ([0, 0, 0, 1], [1, 1, 1, 1], "the target of sample 3 is its label, class 1; choose another class"),
        ([0, 0, 0, 0], [1, 1], "there are 2 targets but 4 labels"),
    ):
        for call in (lambda **more: verify.attack(method=verify.PGD(2), eps="1/10", **more),
                     lambda **more: verify.distance(method=verify.FMN(2), **more)):
            with pytest.raises(InputError, match=re.escape(told)):
                call(model=LINEAR, x=X, y=y, target=target)


class Noisy(nn.Module):
    """A linear layer of inputs with noise."""

    def __init__(self, size: float):
        super().__init__()
        self.layer, self.size = LINEAR, size

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x + self.size * torch.randn_like(x))


def test_the_mean_of_random_answers_is_attacked_as_any_model() -> None:
    """The mean of a linear layer is the layer of the mean of the noise: with a margin both are fooled alike."""
    y = LINEAR(X).argmax(1)
    before = torch.random.get_rng_state()
    ASK["smoothing"](verify.Averaged(Noisy(0.1), draws=2), X)
    found = verify.attack(verify.Averaged(Noisy(0.01), draws=4), X, y, eps="1/5", method=verify.PGD(5))
    assert torch.equal(torch.random.get_rng_state(), before)
    plain = verify.attack(LINEAR, X, y, eps="1/5", method=verify.PGD(5))
    clear = plain.bracket.lower.abs() > 0.05
    assert int(clear.sum()) >= 2
    assert torch.equal(found.fooled[clear], plain.fooled[clear])
    other = verify.Averaged(Noisy(0.01), draws=64, seed=1)
    assert bool((other(found.points).argmax(1) != y)[clear & found.fooled].all())
    one, two = (verify.Averaged(Noisy(1.0), draws=4, seed=seed)(X) for seed in (0, 1))
    assert not torch.equal(one, two)
    with torch.no_grad():
        mean = verify.Averaged(Noisy(1.0), draws=1000)(X)
    torch.testing.assert_close(mean, LINEAR(X).detach(), atol=0.15, rtol=0)
    point = X.clone().requires_grad_()
    slope = torch.autograd.grad(verify.Averaged(Noisy(1.0), draws=2)(point)[:, 0].sum(), point)[0]
    torch.testing.assert_close(slope, LINEAR.get_parameter("0.weight")[:1].detach().expand(4, -1))


@pytest.mark.parametrize(("given", "told"), [
    ({"draws": 0}, "draws=0; it must be an integer of at least 1"), ({"draws": 2.5}, "draws=2.5"),
    ({"seed": -1}, "seed=-1"), ({"module": nn.Linear}, "pass an instance"), ({"module": 3}, "not 3"),
])
def test_settings_of_a_mean_that_are_none(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        verify.Averaged(**{"module": Noisy(1), **given})
