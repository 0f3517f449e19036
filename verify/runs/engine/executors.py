"""Who does the tasks of a run: this process, processes of its own, or (see `verify.runs.engine.cluster`) a Ray cluster.

Workers hold the job and get tasks, which are plain values; what they answer is kept by the one process that writes to
the store. A worker that dies loses its task and nothing else: the task is given to another one.
"""

from __future__ import annotations

import logging
import multiprocessing as mp
import os
import pickle
import signal
import traceback
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from verify.errors import VerifyError
from verify.runs.engine.store import StoreEntry

logger = logging.getLogger(__name__)
TRIES = 3  # workers that may die over one task


class SampleResult(Protocol):
    """What is known of one sample at one radius: a frozen value that can be stored, final or still open."""

    @property
    def index(self) -> int: ...

    @property
    def key(self) -> str: ...

    @property
    def verdict(self) -> str: ...

    @property
    def is_final(self) -> bool: ...

    @property
    def files(self) -> dict[str, bytes]:
        """To be written beside the store, by name."""
        ...

    def failed(self, name: str, reason: str) -> Self:
        """The final result of a sample on which this method raised an error, with the reason."""
        ...

    def result(self, sample: np.ndarray) -> StoreEntry:
        """The entry of the store for a final result; sample (*shape) is its input."""
        ...

    def state(self) -> tuple[dict[str, Any], np.ndarray | None]:
        """What is known so far of a sample that is not final: its JSON state and its best point (*shape), if any."""
        ...


class Job(Protocol):
    """What workers can do for a data set: a value that can be sent to another process."""

    @property
    def x(self) -> Tensor:
        """(batch, *shape) the samples, on the CPU."""
        ...

    @property
    def device(self) -> torch.device: ...

    @property
    def folder(self) -> Path | None:
        """The folder in which files beside the store are written, or None."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """The same job on another device."""
        ...

    def first(self, index: Sequence[int]) -> Sequence[SampleResult]:
        """Begins these samples together as a batch; one result for each sample and radius."""
        ...

    def last(self, found: Sequence[Any]) -> Sequence[SampleResult]:
        """Finishes one sample, given its results of `first` that are not final yet; they become final here."""
        ...

    def restored(self, state: dict[str, Any], point: np.ndarray | None) -> SampleResult:
        """The result whose `state` this is, read from a run that was interrupted."""
        ...

    def kept(self, found: Any, folder: Path, asked: Mapping[str, Any]) -> SampleResult:
        """The final result as it is stored in the run folder. Where it is a contradiction, the files that reproduce it
        are written first, with the texts `asked` of the command that met it."""
        ...


class Task(NamedTuple):
    """Samples to begin with, or what is known of one sample that is still open."""

    samples: tuple[int, ...]
    begun: tuple[SampleResult, ...] = ()

    def done(self, job: Job) -> Sequence[SampleResult]:
        """Does the task: finishes what is begun, or begins the samples."""
        return job.last(self.begun) if self.begun else job.first(self.samples)


@dataclass(frozen=True)
class Lost:
    """The answer to a task whose worker died, and how."""

    reason: str


class Executor(Protocol):
    """Workers, `size` of them; a task is given while one is free."""

    @property
    def size(self) -> int: ...

    def give(self, task: Task) -> None:
        """Starts a task; there must be a free worker."""
        ...

    def take(self) -> tuple[Task, Sequence[SampleResult] | Lost]:
        """Waits until a task is done, or lost."""
        ...

    def close(self) -> None:
        """Ends all workers."""
        ...


def work(tasks: deque[Task], executor: Executor) -> Iterator[tuple[Task, Sequence[SampleResult]]]:
    """The tasks with their answers, in the order in which they are done; tasks may be added meanwhile.

    Samples over which `TRIES` workers have died are errors; so many lost batches end the run with a VerifyError.
    """
    running, deaths = 0, Counter[tuple[int, ...]]()
    while tasks or running:
        while tasks and running < executor.size:
            executor.give(tasks.popleft())
            running += 1
        task, answer = executor.take()
        running -= 1
        if not isinstance(answer, Lost):
            yield task, answer
            continue
        deaths[task.samples] += 1
        logger.warning("a worker died (%s) over samples %s; its task goes to another", answer.reason, task.samples)
        if deaths[task.samples] < TRIES:
            tasks.appendleft(task)
        elif task.begun:
            yield task, [o.failed("worker", f"{TRIES} workers died over it; {answer.reason}") for o in task.begun]
        else:
            raise VerifyError(f"{TRIES} workers died over samples {task.samples[0]} to {task.samples[-1]} "
                              f"({answer.reason}); take fewer at once with --batch, or fewer workers")


class Serial:
    """The tasks are done one after the other in this process."""

    size = 1

    def __init__(self, job: Job):
        self._job = job
        self._tasks: deque[Task] = deque()

    def give(self, task: Task) -> None:
        self._tasks.append(task)

    def take(self) -> tuple[Task, Sequence[SampleResult] | Lost]:
        task = self._tasks.popleft()
        return task, task.done(self._job)

    def close(self) -> None:
        pass


class Processes:
    """Processes on this machine, each with its own solvers and its share of the threads, on GPUs one each."""

    def __init__(self, job: Job, size: int):
        self.size = size
        self._content = pickle.dumps(job.to("cpu"))  # a tensor of a GPU would be shared, not copied
        kind = job.device.type
        self._places = [kind if kind == "cpu" else f"{kind}:{k}" for k in range(size)]
        self._context = mp.get_context("spawn")  # a fork would copy the threads' locks
        self._threads = max(1, torch.get_num_threads() // size)
        self._free = deque(range(size))
        self._workers: dict[int, tuple[BaseProcess, Connection]] = {}
        self._tasks: dict[int, Task] = {}

    def give(self, task: Task) -> None:
        place = self._free.popleft()
        if place not in self._workers:
            self._workers[place] = self._started(place)
        self._tasks[place] = task
        with suppress(OSError):  # a worker that died meanwhile is found by `take`
            self._workers[place][1].send_bytes(pickle.dumps(task))

    def take(self) -> tuple[Task, Sequence[SampleResult] | Lost]:
        ready = wait([self._workers[place][1] for place in self._tasks])
        place = next(p for p in self._tasks if self._workers[p][1] in ready)
        process, connection = self._workers[place]
        task = self._tasks.pop(place)
        self._free.append(place)
        try:
            answer = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            process.join()
            del self._workers[place]
            return task, Lost(f"exit code {process.exitcode}")
        if isinstance(answer, BaseException):
            raise answer
        return task, answer

    def close(self) -> None:
        for process, connection in self._workers.values():
            process.kill()
            process.join()
            connection.close()

    def _started(self, place: int) -> tuple[BaseProcess, Connection]:
        mine, theirs = self._context.Pipe()
        arguments = theirs, self._content, self._places[place], self._threads
        process = self._context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        theirs.close()  # so that the death of the worker closes the pipe
        return process, mine


def _serve(connection: Connection, content: bytes, place: str, threads: int) -> None:
    """A worker: does tasks until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the business of the process that waits
    torch.set_num_threads(threads)
    job = pickle.loads(content).to(place)
    with suppress(EOFError):
        while True:
            task = pickle.loads(connection.recv_bytes())
            connection.send_bytes(pickle.dumps(answered(job, task)))
    os._exit(0)


def answered(job: Job, task: Task) -> Sequence[SampleResult] | Exception:
    """The answer to a task, or what it raised, as a value that can be sent."""
    try:
        return task.done(job)
    except VerifyError as problem:
        return type(problem)(str(problem))
    except Exception as problem:
        return RuntimeError(f"{type(problem).__name__}: {problem}\n{traceback.format_exc()}")


def batches(count: int, size: int) -> Iterable[tuple[int, ...]]:
    """The numbers below `count` in batches."""
    return (tuple(range(start, min(start + size, count))) for start in range(0, count, size))
