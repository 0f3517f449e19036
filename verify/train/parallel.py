"""Several processes that train one network, one for each GPU, or on CPUs for tests: torch.distributed, plainly used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import ProcessRaisedException, spawn

from verify.errors import VerifyError


@dataclass(frozen=True)
class Team:
    """This process among those that train together."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replaces tensors by their means over all processes, in one message."""
        tensors = list(tensors)
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([t.detach().flatten() for t in tensors])
        dist.all_reduce(flat)
        flat /= self.world
        for t, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            t.copy_(part.view_as(t))

    def any(self, flag: bool, like: Tensor) -> bool:
        """Whether it holds in any of the processes; `like` is a tensor on the device of this one."""
        told = torch.full((1,), float(flag), device=like.device)
        self.average([told])
        return bool(told > 0)


def start(work: Callable[..., None], processes: int, meeting: Path, device: str, arguments: tuple[Any, ...]) -> None:
    """Runs work(team, device, *arguments) in each of `processes` processes, which meet through a file; if one fails,
    the others are stopped and its error is raised."""
    meeting.unlink(missing_ok=True)
    errors = get_context("spawn").SimpleQueue()
    try:
        spawn(_enter, (work, processes, meeting, device, arguments, errors), nprocs=processes)
    except ProcessRaisedException:
        if errors.empty():
            raise
        raise errors.get() from None
    finally:
        meeting.unlink(missing_ok=True)


def _enter(
    rank: int, work: Callable[..., None], processes: int, meeting: Path, device: str, arguments: tuple[Any, ...],
    errors: Any,
) -> None:
    own = f"cuda:{rank}" if device == "cuda" else device
    if device == "cuda":
        torch.cuda.set_device(rank)
    dist.init_process_group(
        "nccl" if device == "cuda" else "gloo", init_method=meeting.resolve().as_uri(), rank=rank, world_size=processes
    )
    try:
        work(Team(rank, processes), own, *arguments)
    except VerifyError as problem:
        errors.put(problem)
        raise
    finally:
        dist.destroy_process_group()
