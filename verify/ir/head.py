"""A last layer that keeps the order of what it reads: softmax and its logarithm."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

ELSEWHERE = ("is a softmax, which is read as the last layer only, where it keeps the order of the logits",
             "leave it out, or use linear layers and activations in its place")
PARTS = ("is a softmax over a part of its input, whose outputs have the order of the logits in each part only",
         "leave it out and ask about the logits")


@dataclass(frozen=True)
class Head:
    """The softmax s_i = exp(z_i) / sum_k exp(z_k) over all outputs z of a sample, or its logarithm.

    s_i - s_j has the sign of z_i - z_j, since exp and log are increasing and the denominator is common and positive.
    In floats that holds but for ties: s_i and s_j may be equal where z_i and z_j are not.
    """

    logarithm: bool

    def __str__(self) -> str:
        return "log-softmax" if self.logarithm else "softmax"

    def __call__(self, z: Tensor) -> Tensor:
        """Outputs (batch, *shape) of logits (batch, *shape)."""
        flat = z.flatten(1)
        return (flat.log_softmax(1) if self.logarithm else flat.softmax(1)).reshape(z.shape)

    @property
    def note(self) -> str:
        """What a user of values should know."""
        return (f"the model ends in a {self}, which keeps the order of the logits; v* and violations in real "
                "arithmetic are those of the logits")
