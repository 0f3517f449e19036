"""Gradients of single operators by automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Pull = Callable[[Tensor], tuple[Tensor | None, ...]]  # coefficients of an output to gradients in what it is made of


def differentiated(forward: Callable[..., Tensor], xs: tuple[Tensor, ...]) -> tuple[Tensor, Pull]:
    """y = forward(*xs), detached, and what makes of coefficients a of its shape the gradients of a . y in each of xs,
    None where y does not depend on one."""
    with torch.enable_grad():
        given = tuple(x.detach().requires_grad_(x.is_floating_point()) for x in xs)
        y = forward(*given)

    def pull(a: Tensor) -> tuple[Tensor | None, ...]:
        if not y.requires_grad:
            return (None,) * len(given)
        with torch.enable_grad():
            along = (y * a).sum()  # of a scalar: with grad_outputs, autograd spends 0.4 s on importing sympy
        return torch.autograd.grad(along, given, allow_unused=True)

    return y.detach(), pull
