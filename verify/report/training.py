"""Lines about a training."""

from __future__ import annotations

from collections.abc import Mapping


def epoch_line(figures: Mapping[str, float]) -> str:
    """The figures of an epoch: loss, radius, and accuracies of the held out samples if there are any."""
    shares = [f"{name} {100 * figures[name]:.1f} %" for name in ("clean", "attacked", "verified") if name in figures]
    loss = f"loss {figures['loss']:.4f}  eps {figures['eps']:.4g}"
    return "  ".join([loss, *shares, f"{figures['seconds']:.1f} s"])
