"""Fooling rates of perturbations on samples that they were not made for, and on other models."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from verify.errors import InputError
from verify.ir.graph import Network
from verify.problem import tensor_of
from verify.rationals import Number, rational
from verify.uap.problem import moved, predictions

CHUNK = 512  # samples that go through a network together


def fooling_rate(
    network: Network, x: Tensor, delta: Tensor, clip: tuple[Number, Number] | None = None, y: Tensor | None = None
) -> float:
    """The share of samples x (n, *shape) whose predicted class the perturbation (*shape) changes, as the network
    computes it; with labels y (n,), the share that is misclassified. With a clip, x + delta is moved into it.

    Raises InputError for shapes that do not fit.
    """
    if not isinstance(network, Network):
        raise InputError(f"fooling_rate takes a network, not a {type(network).__name__}; see verify.load")
    x, delta = tensor_of(x, "x"), tensor_of(delta, "delta")
    labels = None if y is None else tensor_of(y, "y")
    if labels is not None and labels.shape != x.shape[:1]:
        raise InputError(f"y has shape {tuple(labels.shape)}; expected ({len(x)},), one label for each sample of x")
    if tuple(delta.shape) != tuple(x.shape[1:]) or not len(x):
        raise InputError(f"a perturbation of shape {tuple(delta.shape)} cannot be added to samples of shape "
                         f"{tuple(x.shape)}; give at least one sample, and one perturbation without a batch axis")
    ends = None if clip is None else (rational(clip[0], "clip"), rational(clip[1], "clip"))
    changed = 0
    for k in range(0, len(x), CHUNK):
        part = x[k : k + CHUNK]
        before = predictions(network, part) if labels is None else labels[k : k + CHUNK].to(network.device)
        changed += int((predictions(network, moved(part, delta.to(part), ends)) != before).sum())
    return changed / len(x)


def transfer(
    networks: Mapping[str, Network], deltas: Mapping[str, Tensor], x: Tensor,
    clip: tuple[Number, Number] | None = None,
) -> dict[str, dict[str, float]]:
    """How far perturbations carry over from one model to another: the fooling rate on samples x (n, *shape) of each
    perturbation (*shape), by name, on each network, by name. See `fooling_rate`."""
    return {name: {to: fooling_rate(network, x, delta, clip) for to, network in networks.items()}
            for name, delta in deltas.items()}
