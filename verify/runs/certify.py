"""Certifies a data set: the cascade's outcomes go to the store as they come.

A batch is kept in one transaction: its final outcomes, and under "batch/<number>" what is known of those that are
still open. An interrupted run loses the tasks that were in flight, and no more; as batches are the same again, so are
the results. Tables are made from the store alone.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from pathlib import Path

from verify.runs.cascade import Cascade
from verify.runs.crew import Crew, Here, Task, batches, work
from verify.runs.files import write_whole
from verify.runs.outcome import Outcome
from verify.runs.store import Result, Store

BATCH = 128  # samples of a batch
Tell = Callable[[Sequence[str]], None]


def certify(
    cascade: Cascade, store: Store, crew: Crew | None = None, size: int = BATCH, tell: Tell = lambda verdicts: None
) -> None:
    """Brings every sample to an outcome at every radius, under the key "sample/<index>/<eps>".

    Args:
        cascade: what decides.
        store: of this run; what it has is not done again.
        crew: who does the tasks, by default this process.
        size: of a batch; the same in every session of a run.
        tell: is told the verdicts that have become final, those in the store first.
    """
    tasks = _pending(cascade, store, size, tell)
    for task, outcomes in work(tasks, crew or Here(cascade)):
        final, rest = [o for o in outcomes if o.is_final or o.decided], [o for o in outcomes if not o.is_final]
        _keep(cascade, store, final, [] if task.outcomes else [_record(task, size, rest)])
        if not task.outcomes:
            tasks.extend(_by_sample(rest))
        tell([str(o.verdict) for o in final])


def _pending(cascade: Cascade, store: Store, size: int, tell: Tell) -> deque[Task]:
    """What the store lacks, in the order of the samples."""
    keys = store.keys()
    tell([str(payload["verdict"]) for key, payload in store.items() if key.startswith("sample/")])
    fresh, begun = [], []
    for index in batches(len(cascade.x), size):
        key = _number(index, size)
        if key in keys:
            begun += _by_sample([o for o in _restored(store, key) if o.key not in keys])
        else:
            fresh.append(Task(index))
    return deque(fresh + begun)


def _keep(cascade: Cascade, store: Store, outcomes: Sequence[Outcome], more: list[Result]) -> None:
    """Certificates first: what the store names is there."""
    folder = cascade.proving.folder if cascade.proving is not None else None
    for outcome in outcomes:
        for name, content in outcome.files.items():
            write_whole((folder or Path()) / name, content)
    store.put_all([*(o.result(cascade.x[o.index].numpy()) for o in outcomes), *more])


def _record(task: Task, size: int, rest: list[Outcome]) -> Result:
    """What is known of the open outcomes of a batch."""
    states = {o.key: o.state() for o in rest}
    points = {key: point for key, (_, point) in states.items() if point is not None}
    return Result(_number(task.samples, size), {"open": [state for state, _ in states.values()]}, points)


def _restored(store: Store, key: str) -> list[Outcome]:
    """The open outcomes of such a record."""
    states = (store.get(key) or {})["open"]
    return [Outcome.restored(s, store.array(key, f"sample/{s['index']}/{s['eps']}")) for s in states]


def _by_sample(outcomes: Sequence[Outcome]) -> list[Task]:
    samples: dict[int, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        samples[outcome.index].append(outcome)
    return [Task((index,), tuple(many)) for index, many in samples.items()]


def _number(index: Sequence[int], size: int) -> str:
    return f"batch/{index[0] // size}"
