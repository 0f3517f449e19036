"""What a run will take, told from a few of its samples before it begins."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from verify.runs.certification.cascade import Cascade, peak_memory
from verify.runs.certification.outcome import Outcome

PROBE = (2, 16)  # samples of the first look, which loads what is loaded once, and of the second, which is measured
SINGLE = 3  # open samples that the methods that take one at a time are tried on


@dataclass(frozen=True)
class Estimate:
    """What a run will take, from the few samples that were tried.

    Args:
        samples: how many there are; probed: how many were looked at.
        open: the share of them that the methods that take batches leave open at some radius.
        batched, single: seconds that all samples will take, in batches and one by one.
        limit: the most seconds that they can take one by one, if every open one meets its time limits.
        memory: peak MiB of a process.
    """

    samples: int
    probed: int
    open: float
    batched: float
    single: float
    limit: float
    memory: float

    def __str__(self) -> str:
        total = f"about {_duration(self.batched + self.single)}"
        most = f", at most {_duration(self.batched + self.limit)} if every open sample meets its time limits"
        return (f"estimate from {self.probed} of {self.samples} samples: {total}{most if self.open else ''}; "
                f"{100 * self.open:.0f} % are left to the methods that take samples one by one; "
                f"memory about {self.memory / 1024:.1f} GiB a process")


def estimate(cascade: Cascade, batch: int, timeout: float, workers: int = 1) -> Estimate:
    """Runs the cascade on a few samples, spread over the data set, and keeps nothing.

    Memory is taken to grow with the samples of a batch as it does within the probe.
    """
    count = len(cascade.x)
    problem = next(iter(cascade.problems.values()))
    cascade.first(_spread(count, PROBE[0]))
    before, start = peak_memory(problem), time.perf_counter()
    index = _spread(count, PROBE[1])
    found = cascade.first(index)
    seconds, after = time.perf_counter() - start, peak_memory(problem)
    samples: dict[int, list[Outcome]] = {}
    for outcome in found:
        if not outcome.is_final:
            samples.setdefault(outcome.index, []).append(outcome)
    start, tried = time.perf_counter(), list(samples.values())[:SINGLE]
    for outcomes in tried:
        cascade.last(outcomes)
    each = (time.perf_counter() - start) / max(len(tried), 1)
    share = len(samples) / len(index)
    slope = max(after - before, 0.0) / max(len(index) - PROBE[0], 1)
    batched, single = seconds * count / len(index) / workers, each * share * count / workers
    limit = share * count * timeout * len(cascade.problems) / workers
    memory = max(after + slope * (min(batch, count) - len(index)), peak_memory(problem))
    return Estimate(count, len(index), share, batched, single, max(limit, single), memory)


def _spread(count: int, size: int) -> Sequence[int]:
    """So many of the numbers below `count`, evenly."""
    size = min(size, count)
    return [k * count // size for k in range(size)]


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 1):.0f} s"
