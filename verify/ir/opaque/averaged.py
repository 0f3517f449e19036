"""Models that answer at random, as the mean of their answers: a model like any other, whose gradient is that of EOT."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from verify.errors import InputError
from verify.ir.opaque.outputs import numbers_of

PRIME = 1_000_003  # between the seeds of neighbouring draws


class Averaged(nn.Module):
    """The mean of so many answers of a module that draws random numbers with torch.

    The random numbers of the draws are the same in every call, so that it can be attacked, and its points be replayed,
    as any other module; its gradient is the mean of theirs (expectation over transformation, Athalye et al. 2018). What
    is found speaks of these draws: give the points to one of another seed, and of more draws, to see what remains.

    Args:
        module: a torch module, whose randomness must not depend on its training mode, since it is attacked in eval
            mode; or another callable.
        draws: at least 1.
        seed: of the random numbers.

    Raises InputError for settings out of range.
    """

    def __init__(self, module: Callable[[Tensor], Any], draws: int = 20, seed: int = 0):
        super().__init__()
        for name, value, least in (("draws", draws, 1), ("seed", seed, 0)):
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                raise InputError(f"Averaged has {name}={value!r}; it must be an integer of at least {least}")
        if isinstance(module, type) or not callable(module):
            raise InputError(f"Averaged takes a module or another callable, not {module!r:.60}; pass an instance")
        self.module, self.draws, self.seed = module, int(draws), int(seed)

    def forward(self, x: Tensor) -> Tensor:
        """The mean of the answers to samples x (batch, *shape)."""
        devices = [x.device] if x.device.type == "cuda" else []
        total: Tensor | None = None
        with torch.random.fork_rng(devices):
            for k in range(self.draws):
                torch.manual_seed(self.seed * PRIME + k)
                y = numbers_of(self.module(x), x)
                total = y if total is None else total + y
        assert total is not None
        return total / self.draws
