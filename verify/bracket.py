"""The answer of every method: a bracket lower <= v* <= upper with the evidence for each side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from html import escape

import torch
from torch import Tensor

from verify.errors import Contradiction, InputError

SHOWN = 20  # problems in a table
TOLERANCE = 1e-5  # float sides may cross by this much, relative to 1 + |v|, before it counts as a contradiction


class Rigour(StrEnum):
    """How a side was established: by exact or outward-rounded arithmetic, in plain floats, or by a solver's word."""

    PROVED = "proved"
    FLOAT = "float"
    SOLVER = "solver"


class Verdict(StrEnum):
    """What a bracket says of one problem."""

    CERTIFIED = "certified"  # a certificate was accepted by the independent checker
    VERIFIED = "verified"  # v* < 0, proved in floating point
    FALSIFIED = "falsified"  # v* >= 0, with a witness that was replayed
    UNKNOWN = "unknown"
    ERROR = "error"


@dataclass(frozen=True)
class Side:
    """Where one side of a bracket comes from."""

    method: str
    rigour: Rigour
    level: str = "R"  # R: real arithmetic, F: float32 execution
    trusts: str = "float rounding"


@dataclass(frozen=True, repr=False)
class Bracket:
    """lower <= v* <= upper for each problem of a batch.

    Args:
        lower: (batch,) violation of the witness as floats compute it, -inf where none was found.
        upper: (batch,) bound of a relaxation or of an exact method, inf where none is known.
        witness: (batch, *shape) the inputs that attain `lower`, or None.
        rounding: (batch,) how far below `lower` the violation of the witness in real arithmetic may lie; None for 0.
        below: where `lower` comes from, None if no method gave one.
        above: the same of `upper`.
        notes: counts and reasons, for tables ("nodes": 12, "stopped": "time limit").
        marks: (batch,) what tells the problems from others (`Problem.marks`); None where that is not said.

    Raises InputError for sides of different lengths, and for sides that cross where no method is named that gave them;
    of named methods `check` tells which contradicts which.
    """

    lower: Tensor
    upper: Tensor
    witness: Tensor | None = None
    below: Side | None = None
    above: Side | None = None
    notes: dict[str, object] = field(default_factory=dict)
    rounding: Tensor | None = None
    marks: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.lower.shape != self.upper.shape or self.lower.dim() != 1:
            raise InputError(f"a bracket takes a lower and an upper end for each problem, two tensors (batch,), not "
                             f"{tuple(self.lower.shape)} and {tuple(self.upper.shape)}")
        crossed = (self.lower > self.upper).nonzero().flatten().tolist()
        if crossed and self.below is None and self.above is None:
            k = crossed[0]
            raise InputError(f"problem {k} has the lower end {float(self.lower[k]):.9g} above the upper end "
                             f"{float(self.upper[k]):.9g}, and no value lies between them; were they exchanged?")

    @property
    def verdicts(self) -> list[Verdict]:
        """One verdict a problem. NaN compares false with everything, so it never verifies or falsifies.

        Where the sides cross 0 within what floats explain, the replayed witness outweighs the bound.
        """
        holds, fails = (self.upper < 0).tolist(), (self.lower >= 0).tolist()
        pairs = zip(holds, fails, strict=True)
        return [Verdict.FALSIFIED if f else Verdict.VERIFIED if h else Verdict.UNKNOWN for h, f in pairs]

    @property
    def gap(self) -> Tensor:
        """upper - lower, (batch,)."""
        return self.upper - self.lower

    def select(self, index: int | slice | Sequence[int]) -> Bracket:
        """The brackets of the problems at these places of the batch, in this order; of one problem for an int."""
        chosen = [index] if isinstance(index, int) else index
        places = torch.arange(len(self.lower), device=self.lower.device)[chosen]
        witness, rounding = (None if part is None else part[places] for part in (self.witness, self.rounding))
        marks = None if self.marks is None else tuple(self.marks[k] for k in places.tolist())
        return replace(self, lower=self.lower[places], upper=self.upper[places], witness=witness, rounding=rounding,
                       marks=marks)

    def __repr__(self) -> str:
        """A table with one line a problem, SHOWN at most."""
        titles, lines = ("problem", "lower", "upper", "verdict"), self._lines()
        widths = [max(map(len, column)) for column in zip(titles, *lines, strict=True)]
        text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
                for line in (titles, *lines)]
        return "\n".join(["Bracket" + self._origin(), *text])

    def _repr_html_(self) -> str:
        """The same table for notebooks."""
        cells = ("".join(f"<td>{escape(cell)}</td>" for cell in line) for line in self._lines())
        rows = "".join(f"<tr>{line}</tr>" for line in cells)
        head = "<tr><th>problem</th><th>lower</th><th>upper</th><th>verdict</th></tr>"
        return f"<table><caption>Bracket{escape(self._origin())}</caption>{head}{rows}</table>"

    def _origin(self) -> str:
        """Where its sides come from, in words."""
        sides = (("lower by ", self.below), ("upper by ", self.above))
        told = [word + side.method for word, side in sides if side is not None]
        return f" ({', '.join(told)})" if told else ""

    def _lines(self) -> list[tuple[str, ...]]:
        ends = zip(self.lower.tolist(), self.upper.tolist(), self.verdicts, strict=True)
        lines = [(str(k), f"{low:.6g}", f"{high:.6g}", str(word)) for k, (low, high, word) in enumerate(ends)]
        if len(lines) <= SHOWN:
            return lines
        return [*lines[:SHOWN], ("..", "", "", f"{len(lines) - SHOWN} more")]

    def check(self, bundle: dict | None = None) -> Bracket:
        """Returns self; raises Contradiction where lower > upper beyond the tolerance and what rounding explains."""
        scale = 1 + torch.minimum(self.lower.abs(), self.upper.abs())
        slack = 0.0 if _proved(self.below) and _proved(self.above) else TOLERANCE
        certain = self.lower if self.rounding is None else self.lower - self.rounding
        crossed = (certain > self.upper + slack * scale).nonzero().flatten().tolist()
        if crossed:
            i = crossed[0]
            names = [side.method if side else "?" for side in (self.below, self.above)]
            raise Contradiction(
                f"problem {i}: {names[0]} found a point of value {float(self.lower[i]):.9g} above the upper bound "
                f"{float(self.upper[i]):.9g} of {names[1]}; one of them is wrong, please report the bundle",
                {"problems": crossed, "bracket": self, **(bundle or {})},
            )
        return self

    def meet(self, other: Bracket) -> Bracket:
        """The bracket that both support: the larger lower with its witness, the smaller upper; NaN yields to a number.

        Raises Contradiction where they cross, InputError where they are of different problems.
        """
        if not isinstance(other, Bracket):
            raise InputError(f"a bracket meets a bracket, not a {type(other).__name__}; pass what verify.solve gives")
        if self.lower.shape != other.lower.shape:
            raise InputError(f"brackets of {len(self.lower)} and {len(other.lower)} problems cannot meet")
        marks = self.marks or other.marks
        if other.marks not in (None, marks):
            first = next(i for i, (a, b) in enumerate(zip(self.marks or (), other.marks or (), strict=True)) if a != b)
            raise InputError(f"these brackets are of different problems (at place {first} of the batch), of which none "
                             "bounds the other; meet brackets of one network, sample, set and specification")
        better = (other.lower > self.lower) | self.lower.isnan()
        closer = (other.upper < self.upper) | self.upper.isnan()
        witness = self.witness if other.witness is None else other.witness
        if self.witness is not None and other.witness is not None:
            spread = better.reshape(-1, *[1] * (self.witness.dim() - 1))
            witness = torch.where(spread, other.witness, self.witness)
        met = replace(
            self,
            lower=torch.where(better, other.lower, self.lower),
            upper=torch.where(closer, other.upper, self.upper),
            witness=witness,
            below=_weaker(self.below, other.below, better),
            above=_weaker(self.above, other.above, closer),
            notes={**self.notes, **other.notes},
            rounding=_picked(self.rounding, other.rounding, better),
            marks=marks,
        )
        return met.check({"sides": (self, other)})


def _picked(mine: Tensor | None, other: Tensor | None, taken: Tensor) -> Tensor | None:
    """The rounding of the lower ends that are taken."""
    if mine is None and other is None:
        return None
    first, second = (torch.zeros(taken.shape, device=taken.device) if t is None else t for t in (other, mine))
    return torch.where(taken, first, second)


def _proved(side: Side | None) -> bool:
    return side is not None and side.rigour is Rigour.PROVED


def _weaker(mine: Side | None, other: Side | None, taken: Tensor) -> Side | None:
    """The side's source; where a batch mixes two sources, both are named and the weaker rigour is kept."""
    if other is None or not bool(taken.any()):
        return mine
    if mine is None or bool(taken.all()):
        return other
    order = [Rigour.PROVED, Rigour.FLOAT, Rigour.SOLVER]
    weak = max(mine, other, key=lambda side: order.index(side.rigour))
    names = dict.fromkeys([*mine.method.split("+"), *other.method.split("+")])
    return replace(weak, method="+".join(names))
