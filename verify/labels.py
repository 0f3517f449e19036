"""Class numbers of samples: labels, and the classes that attacks aim at."""

from __future__ import annotations

import torch
from torch import Tensor

from verify.errors import InputError


def classes_of(labels: Tensor, outputs: int, target: int | Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Labels (batch,), and a target for each (batch,) where there is one or one for each, as long.

    Raises InputError for a class that is out of range, and for a target that equals its label.
    """
    labels = class_numbers(labels, outputs, "label")
    if target is None:
        return labels, None
    aims = class_numbers(torch.as_tensor(target, device=labels.device), outputs, "target")
    if aims.dim() and len(aims) != len(labels):
        raise InputError(f"there are {len(aims)} targets but {len(labels)} labels; give one target or one a sample")
    aims = aims.expand(len(labels))
    same = (aims == labels).nonzero().flatten()
    if len(same):
        first = int(same[0])
        raise InputError(f"the target of sample {first} is its label, class {int(labels[first])}; choose another class")
    return labels, aims


def class_numbers(numbers: Tensor, outputs: int, what: str) -> Tensor:
    """The class numbers as long, in range."""
    if numbers.dtype == torch.bool:
        raise InputError(f"{what}s are booleans; pass class numbers")
    if numbers.is_floating_point() or numbers.is_complex():
        raise InputError(f"{what}s are {numbers.dtype} but must be integer class numbers")
    if numbers.dim() > 1:
        raise InputError(f"{what}s have shape {tuple(numbers.shape)}; give one class number a sample")
    numbers = numbers.long()
    bad = ((numbers < 0) | (numbers >= outputs)).flatten().nonzero().flatten()
    if len(bad):
        first = int(bad[0])
        given, least, most = int(numbers.flatten()[first]), int(numbers.min()), int(numbers.max())
        remedy = f"; they go from 1 to {outputs}, so subtract 1" if (least, most) == (1, outputs) else ""
        raise InputError(f"{what} {given} of sample {first} is out of range; the network has {outputs} classes{remedy}")
    return numbers
