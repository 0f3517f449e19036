"""What an attack on samples finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from verify.bracket import Bracket


@dataclass(frozen=True, repr=False)
class AttackResult:
    """The samples of a batch after an attack.

    Args:
        bracket: lower bounds on v* with their points, each replayed sample by sample; nothing is known from above.
        clean: bool (batch,), the samples that are right as they are, whether or not there are targets.
        by: (batch,) the name of the attack that fooled the model first, None where none did.
        distance: (batch,) of the points from their samples, in the norm of the ball, float64.
        warnings: why the robust accuracy may be lower than what is found here.
        is_aimed: whether there were targets, so that `fooled` is where they were reached.
    """

    bracket: Bracket
    clean: Tensor
    by: tuple[str | None, ...]
    distance: Tensor
    warnings: tuple[str, ...] = field(default=())
    is_aimed: bool = False

    @property
    def points(self) -> Tensor:
        """(batch, *shape): the points of largest violation that were found, members of the balls; a sample itself where
        nothing was."""
        assert self.bracket.witness is not None
        return self.bracket.witness

    @property
    def fooled(self) -> Tensor:
        """bool (batch,), where the violation of the point is >= 0; also of samples that are wrong as they are. With
        targets, the samples whose target was reached."""
        return self.bracket.lower >= 0

    @property
    def robust_accuracy(self) -> float:
        """The share of samples that are right and were not fooled; the true one is at most this. Where there were
        targets other classes were not looked for, and it may be far less."""
        return float((self.clean & ~self.fooled).double().mean())

    @property
    def clean_accuracy(self) -> float:
        """The share of samples that are right as they are."""
        return float(self.clean.double().mean())

    @property
    def seconds(self) -> float:
        """Wall time of the attack."""
        return float(str(self.bracket.notes["seconds"]))

    def __repr__(self) -> str:
        found = (f"target reached on {int(self.fooled.sum())} of {len(self.clean)}" if self.is_aimed
                 else f"robust accuracy at most {self.robust_accuracy:.1%}")
        told = (f"AttackResult of {len(self.clean)} samples: clean accuracy {self.clean_accuracy:.1%}, {found}, "
                f"{self.seconds:.1f} s")
        return "\n".join([told, *(f"warning: {text}" for text in self.warnings)])


def joined(brackets: Sequence[Bracket]) -> Bracket:
    """One bracket of the problems of several, in their order. Seconds are added up."""
    notes: dict[str, object] = {key: value for bracket in brackets for key, value in bracket.notes.items()}
    notes["seconds"] = sum(float(str(bracket.notes["seconds"])) for bracket in brackets)
    witnesses = [bracket.witness for bracket in brackets if bracket.witness is not None]
    rounding = [bracket.rounding for bracket in brackets if bracket.rounding is not None]
    return Bracket(
        torch.cat([bracket.lower for bracket in brackets]), torch.cat([bracket.upper for bracket in brackets]),
        torch.cat(witnesses), brackets[0].below, None, notes, torch.cat(rounding) if rounding else None,
        tuple(mark for bracket in brackets for mark in bracket.marks or ()),
    )
