"""Fooling rates of perturbations on samples that they were not made for, and on other models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from verify.errors import InputError
from verify.given import given
from verify.ir.graph import Network
from verify.ir.opaque.entry import Model
from verify.problem import labels_of, tensor_of
from verify.rationals import Number, rational
from verify.uap.problem import classes_before, moved, predictions

CHUNK = 512  # samples that go through a network together


def fooling_rate(
    model: Network | Model, x: Tensor, delta: Tensor, clip: tuple[Number, Number] | None = None,
    y: Tensor | Sequence[int] | None = None,
) -> float:
    """The share of samples x (n, *shape) whose predicted class the perturbation (*shape) changes, as the network
    computes it; with labels y (n,), the share that is misclassified. With a clip, x + delta is moved into it.

    model: see `verify.attack`.

    Raises InputError for shapes that do not fit, and for samples whose outputs are not finite.
    """
    (network, x), delta = given(model, x), tensor_of(delta, "delta")
    labels = None if y is None else labels_of(y, len(x))
    if tuple(delta.shape) != tuple(x.shape[1:]):
        raise InputError(f"a perturbation of shape {tuple(delta.shape)} cannot be added to samples of shape "
                         f"{tuple(x.shape)}; give one perturbation without a batch axis")
    ends = None if clip is None else (rational(clip[0], "clip"), rational(clip[1], "clip"))
    parts = x.split(CHUNK)
    before = torch.cat([classes_before(network, part) for part in parts]) if labels is None else labels
    after = torch.cat([predictions(network, moved(part, delta.to(part), ends)) for part in parts])
    return float((after != before.to(after)).double().mean())


def transfer(
    models: Mapping[str, Network | Model], deltas: Mapping[str, Tensor], x: Tensor,
    clip: tuple[Number, Number] | None = None,
) -> dict[str, dict[str, float]]:
    """How far perturbations carry over from one model to another: the fooling rate on samples x (n, *shape) of each
    perturbation (*shape), by name, on each model, by name. See `fooling_rate`."""
    return {name: {to: fooling_rate(model, x, delta, clip) for to, model in models.items()}
            for name, delta in deltas.items()}
