"""Sets around samples, as the command line names them: `--set KIND:ARGUMENT`."""

from __future__ import annotations

from verify.errors import InputError
from verify.registry import FRONTS, SETS
from verify.sets.base import InputSet
from verify.sets.grid import on_grid
from verify.sets.samples import Samples


def sets_around(text: str, samples: Samples) -> InputSet:
    """The sets that the text asks for, or their points of the samples' grid. Raises InputError in one sentence where it
    cannot be understood, and where a set does not hold its own sample."""
    found = on_grid(SETS[kind_of(text)].load().around(text.partition(":")[2], samples), samples.grid)
    if not bool(found.contains(samples.x).all()):
        raise InputError(f"the set {text} does not hold the sample that it surrounds; let it allow a change of 0")
    return found


def kind_of(text: str) -> str:
    """The name of the kind of set that the text asks for. Raises InputError for one that there is not."""
    kind = text.partition(":")[0]
    if kind not in SETS:
        forms = ", ".join(entry.help for entry in (*SETS.values(), *FRONTS.values()))
        raise InputError(f"unknown set {text!r}; write one of {forms}")
    return kind
