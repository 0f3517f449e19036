"""What a search may spend, and why it stopped."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from verify.deadline import NEVER, Deadline
from verify.deadline import deadline as in_force
from verify.errors import LATE, InputError


@dataclass(frozen=True)
class Limits:
    """A deadline, a number of domains and memory; None is no limit.

    Args:
        deadline: when to stop.
        domains: bounded domains after which to stop.
        memory: bytes of open domains at which to stop.
    """

    deadline: Deadline = NEVER
    domains: int | None = None
    memory: float | None = None

    @classmethod
    def starting_now(cls, seconds: float | None, domains: int | None = None, memory: float | None = None) -> Limits:
        """The limits of a search that begins now within the deadline in force, memory in GiB.

        Raises InputError for one that is not positive.
        """
        for name, value in (("time_limit", seconds), ("domains", domains), ("memory", memory)):
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}; give a positive number, or None for the default")
        return cls(min(Deadline.after(seconds), in_force()), domains, None if memory is None else memory * 2**30)

    @property
    def left(self) -> float:
        """Seconds to the deadline, inf without one."""
        return self.deadline.left

    def reached(self, domains: int, memory: float = 0) -> str | None:
        """Why to stop after so many domains, of which those that are open take this memory in bytes; or None."""
        if self.left <= 0:
            return LATE
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
