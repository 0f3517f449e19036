"""`verify.attack`: modules, networks, sessions and callables; every point is a member that fools the model itself."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import verify
from tests.support.nets import seeded
from tests.support.onnx_models import chain, numbers
from verify import models
from verify.errors import InputError
from verify.ir.opaque.entry import opaque
from verify.ir.opaque.module import CalledTogether

SHORT = verify.AutoAttack(steps=8, evaluations=40)


def module(outputs: int = 4, seed: int = 0) -> nn.Module:
    """A small convolutional classifier with a normalisation in front, in training mode."""
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, outputs)
    return seeded(nn.Sequential(nn.LayerNorm([6, 6], elementwise_affine=False), *layers), seed)


def samples(count: int = 12) -> Tensor:
    return torch.rand((count, 1, 6, 6), generator=torch.Generator().manual_seed(1))


def labels_of(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(x).argmax(1)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_points_are_members_that_fool_the_module_alone(norm: str) -> None:
    model, x = module(), samples()
    y = labels_of(model, x)
    y[:2] = (y[:2] + 1) % 4  # wrong as they are
    eps = {"linf": "1/25", "l2": "1/5", "l1": "1/2"}[norm]
    found = verify.attack(model, x, y, eps=eps, norm=norm, method=SHORT)
    assert not model.training
    assert found.clean.tolist() == [False] * 2 + [True] * 10
    assert 2 < int(found.fooled.sum()) < 12
    assert found.robust_accuracy == pytest.approx(float((~found.fooled).double().mean()))
    assert found.clean_accuracy == pytest.approx(10 / 12)
    for k, point in enumerate(found.points):
        away = [abs(Fraction(a) - Fraction(b)) for a, b in zip(point.flatten().tolist(), x[k].flatten().tolist(),
                                                               strict=True)]
        size = {"linf": max(away), "l1": sum(away), "l2": sum(d * d for d in away)}[norm]
        assert size <= (Fraction(eps) ** 2 if norm == "l2" else Fraction(eps))
        assert float(found.distance[k]) == pytest.approx(float(size) ** (0.5 if norm == "l2" else 1), abs=1e-6)
        assert 0 <= float(point.min()) <= float(point.max()) <= 1
        with torch.no_grad():
            assert bool(found.fooled[k]) == (int(model(point[None]).argmax()) != int(y[k]))
    assert not found.warnings
    assert "robust accuracy at most" in repr(found)


def test_a_module_and_its_network_are_fooled_alike() -> None:
    (model, _), (x, y) = models.build("digits-dense-interval"), models.digits()
    network, x, y = verify.load("digits-dense-interval"), x[:12], y[:12]
    for method in (verify.PGD(10), verify.APGD("cross-entropy", 10)):
        mine = verify.attack(model, x, y, eps="1/10", method=method)
        theirs = verify.attack(network, x, y, eps="1/10", method=method)
        assert torch.equal(mine.fooled, theirs.fooled)
        assert 0 < int(mine.fooled.sum()) < 12
        torch.testing.assert_close(mine.bracket.lower, theirs.bracket.lower, atol=1e-2, rtol=1e-2)
        assert mine.bracket.rounding is None


def test_targets_are_reached_or_beat_all() -> None:
    model, x = module(), samples()
    y = labels_of(model, x)
    target = (y + 1) % 4
    beats = verify.attack(model, x, y, eps="1/5", target=target, method=verify.PGD(20))
    wins = verify.attack(model, x, y, eps="1/5", target=target, wins=True, method=verify.PGD(20))
    every = verify.attack(model, x, y, eps="1/5", method=verify.PGD(20))
    assert f"clean accuracy 100.0%, target reached on {int(wins.fooled.sum())} of 12, " in repr(wins)
    assert int(wins.fooled.sum()) > 0
    assert bool((beats.fooled | ~wins.fooled).all() and (every.fooled | ~wins.fooled).all())
    for k in wins.fooled.nonzero().flatten().tolist():
        with torch.no_grad():
            assert int(model(wins.points[k : k + 1]).argmax()) == int(target[k])
    other = verify.attack(model, x, (y + 2) % 4, eps=0, target=target, method=verify.PGD(1))
    assert not bool(other.clean.any() or other.robust_accuracy)  # wrong as they are, whatever the target
    assert "clean accuracy 0.0%" in repr(other)


def test_callables_and_sessions_are_attacked_by_their_values(tmp_path: Path) -> None:
    """All of one file, which the front-end reads too."""
    ort = pytest.importorskip("onnxruntime")
    steps = [("Flatten",), ("Gemm", "x", numbers(0, 36, 9), numbers(1, 9)), ("Relu",), ("Gemm", "x", numbers(2, 9, 4))]
    x, path = samples(6), tmp_path / "model.onnx"
    path.write_bytes(chain("batch", 1, 6, 6, steps=steps).SerializeToString())
    network, session = verify.load(path), ort.InferenceSession(str(path))
    y = network(x).argmax(1)

    def predict(given: Tensor) -> np.ndarray:
        return session.run(None, {"x": given.numpy()})[0]

    wanted = verify.attack(network, x, y, eps="1/5", method=verify.Square(60))
    for given in (predict, session, path):
        found = verify.attack(given, x, y, eps="1/5", method=verify.Square(60))
        torch.testing.assert_close(found.bracket.lower, wanted.bracket.lower, atol=1e-2, rtol=0)
    blind = verify.attack(predict, x, y, eps="1/100", method=verify.PGD(5))
    assert int(blind.fooled.sum()) == 0
    assert "zero or missing on 6 of 6 samples" in blind.warnings[0]


class Meddling(nn.Module):
    """The output of a sample depends on the others of its batch."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :1], x[:, 1:] * x.mean()], 1)


def test_samples_are_taken_together_only_where_that_changes_nothing() -> None:
    x = torch.rand((5, 3), generator=torch.Generator().manual_seed(0))
    together = opaque(nn.Linear(3, 2), x).graph.nodes[0].op.searched
    assert isinstance(together.model, CalledTogether)  # pyright: ignore
    assert opaque(Meddling(), x).graph.nodes[0].op.held is None
    alone = [Meddling()(sample[None])[0] for sample in x]
    torch.testing.assert_close(opaque(Meddling(), x)(x), torch.stack(alone))


class Flat(nn.Module):
    """Outputs in steps: no gradient, though values change."""

    def forward(self, x: Tensor) -> Tensor:
        steps = (x * 10).round() / 10
        return torch.cat([steps.sum(1, keepdim=True), torch.full_like(steps[:, :1], 1.0)], 1)


class Odd(nn.Module):
    """Constant; or no number."""

    def __init__(self, value: float):
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([[1.0, self.value]]).expand(len(x), 2) + 0 * x.sum(1, keepdim=True)


def test_doubts_are_told_of_flat_models_masked_gradients_and_probabilities() -> None:
    x = torch.full((3, 3), 0.55)
    flat = verify.attack(Flat(), x, [0, 0, 0], eps="2/5", method=verify.PGD(5))
    assert "the gradient is zero or missing on 3 of 3 samples" in flat.warnings[0]
    full = verify.attack(Flat(), x, [0, 0, 0], eps="2/5", method=SHORT)
    assert bool(full.fooled.all())
    assert full.by == ("Square-40",) * 3
    assert "fooled 3 samples that attacks by gradients had left" in full.warnings[0]
    mixed = nn.Sequential(nn.Linear(3, 2), nn.Softmax(1))
    assert "probabilities" in verify.attack(mixed, x, [0, 1, 0], eps="1/10", method=SHORT).warnings[-1]


@pytest.mark.parametrize("value", [0.0, 1.0, torch.nan, torch.inf])
@pytest.mark.parametrize("eps", [0, "1/10"])
def test_constant_models_and_those_that_give_no_numbers_stop_nobody(value: float, eps: str | int) -> None:
    found = verify.attack(Odd(value), torch.rand(1, 3), [0], eps=eps, method=SHORT)
    assert found.fooled.tolist() == [value >= 1]
    assert found.clean.tolist() == [value < 1]


def test_time_is_kept_and_what_was_found_stays() -> None:
    model, x = module(), samples()
    found = verify.attack(model, x, labels_of(model, x), eps="1/10", method=SHORT, time_limit=0.0)
    assert found.bracket.notes["stopped"]
    assert torch.equal(found.points, x)


def test_what_does_not_fit_is_told() -> None:
    x = torch.rand(2, 3)
    model = nn.Linear(3, 2)
    for bad, told in (
        ({"method": verify.CROWN()}, "takes an attack's value"), ({"method": verify.PGD}, "takes an attack's value"),
        ({"y": [0]}, "one label for each sample"), ({"eps": -1}, "at least 0"), ({"model": 3}, "cannot be executed"),
        ({"x": x + 1}, "outside the clip"), ({"model": nn.Dropout()}, None),
        ({"model": lambda x: torch.rand(len(x), 2)}, "other outputs when it is called again"),
        ({"model": "absent.onnx"}, "no ONNX file"), ({"x": x[:0], "y": []}, "give at least one"),
    ):
        given = {"model": model, "x": x, "y": [0, 1], "eps": "1/10", "method": verify.PGD(2), **bad}
        if told is None:
            verify.attack(given.pop("model"), given.pop("x"), given.pop("y"), **given)
        else:
            with pytest.raises(InputError, match=told):
                verify.attack(given.pop("model"), given.pop("x"), given.pop("y"), **given)
