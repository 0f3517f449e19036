"""A search spread over processes: the answers of the search in one, whatever becomes of the processes."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from math import inf

import pytest
import torch
from verify.models import digits

import verify
from tests.support.helpers import later
from tests.support.small_nets import dense, problem
from verify.errors import InputError
from verify.exact.branch_and_bound import BranchAndBound, Search
from verify.exact.search import spread
from verify.exact.search.frontier import Frontier
from verify.exact.search.input_split import InputSplit
from verify.exact.search.limits import Limits
from verify.exact.search.neuron_split import NeuronSplit
from verify.exact.search.spread import Spread, WorkerPool, WorkerResult
from verify.ir.rewrite import simplify
from verify.ops import ReLU
from verify.problem import Problem
from verify.runs.options import entries_of, shared
from verify.upper.duals.proof_log import ProofLog


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Few domains are dealt out, for short rounds, as soon as the workers are there; none of them stays behind."""
    monkeypatch.setattr(spread, "DOMAINS", 2)
    monkeypatch.setattr(spread, "HEAD_START", 0.0)
    monkeypatch.setattr(spread, "FIRST_ROUND", 0.2)
    monkeypatch.setattr(spread, "LONGEST_ROUND", 0.4)
    yield
    assert not mp.active_children()


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[WorkerPool]:
    """A list that grows with every answer of a worker; the search here waits until the workers are there."""
    seen: list[WorkerPool] = []
    absorb, is_ready = WorkerPool._absorb, WorkerPool._is_ready

    def noted(
        processes: WorkerPool, search: Search, frontier: Frontier, cases: torch.Tensor, at: torch.Tensor,
        answer: WorkerResult,
    ):
        seen.append(processes)
        absorb(processes, search, frontier, cases, at, answer)

    def patient(processes: WorkerPool) -> bool:
        while not is_ready(processes) and processes.workers:
            time.sleep(0.01)
        return is_ready(processes)

    monkeypatch.setattr(WorkerPool, "_absorb", noted)
    monkeypatch.setattr(WorkerPool, "_is_ready", patient)
    return seen


def sample(index: int, eps: str) -> Problem:
    """A digit on a network whose search has thousands of domains."""
    network, (x, y) = simplify(verify.load("digits-conv-adversarial")), digits()
    return verify.robustness(network, x[index : index + 1], y[index : index + 1], eps)


def small(seed: int) -> Problem:
    return problem(dense(ReLU(), (20, 14, 14, 3), seed), "untargeted", seed)


@pytest.mark.conformance
def test_a_long_search_is_decided_as_in_one_process(rounds: list[WorkerPool]) -> None:
    found = verify.solve(sample(52, "1/10"), Spread(2, BranchAndBound(time_limit=60)))
    assert found.verdicts == [verify.Verdict.VERIFIED]
    assert "stopped" not in found.notes
    assert rounds


@pytest.mark.parametrize("kind", later([NeuronSplit, InputSplit], [InputSplit]))
def test_the_optimum_is_the_one_of_milp(
    kind: type[Frontier], rounds: list[WorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Callable[..., Frontier] = NeuronSplit
    p = small(2)
    if kind is InputSplit:
        p, made = problem(dense(ReLU(), (4, 16, 16, 3), 5), "untargeted", 1), lambda p, c, _, record: InputSplit(p, c)
    monkeypatch.setattr("verify.exact.branch_and_bound.frontier_of", made)
    found, exact = verify.solve(p, Spread(2, BranchAndBound("optimum", 1e-4))), verify.solve(p, verify.MILP())
    assert "stopped" not in found.notes
    assert rounds
    assert found.lower.item() == pytest.approx(exact.upper.item(), abs=2e-4)
    assert found.upper.item() == pytest.approx(exact.upper.item(), abs=2e-4)
    assert found.upper.item() >= exact.lower.item() - 1e-5


@pytest.mark.parametrize("deaths", later([1, 2], [1]))
def test_a_killed_worker_changes_nothing(
    deaths: int, rounds: list[WorkerPool], monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the second death the search goes on in one process."""
    monkeypatch.setattr(spread, "DEATHS", 2)
    give, killed = WorkerPool._give, 0

    def lethal(processes: WorkerPool, worker: spread.Worker, *rest: object) -> None:
        nonlocal killed
        give(processes, worker, *rest)  # type: ignore[arg-type]
        if killed < deaths:
            killed += 1
            os.kill(worker.process.pid or 0, signal.SIGKILL)

    monkeypatch.setattr(WorkerPool, "_give", lethal)
    found = verify.solve(sample(34, "1/10"), Spread(2, BranchAndBound(time_limit=60)))
    assert found.notes["deaths"] == deaths
    assert found.verdicts == [verify.Verdict.VERIFIED]


def test_an_interruption_ends_with_what_is_known(rounds: list[WorkerPool]) -> None:
    p, pids = sample(52, "0.11"), []

    def interrupt() -> None:
        while len(rounds) < 4:
            time.sleep(0.05)
        pids.extend(worker.process.pid for worker in rounds[0].workers)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        thread = threading.Thread(target=interrupt, daemon=True)
        thread.start()
        found = verify.solve(p, Spread(2, BranchAndBound("optimum", 1e-6, time_limit=60)))
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert found.notes["stopped"] == "interrupted"
    assert 0.09 < found.lower.item() <= 0.1063 < found.upper.item() < 2
    assert pids
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_the_time_limit_is_kept() -> None:
    found = verify.solve(sample(52, "0.11"), Spread(2, BranchAndBound("optimum", 1e-6, time_limit=6)))
    assert float(str(found.notes["seconds"])) < 9
    assert "time limit" in str(found.notes["stopped"])
    assert 0.1 < found.lower.item() < found.upper.item() < 2


def test_a_share_that_is_lost_counts_as_open() -> None:
    p = small(2)
    frontier = NeuronSplit(p.merged, torch.full((1,), -1e9, dtype=torch.float64), Limits())
    apart, places = frontier.apart(), frontier.pool.filled()
    before = frontier.certified(inf)
    apart.load(frontier.pool.bounds[places], [part[places] for part in frontier.pool.parts])
    for _ in range(3):
        apart.step(torch.full((1,), -1e9, dtype=torch.float64), Limits())
    assert torch.equal(frontier.certified(inf), before)
    frontier.absorb(places, apart.found())
    assert torch.equal(frontier.certified(inf), apart.certified(inf))
    assert frontier.certified(inf) <= before


def test_settings_out_of_range_are_refused() -> None:
    for workers in (0, 1.5, True):
        with pytest.raises(InputError, match="workers"):
            Spread(workers)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="proof log"):
        verify.solve(small(2), Spread(2), proof_log=ProofLog())
    for entries, workers, level, words in (
        ("bab", 0, None, "workers"), ("milp", 2, None, "bab"), ("bab", 2, "R", "proof"), ("bab", 2, "F", "proof"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            shared(entries_of(entries), workers, level)
    made = shared(entries_of("milp,bab"), 2, None)["bab"].make(7)
    assert made == Spread(2, BranchAndBound(time_limit=7))
    assert made.name == "BaB x2"
