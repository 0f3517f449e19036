"""Workers: processes and a Ray cluster do what this process does, also where some of them are killed."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.runs import METHODS, cascade, table_of
from verify.errors import InputError
from verify.runs.engine.drive import certify
from verify.runs.engine.executors import Executor, Processes, Serial, Task
from verify.runs.engine.run_folder import Parallelism
from verify.runs.engine.store import Store

SAMPLES, SIZE = 15, 4
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The table that this process makes."""
    job = cascade(samples=SAMPLES)
    return run(tmp_path_factory.mktemp("alone"), Serial(job))


def run(folder: Path, executor: Executor, on_progress: Callable = lambda verdicts: None) -> dict:
    """The table of a run by this executor; every key once."""
    with Store.open(folder, {"methods": list(METHODS)}, {}) as store:
        try:
            certify(cascade(samples=SAMPLES), store, executor, SIZE, on_progress)
        finally:
            executor.close()
        keys = [key for key, _ in store.items()]
        assert len(keys) == len(set(keys))
        return table_of(store)


def killer(pid: Callable[[], int | None]) -> tuple[Callable[[Sequence[str]], None], list[int]]:
    """Kills a process the first time that something has become final after it is known; the list of those killed."""
    killed: list[int] = []

    def on_progress(verdicts: Sequence[str]) -> None:
        victim = pid()
        if verdicts and not killed and victim is not None:
            killed.append(victim)
            os.kill(victim, signal.SIGKILL)

    return on_progress, killed


@pytest.mark.conformance
def test_processes_make_the_same_table(tmp_path: Path, alone: dict) -> None:
    assert run(tmp_path, Processes(cascade(samples=SAMPLES), 2)) == alone


def test_a_killed_process_loses_nothing_and_repeats_nothing(tmp_path: Path, alone: dict) -> None:
    executor = Processes(cascade(samples=SAMPLES), 2)
    busy = lambda: next((executor._workers[p][0].pid for p in executor._tasks if p in executor._workers), None)  # noqa: E731
    on_progress, killed = killer(busy)
    assert run(tmp_path, executor, on_progress) == alone
    assert killed


def test_an_error_in_a_worker_is_raised_here(tmp_path: Path) -> None:
    broken = replace(cascade(samples=SAMPLES), methods={"crown": Broken()})
    with pytest.raises(RuntimeError, match="ZeroDivisionError: on purpose"):
        run(tmp_path, Processes(broken, 1))


class Broken:
    """A method that fails."""

    name = "broken"

    def answer(self, problem: object) -> object:
        raise ZeroDivisionError("on purpose")


def at_work() -> int | None:
    """A Ray worker in the middle of a task, which its title tells."""
    found = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return next((int(line.split()[0]) for line in found.splitlines() if "ray::Actor.done" in line), None)


@pytest.fixture
def cluster() -> object:
    ray = pytest.importorskip("ray")
    yield ray
    ray.shutdown()


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_ray_cluster_makes_the_same_table_and_survives_a_killed_worker(
    tmp_path: Path, alone: dict, cluster: object
) -> None:
    from verify.runs.engine.cluster import Cluster

    executor = Cluster(cascade(samples=SAMPLES), "local", 2)
    on_progress, killed = killer(at_work)
    assert run(tmp_path, executor, on_progress) == alone
    assert killed


def test_a_driver_that_is_killed_is_continued_by_another_crew(tmp_path: Path, alone: dict) -> None:
    seen: list[str] = []

    def stop(verdicts: Sequence[str]) -> None:
        seen.extend(verdicts)
        if len(seen) > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Processes(cascade(samples=SAMPLES), 1), stop)
    assert run(tmp_path, Serial(cascade(samples=SAMPLES))) == alone


@needs_ray
@pytest.mark.filterwarnings("ignore")
def test_no_cluster_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"cannot join a Ray cluster at '127\.0\.0\.1:1'"):
        Parallelism(None, "127.0.0.1:1").executor(cascade(samples=1))


def test_so_many_workers_as_were_asked_for() -> None:
    job = cascade(samples=1)
    assert isinstance(Parallelism(1).executor(job), Serial)
    assert Parallelism(3).executor(job).size == 3
    with pytest.raises(InputError, match="give 1 or more"):
        Parallelism(0).executor(job)


def test_closing_ends_the_workers() -> None:
    executor = Processes(cascade(samples=4), 1)
    executor.give(Task((0, 1)))
    executor.take()
    (process, _), = executor._workers.values()
    executor.close()
    assert not process.is_alive()
