"""Specifications: what must not happen, as linear rows over the network's output and input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.errors import InputError


@dataclass(frozen=True)
class Specification:
    """violation(x, y) = max over disjuncts of min over their rows of (output . y + input . x - offset), one a case.

    The property holds where the violation is negative. Rows are padded to the longest case; `mask` is False on padding.

    Args:
        output: (cases, rows, outputs) coefficients of the flattened network output.
        offset: (cases, rows).
        disjunct: (cases, rows) long, the disjunct a row belongs to, 0 .. disjuncts - 1.
        mask: (cases, rows) bool.
        input: (cases, rows, inputs) coefficients of the flattened input, or None.
    """

    output: Tensor
    offset: Tensor
    disjunct: Tensor
    mask: Tensor
    input: Tensor | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.offset.shape)
        if self.output.shape[:2] != shape or tuple(self.disjunct.shape) != shape or tuple(self.mask.shape) != shape:
            raise InputError("a specification's output, offset, disjunct and mask disagree on (cases, rows)")
        if not bool(torch.isfinite(self.output).all() and torch.isfinite(self.offset).all()):
            raise InputError("a specification has a coefficient that is not finite")

    @property
    def cases(self) -> int:
        return self.offset.shape[0]

    @property
    def disjuncts(self) -> int:
        return int(self.disjunct.max()) + 1 if self.disjunct.numel() else 0

    @property
    def is_conjunctive(self) -> bool:
        """Whether some disjunct has more than one row."""
        return bool(_counts(self) .gt(1).any())

    def values(self, x: Tensor, y: Tensor) -> Tensor:
        """Value of every row at points x (cases, *shape) with outputs y (cases, *outputs): (cases, rows)."""
        rows = torch.einsum("cro,co->cr", self.output, y.flatten(1))
        if self.input is not None:
            rows = rows + torch.einsum("cri,ci->cr", self.input, x.flatten(1))
        return rows - self.offset

    def aggregate(self, rows: Tensor) -> Tensor:
        """The violation from row values (cases, rows): max over disjuncts of min over rows; (cases,).

        Monotone in every row, so upper bounds on the rows give an upper bound on the violation. A NaN row is kept NaN.
        """
        filled = torch.where(self.mask, rows, torch.inf)
        shape = (rows.shape[0], max(self.disjuncts, 1))
        least = torch.full(shape, torch.inf, dtype=rows.dtype, device=rows.device)
        least = least.scatter_reduce(1, self.disjunct, filled, "amin")
        absent = _counts(self) == 0
        return torch.where(absent, -torch.inf, least).amax(1)

    def violation(self, x: Tensor, y: Tensor) -> Tensor:
        """The violation at points x (cases, *shape) with outputs y; (cases,)."""
        return self.aggregate(self.values(x, y))

    def select(self, index: Tensor) -> Specification:
        """The cases at these positions, index (n,) long."""
        return Specification(
            self.output[index],
            self.offset[index],
            self.disjunct[index],
            self.mask[index],
            None if self.input is None else self.input[index],
        )

    def to(self, device: torch.device | str) -> Specification:
        """The same specification with its tensors on another device."""
        moved = None if self.input is None else self.input.to(device)
        return Specification(
            self.output.to(device), self.offset.to(device), self.disjunct.to(device), self.mask.to(device), moved
        )


def _counts(spec: Specification) -> Tensor:
    """Number of rows in each disjunct of each case, (cases, disjuncts)."""
    zeros = torch.zeros((spec.cases, max(spec.disjuncts, 1)), dtype=torch.long, device=spec.mask.device)
    return zeros.scatter_add(1, spec.disjunct, spec.mask.long())


def margins(labels: Tensor, outputs: int, target: int | Tensor | None = None, dtype: torch.dtype = torch.float32) -> Specification:
    """Robustness of a classifier: the violation is max over j != y of (h_j - h_y), or h_target - h_y.

    Args:
        labels: (batch,) long, the true classes.
        outputs: number of classes.
        target: None for untargeted, or a class (int or (batch,) long) for the targeted margin.
    """
    _check_labels(labels, outputs, "label")
    identity = torch.eye(outputs, dtype=dtype, device=labels.device)
    if target is None:
        others = torch.arange(outputs, device=labels.device).expand(len(labels), -1)
        wrong = others[others != labels[:, None]].reshape(len(labels), outputs - 1)
    else:
        wrong = torch.as_tensor(target, device=labels.device).expand(len(labels))[:, None]
        _check_labels(wrong, outputs, "target")
        if bool((wrong[:, 0] == labels).any()):
            raise InputError("a target equals the label of its sample; choose another class")
    rows = identity[wrong] - identity[labels][:, None]
    shape = rows.shape[:2]
    disjunct = torch.arange(shape[1], device=labels.device).expand(shape).contiguous()
    return Specification(
        rows, torch.zeros(shape, dtype=dtype, device=labels.device), disjunct, torch.ones(shape, dtype=torch.bool, device=labels.device)
    )


def _check_labels(labels: Tensor, outputs: int, what: str) -> None:
    if labels.dtype not in (torch.int64, torch.int32, torch.uint8, torch.int16, torch.int8):
        raise InputError(f"{what}s are {labels.dtype} but must be integer class numbers")
    bad = (labels < 0) | (labels >= outputs)
    if bool(bad.any()):
        where = int(bad.flatten().nonzero()[0])
        raise InputError(
            f"{what} {int(labels.flatten()[where])} of sample {where} is out of range; the network has {outputs} classes"
        )
