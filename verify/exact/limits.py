"""What a search may spend, and why it stopped."""

from __future__ import annotations

import time
from dataclasses import dataclass

from verify.errors import InputError


@dataclass(frozen=True)
class Limits:
    """A deadline and a number of domains; None is no limit.

    Args:
        deadline: `time.perf_counter()` seconds at which to stop.
        domains: bounded domains after which to stop.
    """

    deadline: float | None = None
    domains: int | None = None

    @classmethod
    def starting_now(cls, seconds: float | None, domains: int | None = None) -> Limits:
        """The limits of a search that begins now. Raises InputError for a limit that is not positive."""
        for name, value in (("time_limit", seconds), ("domains", domains)):
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}; give a positive number, or None for no limit")
        return cls(None if seconds is None else time.perf_counter() + seconds, domains)

    @property
    def left(self) -> float:
        """Seconds to the deadline, inf without one."""
        return float("inf") if self.deadline is None else self.deadline - time.perf_counter()

    def reached(self, domains: int) -> str | None:
        """Why to stop after so many domains, or None."""
        if self.left <= 0:
            return "the time limit was reached"
        if self.domains is not None and domains >= self.domains:
            return f"the limit of {self.domains} domains was reached"
        return None
