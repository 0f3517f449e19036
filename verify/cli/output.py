"""Where the commands print: results on stdout, everything else on stderr, a progress bar only on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from verify.bracket import Bracket


def show(tables: RenderableType) -> None:
    """Prints tables on stdout, plain where NO_COLOR is set or stdout is no terminal."""
    from rich.console import Console

    plain = bool(os.environ.get("NO_COLOR"))
    console = Console(file=sys.stdout, highlight=False, color_system=None if plain else "auto")
    console.print(tables, crop=False)


def print_json(value: object) -> None:
    """Prints one JSON document on stdout."""
    print(json.dumps(value, indent=2, allow_nan=False))


def note(text: str) -> None:
    """Prints a line on stderr."""
    print(text, file=sys.stderr)


def note_bracket(name: str, bracket: Bracket) -> None:
    """Prints what a method found for one problem on stderr, with its seconds and what an upper bound trusts."""
    seconds, trusts = bracket.notes["seconds"], f"; trusts {bracket.above.trusts}" if bracket.above else ""
    note(f"{name:>9}: {float(bracket.lower[0]):.6g} <= v* <= {float(bracket.upper[0]):.6g}  ({seconds:.2f} s{trusts})")


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function that advances a progress bar on stderr, or does nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


class EpochBar:
    """A progress bar over epochs on stderr; where that is no terminal, a line for each epoch."""

    def __init__(self, total: int):
        self.total = total
        self._advance: Callable[[float], None] = lambda share: None
        self._describe: Callable[[str], None] = note

    def step(self, share: float) -> None:
        """A step is done that was this share of an epoch."""
        self._advance(share)

    def epoch(self, figures: dict[str, float], line: str) -> None:
        """An epoch is done; `line` says how it went."""
        self._describe(f"epoch {figures['epoch']:.0f}/{self.total}  {line}")


@contextmanager
def epochs(total: int) -> Iterator[EpochBar]:
    """An `EpochBar`."""
    bar = EpochBar(total)
    if not sys.stderr.isatty():
        yield bar
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(f"epoch 1/{total}", total=total)
        bar._advance = lambda share: shown.advance(task, share)
        bar._describe = lambda text: shown.update(task, description=text)
        yield bar
