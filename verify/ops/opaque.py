"""A whole model as one operator that can be executed and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from verify.errors import UnsupportedMethod
from verify.ops.base import Encoder, IntervalBounds, Op, Parameters


class Executable(ABC):
    """A model in its own runtime: `dtype` are the floats that it takes, `device` where, and `outputs` how many numbers
    it gives for a sample. Its `repr` tells it from every other one.

    Args:
        held: values of a sample that it keeps for a gradient; None where it takes samples one by one.
    """

    dtype: torch.dtype
    outputs: int
    device: torch.device = torch.device("cpu")
    held: int | None = None

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Outputs (batch, outputs) of samples x (batch, *input shape) of its dtype on its device; NaN where it cannot
        be run. Differentiable where it has a gradient."""

    @property
    def searched(self) -> Executable:
        """What is called while points are looked for, of which none counts before this model has seen it: itself, or
        one that takes samples together."""
        return self


@dataclass(frozen=True)
class Opaque(Op):
    """A model of which only its values are known: it is searched for counterexamples, and nothing can bound it.

    Args:
        model: what is executed.
        refusal: why there is no more than that, for whoever needs a graph.
    """

    model: Executable
    refusal: str = field(repr=False)

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        (x,) = xs
        return self.model(x.to(self.model.device, self.model.dtype)).to(x)

    @property
    def held(self) -> int | None:
        return self.model.held

    @property
    def searched(self) -> Opaque:
        return Opaque(self.model.searched, self.refusal)

    def interval(self, p: Parameters, *boxes: IntervalBounds) -> IntervalBounds:
        self._refuse()

    def encode(
        self, p: Parameters, model: Encoder, columns: Sequence[np.ndarray], boxes: Sequence[IntervalBounds]
    ) -> np.ndarray:
        self._refuse()

    def enclose(self, p: Parameters, *xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UnsupportedMethod(self.refusal)
