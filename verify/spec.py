"""Specifications: what must not happen, as linear rows over the network's output and input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import prod

import numpy as np
import torch
from torch import Tensor

from verify.errors import InputError
from verify.labels import classes_of
from verify.rationals import round_down
from verify.rows import Disjuncts, Row, Terms, float_errors, is_float

LARGEST = 1 << 26  # coefficients of a specification of rows


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
        in_float64: the same rows, for what is to be proved or measured; None where they are the tensors above.
        exact: (cases,) object array of the `Disjuncts` of every case; None where float64 holds them as they are.
    """

    output: Tensor
    offset: Tensor
    disjunct: Tensor
    mask: Tensor
    input: Tensor | None = None
    in_float64: Specification | None = None
    exact: np.ndarray | None = None

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

    @cached_property
    def are_alternatives(self) -> bool:
        """Whether in every case row r is all of disjunct r, so that no row is padding."""
        rows = self.offset.shape[1]
        places = torch.arange(rows, device=self.disjunct.device)
        return rows > 0 and bool(((self.disjunct == places) & self.mask).all())

    @cached_property
    def comparisons(self) -> tuple[Tensor, Tensor] | None:
        """(i, j), (cases, rows) long each, of rows that are differences y_i - y_j and no more; None for other rows."""
        if self.input is not None or self.in_float64 is not None or not self.offset.numel():
            return None
        (high, first), (low, second) = self.output.max(2), self.output.min(2)
        alone = (high == 1) & (low == -1) & (self.output.count_nonzero(2) == 2) & (self.offset == 0)
        return (first, second) if bool(alone.all()) else None

    @property
    def is_conjunctive(self) -> bool:
        """Whether some disjunct has more than one row."""
        return bool(self._counts.gt(1).any())

    def values(self, x: Tensor, y: Tensor) -> Tensor:
        """Value of every row at points x (cases, *shape) with outputs y (cases, *outputs): (cases, rows), in float64
        and rounded to the type of y."""
        if self.in_float64 is not None:
            return self.in_float64.values(x.double(), y.double()).to(y.dtype)
        if self.comparisons is not None:
            (first, second), y = self.comparisons, y.flatten(1)
            top = y.amax(1, keepdim=True)  # NaN where any output is, of which no row then speaks
            return torch.where(top.isnan(), top, y.gather(1, first) - y.gather(1, second))
        rows = torch.einsum("cro,co->cr", self.output, y.flatten(1))
        if self.input is not None:
            rows = rows + torch.einsum("cri,ci->cr", self.input, x.flatten(1))
        return rows - self.offset

    def mixed(self, weights: Tensor) -> Tensor:
        """The coefficients of the outputs in the rows' sum with these weights (cases, rows); (cases, outputs)."""
        if self.comparisons is None:
            return torch.einsum("cr,cro->co", weights, self.output)
        first, second = self.comparisons
        none = weights.new_zeros((len(weights), self.output.shape[2]))
        return none.scatter_add_(1, first, weights).scatter_add_(1, second, -weights)

    def by_disjunct(self, rows: Tensor) -> Tensor:
        """The least row of each disjunct from row values (cases, rows): (cases, disjuncts), -inf where a case has none.

        A NaN row is kept NaN.
        """
        if self.are_alternatives:
            return rows
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
        out = self._with(lambda t: t[index], None if self.exact is None else self.exact[index.cpu().numpy()])
        if self.__dict__.get("comparisons"):  # what was found of all cases holds of some
            out.__dict__["comparisons"] = tuple(part[index] for part in self.__dict__["comparisons"])
        if self.__dict__.get("are_alternatives"):
            out.__dict__["are_alternatives"] = True
        return out

    def double(self) -> Specification:
        """The same specification in float64. Its rows are `outward` where those of this one are."""
        if self.in_float64 is not None:
            return replace(self.in_float64, exact=self.exact)
        return self._with(lambda t: t.double() if t.is_floating_point() else t, self.exact)

    def to(self, device: torch.device | str) -> Specification:
        """The same specification with its tensors on another device."""
        return self._with(lambda t: t.to(device), self.exact)

    def outward(self, largest: Callable[[], tuple[Tensor, Tensor]]) -> Specification:
        """The specification whose rows in float64 are nowhere on the sets below the exact ones.

        Offsets fall by what the coefficients' rounding may cost, their errors times the largest inputs and outputs.

        Args:
            largest: gives upper bounds of |x| (cases, inputs) and |y| (cases, outputs) over the sets, float64, inf
                where there is none. It is asked only where a coefficient is no float64.

        Sound because a rounded row differs from the exact one by at most |error| . |y|, and offsets are rounded down;
        the rounding of the sum of errors is covered.
        """
        errors = [] if self.exact is None else list(float_errors(self.exact))
        if not errors:
            return self
        wide, (x, y) = self.double(), largest()
        lost = torch.zeros_like(wide.offset)
        for case, row, is_output, index, error in errors:
            lost[case, row] += error * float((y if is_output else x)[case, index])
        lost *= 1 + len(errors) * 2.0**-50
        down = torch.nextafter(wide.offset - lost, torch.full_like(lost, -torch.inf))
        offset = torch.where(lost == 0, wide.offset, down).clamp(min=torch.finfo(lost.dtype).min)
        wide = replace(wide, offset=offset)
        return wide if self.in_float64 is None else replace(self, in_float64=replace(wide, exact=None))

    def same_rows(self, other: Specification) -> bool:
        """Whether all numbers are equal, in whatever types they are; for specifications of the same shape."""
        pairs = [(self.output, other.output), (self.offset, other.offset)]
        if self.input is not None and other.input is not None:
            pairs.append((self.input, other.input))
        return all(bool((mine.double() == theirs.double()).all()) for mine, theirs in pairs)

    def disjuncts_of(self, case: int) -> Disjuncts:
        """The exact rows of a case, disjunct by disjunct."""
        if self.exact is not None:
            return self.exact[case]
        if self.in_float64 is not None:
            return self.in_float64.disjuncts_of(case)
        groups: dict[int, list[Row]] = {}
        for r in self.mask[case].nonzero().flatten().tolist():
            given = () if self.input is None else _terms(self.input[case, r])
            row = Row(_terms(self.output[case, r]), given, Fraction(float(self.offset[case, r])))
            groups.setdefault(int(self.disjunct[case, r]), []).append(row)
        return [groups[k] for k in sorted(groups)]

    def _with(self, change: Callable[[Tensor], Tensor], exact: np.ndarray | None) -> Specification:
        moved = None if self.input is None else change(self.input)
        wide = None if self.in_float64 is None else self.in_float64._with(change, None)
        output, offset, disjunct, mask = map(change, (self.output, self.offset, self.disjunct, self.mask))
        out = object.__new__(Specification)  # without a look at numbers that have been looked at
        out.__dict__.update(output=output, offset=offset, disjunct=disjunct, mask=mask, input=moved, in_float64=wide,
                            exact=exact)
        return out

    @cached_property
    def _counts(self) -> Tensor:
        """Number of rows in each disjunct of each case, (cases, disjuncts)."""
        zeros = torch.zeros((self.cases, max(self.disjuncts, 1)), dtype=torch.long, device=self.mask.device)
        return zeros.scatter_add(1, self.disjunct, self.mask.long())


def from_rows(cases: Sequence[Disjuncts], outputs: int, inputs: int, dtype: torch.dtype) -> Specification:
    """The specification of exact rows over so many outputs and inputs, one for each case.

    Coefficients are rounded to the nearest float of `dtype` (float32 or float64) and offsets downward; `in_float64` has
    them in float64. Nothing is proved by them before `outward` has allowed for what rounding changed. Raises InputError
    for a number that is beyond the largest float, and for more than LARGEST coefficients.
    """
    rows = [[(d, row) for d, disjunct in enumerate(case) for row in disjunct] for case in cases]
    shape = (len(rows), max(map(len, rows), default=0))
    mixes = any(row.input for listed in rows for _, row in listed)
    if (entries := prod(shape) * (outputs + inputs * mixes)) > LARGEST:
        raise InputError(f"the rows need {entries} coefficients, more than {LARGEST}; split the property")
    offset = np.full(shape, Fraction(0), dtype=object)
    disjunct = torch.zeros(shape, dtype=torch.long)
    mask = torch.zeros(shape, dtype=torch.bool)
    for c, listed in enumerate(rows):
        offset[c, : len(listed)] = [row.offset for _, row in listed]
        disjunct[c, : len(listed)] = torch.tensor([d for d, _ in listed])
        mask[c, : len(listed)] = True
    indexed = [(c, r, row) for c, listed in enumerate(rows) for r, (_, row) in enumerate(listed)]
    output = _dense([(c, r, i, v) for c, r, row in indexed for i, v in row.output], (*shape, outputs))
    mixed = [(c, r, i, v) for c, r, row in indexed for i, v in row.input]
    given = _dense(mixed, (*shape, inputs)) if mixes else None
    wide = Specification(output, round_down(offset, torch.float64), disjunct, mask, given)
    moved = None if given is None else given.to(dtype)
    near = Specification(output.to(dtype), round_down(offset, dtype), disjunct, mask, moved)
    if not near.same_rows(wide):
        near = replace(near, in_float64=wide)
    if all(is_float(row.offset) for *_, row in indexed) and not any(True for _ in float_errors(cases)):
        return near
    exact = np.empty(len(rows), dtype=object)
    for c, case in enumerate(cases):
        exact[c] = case
    return replace(near, exact=exact)


def _dense(entries: list[tuple[int, int, int, Fraction]], shape: tuple[int, ...]) -> Tensor:
    """The float64 tensor with these (case, row, index, value) entries and zeros elsewhere."""
    dense = torch.zeros(shape, dtype=torch.float64)
    if entries:
        cases, rows, indices, values = zip(*entries, strict=True)
        dense[list(cases), list(rows), list(indices)] = torch.tensor([float(v) for v in values], dtype=torch.float64)
    return dense


def _terms(values: Tensor) -> Terms:
    """The entries that are not zero, as they are."""
    places = values.nonzero().flatten().tolist()
    return tuple((i, Fraction(float(values[i]))) for i in places)


def margins(
    labels: Tensor, outputs: int, target: int | Tensor | None = None, dtype: torch.dtype = torch.float32,
    *, wins: bool = False,
) -> Specification:
    """Robustness of a classifier: the violation is max over j != y of (h_j - h_y), or what is said of a target.

    Args:
        labels: (batch,) integers, the true classes.
        outputs: number of classes.
        target: None for untargeted, or a class t (int or (batch,) integers) for the targeted margin h_t - h_y. It is
            violated where t beats the label, be there a third class that beats both.
        wins: with a target, min over j != t of (h_t - h_j) instead: violated only where t beats every class.

    Raises InputError for a network with fewer than two outputs, for a class that is out of range and for a target that
    equals its label.
    """
    if outputs < 2:
        raise InputError(
            f"a network with {outputs} output has no wrong class; leave out the target of verify.robustness, or use a "
            "Specification with linear rows, or VNN-LIB"
        )
    labels, aims = classes_of(labels, outputs, target)
    identity = torch.eye(outputs, dtype=dtype, device=labels.device)
    if aims is None:
        others = torch.arange(outputs, device=labels.device).expand(len(labels), -1)
        wrong = others[others != labels[:, None]].reshape(len(labels), outputs - 1)
    else:
        wrong = aims[:, None]
    if aims is not None and wins:
        beaten = margins(wrong[:, 0], outputs, None, dtype)
        return replace(beaten, output=-beaten.output, disjunct=torch.zeros_like(beaten.disjunct))
    rows = identity[wrong] - identity[labels][:, None]
    offset, shape = torch.zeros_like(rows[..., 0]), rows.shape[:2]
    disjunct = torch.arange(shape[1], device=labels.device).expand(shape).contiguous()
    return Specification(rows, offset, disjunct, torch.ones(shape, dtype=torch.bool, device=labels.device))
