"""A last layer that keeps the order of what it reads: softmax and its logarithm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.spec import Specification

OUTWARD = 1 + 2.0**-20  # more than rounding makes of the functions below
NEGATIVE = -(2.0**-149)  # stands for a number of which only the sign is known; a float32


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

    def above(self, spec: Specification, bounds: Tensor) -> Tensor:
        """Upper bounds (cases,) of violations by outputs from `bounds` (cases,), those by logits; every row of the
        specification is a (y_i - y_j), a > 0.

        Sound because the logarithm keeps differences, and s_i - s_j = s_j (e^d - 1) at z_i - z_j = d: for d >= 0 at
        most tanh(d / 2), since s_i + s_j <= 1; for d < 0 negative, and where j is compared with all other outputs and
        every d <= V < 0, s_j >= 1 / (1 + (K - 1) e^V). Trusts functions of float64 to a millionth.
        """
        if self.logarithm:
            return bounds
        rows = spec.in_float64 or spec
        size = torch.where(rows.mask[..., None], rows.output, 0).double()
        largest, outputs = size.abs().amax((1, 2)), size.shape[2]
        least = torch.where(size > 0, size, torch.inf).amin((1, 2))
        others = (size > 0).any(1).sum(1) == outputs - 1
        is_whole = others & ((size < 0).any(1).sum(1) == 1) & (not rows.is_conjunctive)
        share = bounds.double() / largest
        above = largest * torch.tanh(share.clamp(min=0) / 2) * OUTWARD
        low = share.clamp(max=0)
        below = least * torch.expm1(low) / (1 + (outputs - 1) * torch.exp(low)) / OUTWARD
        below = torch.where(is_whole, below, NEGATIVE).clamp(max=NEGATIVE)
        return torch.where(share < 0, below, above)

    def below(self, spec: Specification, bounds: Tensor) -> Tensor:
        """Lower bounds (cases,) of violations by outputs from those by logits, see `above`.

        Sound because s_i - s_j has the sign of d and is at least -tanh(-d / 2) at d <= 0; trusts as `above` does.
        """
        if self.logarithm:
            return bounds
        largest = (spec.in_float64 or spec).output.abs().amax((1, 2)).double()
        return -largest * torch.tanh((-bounds.double() / largest).clamp(min=0) / 2) * OUTWARD

    def attained(self, logits: Tensor, outputs: Tensor) -> Tensor:
        """Violations by outputs (cases,), of which those by logits know the sign: equal probabilities are floats that
        tie."""
        if self.logarithm:
            return logits
        return torch.where(logits < 0, outputs.clamp(max=NEGATIVE), outputs.clamp(min=0))

    @property
    def note(self) -> str:
        """What a user of values should know."""
        return (f"the model ends in a {self}, which keeps the order of the logits; violations in real arithmetic and "
                "bounds of certificates are those of the logits")
