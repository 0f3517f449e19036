"""Branch and bound whose open domains are spread over processes, for one instance that is hard.

The search begins here. Once there are enough open domains they are dealt out, the worst first, in turns; every worker
goes on with its share for a while and sends back what became of it; here that takes the place of the share, and the
domains are dealt out again. A share stays in the pool until its answer has come: a worker that dies loses time only.
Ranges are narrowed here alone, so that all shares rest on the same ones.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import pickle
import signal
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor

from verify.deadline import Deadline
from verify.errors import InputError
from verify.exact.branch_and_bound import BranchAndBound, Search
from verify.exact.search.frontier import Explored, Frontier, Proposals
from verify.exact.search.limits import Limits
from verify.method import Answer, full_float32
from verify.problem import Problem

DOMAINS = 8  # open ones for each worker before they are dealt out
HEAD_START = 2.0  # seconds of search here before workers are started, which takes them as long
FIRST_ROUND, LONGEST_ROUND = 1.0, 16.0  # seconds; each round is twice as long as the one before
SHARE = 1 << 26  # bytes of domains in a share
GRACE = 1.5  # seconds after the deadline for workers that are in the middle of a step
DEATHS = 3  # of workers, after which the search goes on without them
SEEDS = 1_000_003  # between the seeds of two workers
STOP = b""  # the message that ends a round; the first one of a worker says that it is there


@dataclass(frozen=True)
class Spread:
    """Branch and bound in several processes, which answers as `search` would, sooner.

    Args:
        workers: processes, each with its share of the threads; with 1, and on a GPU, this one searches alone.
        search: goal and limits of the whole; "domains" and "memory" may be exceeded by one round.

    Processes are spawned: a script needs `if __name__ == "__main__":` around what it runs. Raises InputError for
    settings out of range. It takes no proof log: only one process can keep one.
    """

    workers: int = 2
    search: BranchAndBound = field(default_factory=BranchAndBound)

    def __post_init__(self) -> None:
        if isinstance(self.workers, bool) or not isinstance(self.workers, Integral) or self.workers < 1:
            raise InputError(f"Spread has workers={self.workers!r}; it must be an integer of at least 1")

    @property
    def name(self) -> str:
        return f"{self.search.name} x{self.workers}"

    def answer(self, problem: Problem) -> Answer:
        """Upper bounds and the best point of every case, as of `BranchAndBound`; `notes["deaths"]` of workers, if any.

        Sound because the shares of a frontier's domains and what is not dealt out cover what the frontier covers, and
        a share counts as open until bounds of a cover of it are here; trusts float64 rounding where it verifies.
        """
        on_cpu = problem.owner.device.type == "cpu"
        processes = WorkerPool(self.workers if on_cpu else 1)
        try:
            answer = Search(problem, self.search, self.search.limits(problem), processes.explore).answer()
        finally:
            processes.close()
        return replace(answer, notes={**answer.notes, "deaths": processes.deaths}) if processes.deaths else answer


class Share(NamedTuple):
    """What a worker goes on with: the problem, settings and frontier without domains as bytes, or None for those it
    has; best points (cases, *shape); open domains; seconds to spend, domains to bound and memory in bytes."""

    content: bytes | None
    points: Tensor
    bounds: Tensor
    parts: list[Tensor]
    seconds: float
    domains: int | None
    memory: float | None


class WorkerResult(NamedTuple):
    """A worker's answer: what became of its share, and its best points (cases, *shape)."""

    found: Explored
    points: Tensor


class Worker:
    """A process and the pipe to it."""

    def __init__(self, seed: int, threads: int):
        self.connection, theirs = mp.get_context("spawn").Pipe()  # a fork would copy the threads' locks
        self.process = mp.get_context("spawn").Process(target=_serve, args=(theirs, seed, threads), daemon=True)
        self.process.start()
        theirs.close()  # so that the death of the worker closes the pipe
        self.is_there = False
        self.has: tuple[Frontier, int] | None = None  # the frontier and its edition that were sent

    def is_ready(self) -> bool:
        """Whether it takes shares, or has died."""
        if not self.is_there and self.connection.poll():
            with suppress(EOFError, OSError):
                self.connection.recv_bytes()
            self.is_there = True
        return self.is_there

    def send(self, message: bytes) -> None:
        """Sends; that it died meanwhile is found by `take`."""
        with suppress(OSError):
            self.connection.send_bytes(message)

    def take(self) -> WorkerResult | None:
        """The answer that has come; None if it died. Raises what the worker met."""
        try:
            answer = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            return None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class WorkerPool:
    """Workers for the frontiers of a search, started when there is something for them to do."""

    def __init__(self, size: int):
        self.size = size
        self.threads = max(1, torch.get_num_threads() // size)
        self.workers: list[Worker] = []
        self.started, self.deaths = 0, 0
        self.round = FIRST_ROUND
        self.content, self.of = b"", None  # what was pickled last, and of which frontier and edition

    def explore(self, search: Search, frontier: Frontier, cases: Tensor) -> None:
        """Splits the domains of these cases until they are closed or a limit is reached."""

        def is_called_for() -> bool:
            is_long = time.perf_counter() > search.start + HEAD_START
            return is_long and len(frontier.pool) >= DOMAINS * self.size and self._is_ready()

        while bool(frontier.is_open().any()) and not search.is_over(frontier):
            if is_called_for():
                frontier.prepare(search.cutoff(cases), search.limits)
                search.sink(frontier, cases)
            if is_called_for():
                self._deal(search, frontier, cases)
            else:
                search.advance(frontier, cases, is_called_for)

    def close(self) -> None:
        """Ends all workers."""
        for worker in self.workers:
            worker.close()
        self.workers.clear()

    def _is_ready(self) -> bool:
        """Whether all workers take shares; starts those that are missing, unless too many have died."""
        if self.size < 2 or self.deaths >= DEATHS:
            self.close()
            return False
        while len(self.workers) < self.size:
            self.started += 1
            self.workers.append(Worker(SEEDS * self.started, self.threads))
        return all([worker.is_ready() for worker in self.workers])

    def _deal(self, search: Search, frontier: Frontier, cases: Tensor) -> None:
        """One round: deals out domains and takes what comes back; the first answer ends the round for all."""
        one = max(1, frontier.pool.bytes // max(1, len(frontier.pool)))
        places = frontier.next_places(self.size * max(1, SHARE // one), search.limits)
        running: dict[Connection, tuple[Worker, Tensor]] = {}
        for k, worker in enumerate(self.workers):
            mine = places[k :: self.size]
            if len(mine):
                self._give(worker, search, frontier, cases, mine)
                running[worker.connection] = worker, mine
        self.round = min(2 * self.round, LONGEST_ROUND)
        while running:
            left = search.limits.left
            ready = wait(list(running), None if left == torch.inf else max(0.0, left) + GRACE)
            if not ready:  # too late for them
                break
            for connection in ready:
                worker, mine = running.pop(connection)  # type: ignore[index]
                answer = worker.take()
                if answer is not None:
                    self._absorb(search, frontier, cases, mine, answer)
                else:
                    self._bury(worker)
            for worker, _ in running.values():
                worker.send(STOP)
        for worker, _ in running.values():
            worker.close()
            self.workers.remove(worker)

    def _give(self, worker: Worker, search: Search, frontier: Frontier, cases: Tensor, places: Tensor) -> None:
        """Sends the domains at these places of the pool, and what they rest on if that is new to the worker."""
        now = frontier, frontier.edition
        if self.of != now:
            self.content = pickle.dumps((search.problem.select(cases), search.settings, frontier.apart()))
            self.of = now
        limits, content = search.limits, None if worker.has == now else self.content
        domains = None if limits.domains is None else max(1, (limits.domains - search.domains) // self.size)
        memory = None if limits.memory is None else limits.memory / self.size
        points, parts = search.incumbent.points[cases], [part[places] for part in frontier.pool.parts]
        seconds = min(self.round, limits.left)
        share = Share(content, points, frontier.pool.bounds[places], parts, seconds, domains, memory)
        worker.send(pickle.dumps(share))
        worker.has = now

    def _absorb(self, search: Search, frontier: Frontier, cases: Tensor, places: Tensor, answer: WorkerResult) -> None:
        # narrowing is judged by time, of which the workers' work takes a part
        frontier.absorb(places, answer.found._replace(work=answer.found.work / self.size))
        search.sink(frontier, cases)
        search.domains = search.domains_before + frontier.domains
        search.incumbent.consider(Proposals(cases, answer.points))

    def _bury(self, worker: Worker) -> None:
        worker.close()
        self.workers.remove(worker)
        self.deaths += 1


def _serve(connection: Connection, seed: int, threads: int) -> None:
    """A worker: goes on with shares until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the business of the process that waits
    torch.set_num_threads(threads)
    with suppress(EOFError, OSError), torch.no_grad(), full_float32():
        connection.send_bytes(STOP)
        kept: tuple[Search, Frontier] | None = None
        while True:
            message = connection.recv_bytes()
            if message == STOP:  # for a round that was over
                continue
            try:
                share: Share = pickle.loads(message)
                kept = kept if share.content is None else _unpacked(share.content, seed)
                assert kept is not None
                answer = _gone_on(*kept, share, connection)
            except Exception as problem:
                answer = RuntimeError(f"{type(problem).__name__}: {problem}\n{traceback.format_exc()}")
            connection.send_bytes(pickle.dumps(answer))
    os._exit(0)


def _unpacked(content: bytes, seed: int) -> tuple[Search, Frontier]:
    problem, settings, frontier = pickle.loads(content)
    return Search(problem, replace(settings, seed=settings.seed + seed), Limits()), frontier


def _gone_on(search: Search, frontier: Frontier, share: Share, connection: Connection) -> WorkerResult:
    """What becomes of a share until it is closed, its time is over, a case is decided or a message comes."""
    cases = torch.arange(search.problem.cases)
    search.incumbent.consider(Proposals(cases, share.points))
    search.limits = Limits(Deadline.after(share.seconds), share.domains, share.memory)
    search.domains = search.domains_before = 0
    frontier.load(share.bounds, share.parts)
    settled = int(search.cutoff(cases).isinf().sum())
    search.advance(
        frontier, cases, lambda: connection.poll() or int(search.cutoff(cases).isinf().sum()) > settled
    )
    return WorkerResult(frontier.found(), search.incumbent.points)
