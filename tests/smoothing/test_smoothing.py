"""Randomized smoothing beside closed forms of linear models, with models of all kinds and bad settings."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import verify
from verify.smoothing.smoothing import FLOATS, Smoothing


def half_space(offset: float) -> nn.Module:
    """Class 1 where x_0 + 2 x_1 + offset > 0."""
    module = nn.Linear(2, 2)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 2.0]]))
        module.bias.copy_(torch.tensor([0.0, offset]))
    return module


X = torch.tensor([[0.1, 0.2], [0.4, 0.3], [-0.6, -0.1], [0.0, 0.0]])


def test_radii_of_a_linear_model_are_below_its_distances_and_near() -> None:
    """The smoothed half space is the half space itself, and the radius its distance (Cohen et al. 2019, appendix A)."""
    result = verify.Smoothing("1/2", draws=4_000, seed=1).certify(half_space(0.1), X)
    values = X @ torch.tensor([1.0, 2.0]) + 0.1
    assert result.classes[:3].tolist() == (values > 0).long().tolist()[:3]
    far = values.double().abs() / sqrt(5)
    assert bool((result.radius <= far).all())
    assert bool((result.radius[:3] >= 0.85 * far[:3] - 0.03).all())
    assert result.robust(torch.tensor([1, 1, 0, 1]), "1/10").tolist() == (result.radius >= 0.1).tolist()
    assert not bool(result.robust(torch.tensor([0, 0, 1, 0]), 0).any())


def test_a_point_on_the_border_is_abstained_from_nearly_always() -> None:
    """The class there has probability 1/2, so that a radius is a mistake, of which 1 in 10 are allowed."""
    x = torch.zeros(40, 2)
    result = Smoothing(1, draws=200, confidence="9/10", seed=2).certify(half_space(0.0), x)
    assert int((result.classes >= 0).sum()) <= 12  # 4 expected; more than 12 have a chance of 4e-5
    predicted = Smoothing(1, draws=200, confidence="9/10", seed=3).predict(half_space(0.0), x)
    assert int((predicted >= 0).sum()) <= 12


def test_answers_are_the_same_again_and_in_parts() -> None:
    smoothing, model = Smoothing("1/2", draws=500, seed=4), half_space(0.1)
    whole = smoothing.certify(model, X)
    parts = [smoothing.certify(model, X[k : k + 1], place=k) for k in range(4)]
    assert torch.cat([part.hits for part in parts]).tolist() == whole.hits.tolist()
    assert smoothing.certify(model, X).radius.tolist() == whole.radius.tolist()
    assert Smoothing("1/2", draws=500, seed=5).certify(model, X).hits.tolist() != whole.hits.tolist()


def test_a_network_and_its_module_agree() -> None:
    module = half_space(0.1)
    smoothing = Smoothing("1/2", draws=500)
    network = verify.trace(module, X[:1])
    assert smoothing.certify(network, X).hits.tolist() == smoothing.certify(module, X).hits.tolist()
    assert smoothing.predict(network, X).tolist()[:3] == [1, 1, 0]


def test_inputs_beside_the_grid_lose_their_distance_to_it() -> None:
    """1/3 of a unit away in each coordinate: the radius is smaller by sqrt(2) / 3 units than on the grid."""
    smoothing = Smoothing(1, draws=300)
    unit = float(smoothing._noise.unit)
    near = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    model = half_space(5.0).double()
    on, off = smoothing.certify(model, near), smoothing.certify(model, near + unit / 3)
    assert on.hits.tolist() == off.hits.tolist()
    assert float(on.radius - off.radius) == pytest.approx(sqrt(2) / 3 * unit, rel=1e-3)


class Broken(nn.Module):
    """Two outputs that are no numbers where x_0 > 0."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.where(x[:, 0] > 0, torch.nan, 1.0), 2 + 0 * x[:, 0]], 1)


def test_outputs_that_are_no_numbers_are_no_class() -> None:
    result = Smoothing(1, draws=400).certify(Broken(), torch.tensor([[-3.0, 0.0], [3.0, 0.0], [0.0, 0.0]]))
    assert result.classes.tolist() == [1, -1, -1]
    assert Smoothing(1, draws=400).predict(Broken(), torch.tensor([[3.0, 0.0]])).tolist() == [-1]


def test_many_draws_are_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from verify.smoothing import smoothing as module

    whole = Smoothing(1, draws=64).certify(half_space(1.0), X)
    monkeypatch.setattr(module, "FLOATS", 14)
    assert FLOATS > 14
    parts = Smoothing(1, draws=64).certify(half_space(1.0), X)
    assert (parts.hits - whole.hits).abs().max() <= 20
    assert bool((parts.hits <= 64).all())


@pytest.mark.parametrize(("given", "message"), [
    ({"sigma": 0}, "sigma is 0 but must lie"), ({"sigma": "-1/4"}, "must lie"), ({"sigma": "1e-99"}, "must lie"),
    ({"sigma": 1, "confidence": 1}, "confidence is 1"), ({"sigma": 1, "draws": 0}, "draws=0"),
    ({"sigma": 1, "draws": 2.5}, "draws=2.5"), ({"sigma": 1, "draws": "10"}, "an integer"),
    ({"sigma": 1, "first": -1}, "first=-1"), ({"sigma": "half"}, "sigma"),
])
def test_settings_that_are_none(given: dict[str, Any], message: str) -> None:
    with pytest.raises(verify.InputError, match=message):
        Smoothing(**given)


def test_inputs_that_do_not_fit() -> None:
    smoothing = Smoothing(1, draws=10)
    with pytest.raises(verify.InputError, match="at least two outputs"):
        smoothing.certify(nn.Linear(2, 1), X)
    with pytest.raises(verify.InputError, match="not finite"):
        smoothing.certify(verify.trace(half_space(0.1), X[:1]), X / 0)
    with pytest.raises(verify.InputError, match="the network takes"):
        smoothing.certify(verify.trace(half_space(0.1), X[:1]), X[:, :1])
    with pytest.raises(verify.InputError, match="choose a larger sigma"):
        Smoothing("1e-9", draws=10).certify(verify.trace(half_space(0.1), X[:1]), X * 1e30)
    with pytest.raises(verify.InputError, match="no sample; give at least one"):
        smoothing.certify(verify.trace(half_space(0.1), X[:1]), X[:0])


def test_arrays_are_samples_and_questions_that_do_not_fit_are_told() -> None:
    smoothing = Smoothing("1/2", draws=200)
    found, same = smoothing.certify(half_space(0.1), X), smoothing.certify(half_space(0.1), X.numpy())  # pyright: ignore
    assert found.hits.tolist() == same.hits.tolist()
    assert not bool(found.robust(torch.tensor([-1, -1, -1, -1]), 0).any())
    with pytest.raises(verify.InputError, match="eps -1 were given for 4 samples"):
        found.robust(torch.tensor([1, 1, 0, 1]), -1)
    with pytest.raises(verify.InputError, match=r"labels of shape \(2,\)"):
        found.robust(torch.tensor([1, 1]), "1/10")
    with pytest.raises(verify.InputError, match="is no tensor"):
        smoothing.certify(half_space(0.1), "X")  # type: ignore[arg-type]
