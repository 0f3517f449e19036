"""How long work may take. A deadline is in force for all that is called within it, and is looked at everywhere.

    with within(Deadline.after(10.0)):
        answer = method.answer(problem)

Whoever walks a network, takes a step of an optimiser or begins another chunk of rows calls `check_time`, which raises
OutOfTime once the deadline has come. Who has something to lose by that works within a `part` of the time that is left,
catches OutOfTime and goes on with what was found so far in the time that remains. A deadline is carried by a context
and not by arguments, since it concerns every loop of the house and none of their results: what is returned holds
whether or not more time would have made it better.

A deadline within another one can only come earlier.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf

from verify.errors import OutOfTime


@dataclass(frozen=True, order=True)
class Deadline:
    """A moment in `time.perf_counter()` seconds; by default one that never comes."""

    at: float = inf

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """So many seconds from now; None for never."""
        return NEVER if seconds is None else cls(time.perf_counter() + seconds)

    @property
    def left(self) -> float:
        """Seconds until then: inf for never, negative once it has passed."""
        return self.at - time.perf_counter()

    @property
    def is_over(self) -> bool:
        return time.perf_counter() >= self.at

    def part(self, share: float) -> Deadline:
        """An earlier deadline, at this share of the time that is left."""
        return Deadline(self.at - (1 - share) * max(self.left, 0.0)) if self.at < inf else self


NEVER = Deadline()
_in_force: ContextVar[Deadline] = ContextVar("deadline", default=NEVER)


def deadline() -> Deadline:
    """The deadline of the innermost `with` around the caller; one that never comes where there is none."""
    return _in_force.get()


def check_time() -> None:
    """Raises OutOfTime once the deadline in force has come."""
    if time.perf_counter() >= _in_force.get().at:
        raise OutOfTime


@contextmanager
def within(limit: Deadline) -> Iterator[Deadline]:
    """Puts a deadline in force, or the one around it where that comes first; gives the one in force."""
    around = _in_force.get()
    token = _in_force.set(limit if limit.at < around.at else around)
    try:
        yield _in_force.get()
    finally:
        _in_force.reset(token)
