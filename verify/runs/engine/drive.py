"""Brings a data set to its end: what workers find goes to the store as it comes.

A batch is kept in one transaction: what is final, and under "batch/<number>" what is known of the samples that are
still open. An interrupted run loses the tasks that were in flight, and no more; as batches are the same again, so are
the results. Tables are made from the store alone.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from pathlib import Path

from verify.runs.engine.executors import Executor, Job, SampleResult, Serial, Task, batches, work
from verify.runs.engine.files import write_whole
from verify.runs.engine.store import Store, StoreEntry
from verify.runs.options import BATCH

OnProgress = Callable[[Sequence[str]], None]


def certify(
    job: Job, store: Store, executor: Executor | None = None, size: int = BATCH,
    on_progress: OnProgress = lambda verdicts: None,
) -> None:
    """Brings every sample to an end, under keys "sample/...".

    Args:
        job: what is to be done, such as a `Cascade`.
        store: of this run; what it has is not done again.
        executor: who does the tasks, by default this process.
        size: of a batch; the same in every session of a run.
        on_progress: is called with the verdicts that have become final, those in the store first.
    """
    tasks = _pending(job, store, size, on_progress)
    for task, found in work(tasks, executor or Serial(job)):
        final, rest = [f for f in found if f.is_final], [f for f in found if not f.is_final]
        _keep(job, store, final, [] if task.begun else [_record(task, size, rest)])
        tasks.extend(_by_sample(rest))
        on_progress([str(f.verdict) for f in final])


def _pending(job: Job, store: Store, size: int, on_progress: OnProgress) -> deque[Task]:
    """What the store lacks, in the order of the samples, batches first."""
    keys = store.keys()
    on_progress([str(payload["verdict"]) for key, payload in store.items() if key.startswith("sample/")])
    fresh, begun = [], []
    for index in batches(len(job.x), size):
        key = _number(index, size)
        if key in keys:
            begun += _by_sample([f for f in _restored(job, store, key) if f.key not in keys])
        else:
            fresh.append(Task(index))
    return deque(fresh + begun)


def _keep(job: Job, store: Store, final: Sequence[SampleResult], more: list[StoreEntry]) -> None:
    """Files first: what the store names is there."""
    asked = store.sessions[-1]["request"] if final else {}
    final = [job.kept(found, store.folder, asked) for found in final]
    for found in final:
        for name, content in found.files.items():
            write_whole((job.folder or Path()) / name, content)
    store.put_all([*(found.result(job.x[found.index].numpy()) for found in final), *more])


def _record(task: Task, size: int, rest: Sequence[SampleResult]) -> StoreEntry:
    """What is known of the open samples of a batch."""
    states = {found.key: found.state() for found in rest}
    points = {key: point for key, (_, point) in states.items() if point is not None}
    return StoreEntry(_number(task.samples, size), {"open": {key: state for key, (state, _) in states.items()}}, points)


def _restored(job: Job, store: Store, key: str) -> list[SampleResult]:
    """The open samples of such a record."""
    states = (store.get(key) or {})["open"]
    return [job.restored(state, store.array(key, name)) for name, state in states.items()]


def _by_sample(found: Sequence[SampleResult]) -> list[Task]:
    samples: dict[int, list[SampleResult]] = defaultdict(list)
    for one in found:
        samples[one.index].append(one)
    return [Task((index,), tuple(many)) for index, many in samples.items()]


def _number(index: Sequence[int], size: int) -> str:
    return f"batch/{index[0] // size}"
