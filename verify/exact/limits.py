"""What a search may spend, and why it stopped."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import torch

from verify.errors import InputError


@dataclass(frozen=True)
class Limits:
    """A deadline, a number of domains and memory; None is no limit.

    Args:
        deadline: `time.perf_counter()` seconds at which to stop.
        domains: bounded domains after which to stop.
        memory: bytes of open domains at which to stop.
    """

    deadline: float | None = None
    domains: int | None = None
    memory: float | None = None

    @classmethod
    def starting_now(cls, seconds: float | None, domains: int | None = None, memory: float | None = None) -> Limits:
        """The limits of a search that begins now, memory in GiB. Raises InputError for one that is not positive."""
        for name, value in (("time_limit", seconds), ("domains", domains), ("memory", memory)):
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}; give a positive number, or None for the default")
        deadline = None if seconds is None else time.perf_counter() + seconds
        return cls(deadline, domains, None if memory is None else memory * 2**30)

    @property
    def left(self) -> float:
        """Seconds to the deadline, inf without one."""
        return float("inf") if self.deadline is None else self.deadline - time.perf_counter()

    def reached(self, domains: int, memory: float = 0) -> str | None:
        """Why to stop after so many domains, of which those that are open take this memory in bytes; or None."""
        if self.left <= 0:
            return "the time limit was reached"
        if self.domains is not None and domains >= self.domains:
            return f"the limit of {self.domains} domains was reached"
        if self.memory is not None and memory > self.memory:
            return f"the open domains take more than {self.memory / 2**30:.3g} GiB"
        return None


def free_memory(device: torch.device) -> float:
    """Free memory of a device in GiB; inf where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**30
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (AttributeError, ValueError, OSError):
        return float("inf")
