"""Where the commands print: results on stdout, everything else on stderr, a progress bar only on a terminal."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from verify.bracket import Bracket

EVERY = 10.0  # seconds between lines of progress where there is no bar


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


def warn(warnings: Iterable[str]) -> None:
    """Prints what the user may not have meant on stderr, a line each."""
    for text in warnings:
        note(f"warning: {text}")


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


@contextmanager
def kept(folder: Path | None) -> Iterator[None]:
    """Says where an interrupted run is, if the user did not say it."""
    try:
        yield
    except KeyboardInterrupt:
        if folder is not None:
            note(f"the run is in {folder}")
        raise


@contextmanager
def verdicts(total: int) -> Iterator[Callable[[Sequence[str]], None]]:
    """A function to call with the verdicts that have become final, of so many: it draws a bar on stderr with counts,
    rate and time left, or writes a line now and then where that is no terminal."""
    counts: Counter[str] = Counter()
    if not sys.stderr.isatty():
        last = start = time.monotonic()

        def on_progress(more: Sequence[str]) -> None:
            nonlocal last
            counts.update(more)
            now = time.monotonic()
            if now - last >= EVERY:
                last = now
                note(f"{counts.total()} of {total} decided or given up after {now - start:.0f} s: {_counted(counts)}")

        yield on_progress
        return
    from rich import progress as parts
    from rich.console import Console

    columns = (parts.MofNCompleteColumn(), parts.BarColumn(), parts.TextColumn("{task.fields[counts]}"),
               parts.TextColumn("{task.fields[rate]}"), parts.TimeElapsedColumn(), parts.TextColumn("left"),
               parts.TimeRemainingColumn())
    plain = bool(os.environ.get("NO_COLOR"))
    with parts.Progress(*columns, console=Console(stderr=True, no_color=plain), transient=True) as bar:
        task = bar.add_task("", total=total, counts="", rate="")

        def advance(more: Sequence[str]) -> None:
            counts.update(more)
            elapsed = bar.tasks[0].elapsed or 0.0
            rate = f"{counts.total() / elapsed:.1f}/s" if elapsed > 0 else ""
            bar.update(task, completed=counts.total(), counts=_counted(counts), rate=rate)

        yield advance


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))


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
