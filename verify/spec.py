"""Specifications: what must not happen, as linear rows over the network's output and input."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

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
        parts = [self.output, self.offset, *([] if self.input is None else [self.input])]
        if not all(bool(torch.isfinite(part).all()) for part in parts):
            raise InputError("a specification has a coefficient that is not finite")

    @property
    def cases(self) -> int:
        return self.offset.shape[0]

    @cached_property
    def disjuncts(self) -> int:
        return int(self.disjunct.max()) + 1 if self.disjunct.numel() else 0

    @property
    def is_conjunctive(self) -> bool:
        """Whether some disjunct has more than one row."""
        return bool(self._counts.gt(1).any())

    def values(self, x: Tensor, y: Tensor) -> Tensor:
        """Value of every row at points x (cases, *shape) with outputs y (cases, *outputs): (cases, rows)."""
        rows = torch.einsum("cro,co->cr", self.output, y.flatten(1))
        if self.input is not None:
            rows = rows + torch.einsum("cri,ci->cr", self.input, x.flatten(1))
        return rows - self.offset

    def by_disjunct(self, rows: Tensor) -> Tensor:
        """The least row of each disjunct from row values (cases, rows): (cases, disjuncts), -inf where a case has none.

        A NaN row is kept NaN.
        """
        filled = torch.where(self.mask, rows, torch.inf)
        least = rows.new_full((rows.shape[0], max(self.disjuncts, 1)), torch.inf)
        least = least.scatter_reduce(1, self.disjunct, filled, "amin")
        return torch.where(self._counts == 0, -torch.inf, least)

    def aggregate(self, rows: Tensor) -> Tensor:
        """The violation from row values (cases, rows): max over disjuncts of min over rows; (cases,).

        Monotone in every row, so upper bounds on the rows give an upper bound on the violation. A NaN row is kept NaN.
        """
        return self.by_disjunct(rows).amax(1)

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

    def double(self) -> Specification:
        """The same specification in float64."""
        moved = None if self.input is None else self.input.double()
        return Specification(self.output.double(), self.offset.double(), self.disjunct, self.mask, moved)

    def to(self, device: torch.device | str) -> Specification:
        """The same specification with its tensors on another device."""
        moved = None if self.input is None else self.input.to(device)
        return Specification(
            self.output.to(device), self.offset.to(device), self.disjunct.to(device), self.mask.to(device), moved
        )

    @cached_property
    def _counts(self) -> Tensor:
        """Number of rows in each disjunct of each case, (cases, disjuncts)."""
        zeros = torch.zeros((self.cases, max(self.disjuncts, 1)), dtype=torch.long, device=self.mask.device)
        return zeros.scatter_add(1, self.disjunct, self.mask.long())


def margins(
    labels: Tensor, outputs: int, target: int | Tensor | None = None, dtype: torch.dtype = torch.float32
) -> Specification:
    """Robustness of a classifier: the violation is max over j != y of (h_j - h_y), or h_target - h_y.

    Args:
        labels: (batch,) integers, the true classes.
        outputs: number of classes.
        target: None for untargeted, or a class (int or (batch,) integers) for the targeted margin.

    Raises InputError for a network with fewer than two outputs, for a class that is out of range and for a target that
    equals its label.
    """
    if outputs < 2:
        raise InputError(
            f"a network with {outputs} output has no wrong class; use a Specification with linear rows, or VNN-LIB"
        )
    labels = _classes(labels, outputs, "label")
    identity = torch.eye(outputs, dtype=dtype, device=labels.device)
    if target is None:
        others = torch.arange(outputs, device=labels.device).expand(len(labels), -1)
        wrong = others[others != labels[:, None]].reshape(len(labels), outputs - 1)
    else:
        aims = _classes(torch.as_tensor(target, device=labels.device), outputs, "target")
        if aims.dim() and len(aims) != len(labels):
            raise InputError(f"there are {len(aims)} targets but {len(labels)} labels; give one target or one a sample")
        wrong = aims.expand(len(labels))[:, None]
        if bool((wrong[:, 0] == labels).any()):
            raise InputError("a target equals the label of its sample; choose another class")
    rows = identity[wrong] - identity[labels][:, None]
    offset, shape = torch.zeros_like(rows[..., 0]), rows.shape[:2]
    disjunct = torch.arange(shape[1], device=labels.device).expand(shape).contiguous()
    return Specification(rows, offset, disjunct, torch.ones(shape, dtype=torch.bool, device=labels.device))


def _classes(numbers: Tensor, outputs: int, what: str) -> Tensor:
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
        given = int(numbers.flatten()[first])
        raise InputError(f"{what} {given} of sample {first} is out of range; the network has {outputs} classes")
    return numbers
