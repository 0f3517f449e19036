"""What a model gives, as a tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def numbers_of(y: Any, like: Tensor) -> Tensor:
    """An output as a tensor of the type, and on the device, of the samples. Raises TypeError for what is none."""
    if y is None:
        raise TypeError("None and not a tensor; let it return its outputs")
    if isinstance(y, tuple | list | dict):
        raise TypeError(f"a {type(y).__name__} and not one tensor; wrap it in a module that picks one")
    try:
        found = torch.as_tensor(y)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"a {type(y).__name__} and not a tensor; wrap it in a module that makes one") from None
    if found.is_complex():
        raise TypeError("complex numbers; wrap it in a module that makes real ones, such as their absolute values")
    return found.to(like)
