"""The cascade: several radii against each radius alone, tampered outcomes, batches, and interrupted runs."""

from __future__ import annotations

import itertools
import pickle
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import verify
from tests.support.runs import EPS, METHODS, cascade, table_of
from verify.bracket import Bracket, Side, Verdict
from verify.errors import InputError, VerifyError
from verify.runs.certification.cascade import search_order
from verify.runs.certification.outcome import Outcome
from verify.runs.engine.drive import certify
from verify.runs.engine.executors import Lost, Serial, Task
from verify.runs.engine.store import Store

SIZE = 6


def kept(folder: Path, job: object, executor: object = None, size: int = SIZE) -> dict:
    """The table of a run that is brought to its end in this folder."""
    with Store.open(folder, {"methods": list(METHODS)}, {}) as store:
        certify(job, store, executor, size)  # type: ignore[arg-type]
        return table_of(store)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The table of a run that nothing interrupts."""
    return kept(tmp_path_factory.mktemp("whole"), cascade(EPS))


def test_several_radii_give_what_each_gives_alone(tmp_path: Path, whole: dict) -> None:
    for eps in EPS:
        alone = kept(tmp_path / eps.replace("/", "_"), cascade([eps]))
        assert {key: row[0] for key, row in alone.items()} == {k: r[0] for k, r in whole.items() if k in alone}
    verdicts = {key: row[0] for key, row in whole.items()}
    for i, (small, large) in itertools.product(range(len(cascade(EPS).x)), itertools.pairwise(EPS)):
        a, b = verdicts[f"sample/{i}/{small}"], verdicts[f"sample/{i}/{large}"]
        assert (a, b) not in {("falsified", "verified"), ("unknown", "verified"), ("falsified", "unknown")}


def test_witnesses_of_smaller_radii_stand_for_larger_ones(tmp_path: Path) -> None:
    job = cascade(EPS)
    with Store.open(tmp_path, {}, {}) as store:
        certify(job, store, size=SIZE)
        implied = [(key, p) for key, p in store.items() if p.get("implied") and p["verdict"] == "falsified"]
        assert implied
        for key, payload in implied:
            witness = store.array(key, "witness")
            assert witness is not None
            x = torch.from_numpy(witness.copy())[None]
            part = job.problems[payload["eps"]].select(torch.tensor([payload["index"]]))
            assert bool(part.inputs.contains(x))
            assert float(part.violation(x)) >= 0
            assert int(part.network(x).argmax()) == payload["attacked"]


@given(st.lists(st.integers(), unique=True, max_size=40))
def test_the_search_order_has_everything_once(items: list[int]) -> None:
    order = search_order(items)
    assert sorted(order) == sorted(items)
    assert not items or order[0] == items[len(items) // 2]


def outcome(eps: str, lower: float, upper: float, verdict: Verdict = Verdict.UNKNOWN) -> Outcome:
    sides = Side("below", verify.Rigour.FLOAT, "F"), Side("above", verify.Rigour.FLOAT)
    ends = torch.tensor([lower]), torch.tensor([upper])
    return Outcome(0, eps, 1, 1, Bracket(*ends, torch.zeros(1, 2), *sides), verdict, "pgd")


def test_radii_that_contradict_each_other_are_an_error() -> None:
    small, large = outcome("1/10", 0.5, 2.0, Verdict.FALSIFIED), outcome("1/5", -1.0, -0.5)
    told = replace(large, verdict=Verdict.UNKNOWN).informed_by([small])
    assert told.verdict is Verdict.ERROR
    assert told.is_final


def test_an_error_elsewhere_decides_nothing() -> None:
    broken = replace(outcome("1/10", 1.0, 2.0), verdict=Verdict.ERROR)
    assert outcome("1/5", -1.0, 1.0).informed_by([broken]).verdict is Verdict.UNKNOWN


@given(st.floats(-9, -1, width=32) | st.just(-torch.inf), st.floats(0, 9, width=32) | st.just(torch.inf))
def test_states_come_back(lower: float, upper: float) -> None:
    first = replace(outcome("3/10", lower, upper), reasons=("a: b",))
    state, point = first.state()
    again = Outcome.restored(state, point)
    assert again.state()[0] == state
    assert torch.equal(again.bracket.lower, first.bracket.lower)
    assert torch.equal(again.bracket.upper, first.bracket.upper)
    assert again.bracket.above == first.bracket.above
    assert again.reasons == first.reasons


class Interrupted(Serial):
    """Stops after some tasks."""

    def __init__(self, job: object, tasks: int):
        super().__init__(job)  # type: ignore[arg-type]
        self.left = tasks

    def take(self) -> object:  # type: ignore[override]
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().take()


@pytest.mark.parametrize("tasks", [0, 1, 2, 5])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path: Path, tasks: int, whole: dict) -> None:
    job = cascade(EPS)
    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path / "cut", job, Interrupted(job, tasks))
    with Store.read(tmp_path / "cut") as store:
        done = store.keys()
    assert kept(tmp_path / "cut", job) == whole
    with Store.read(tmp_path / "cut") as store:
        assert done <= store.keys()


class Mortal(Serial):
    """Loses every task of these samples."""

    def __init__(self, job: object, samples: set[int]):
        super().__init__(job)  # type: ignore[arg-type]
        self.samples, self.deaths = samples, 0

    def take(self) -> object:  # type: ignore[override]
        task, answer = super().take()
        if self.samples & set(task.samples) and (len(task.samples) == 1 or len(self.samples) > 1):
            self.deaths += 1
            return task, Lost("exit code -9")
        return task, answer


def test_a_sample_that_kills_workers_is_an_error(tmp_path: Path) -> None:
    job = cascade(EPS)
    open_ones = {o.index for o in job.first(range(len(job.x))) if not o.is_final}
    victim = min(open_ones)
    executor = Mortal(job, {victim})
    table = kept(tmp_path, job, executor)
    assert executor.deaths == 3
    rows = [row for key, row in table.items() if key.startswith(f"sample/{victim}/")]
    assert {row[0] for row in rows} >= {"error"}
    assert not {row[0] for key, row in table.items() if not key.startswith(f"sample/{victim}/")} & {"error"}


def test_a_batch_that_kills_workers_ends_the_run_with_a_remedy(tmp_path: Path) -> None:
    job = cascade(EPS)
    with pytest.raises(VerifyError, match=r"workers died over samples 0 to 5 .*--batch"):
        kept(tmp_path, job, Mortal(job, set(range(SIZE))))


def test_a_cascade_can_be_sent(tmp_path: Path) -> None:
    job = cascade(EPS)
    again = pickle.loads(pickle.dumps(job))
    one, other = (cast("list[Outcome]", Task(tuple(range(4))).done(j)) for j in (job, again))
    assert [(o.key, o.verdict, float(o.bracket.upper[0])) for o in one] == [
        (o.key, o.verdict, float(o.bracket.upper[0])) for o in other]


def test_a_radius_named_twice_is_refused() -> None:
    from verify.runs.options import radii_of

    assert radii_of("0.1, 1/20") == [Fraction(1, 20), Fraction(1, 10)]
    with pytest.raises(InputError, match="names a radius twice"):
        radii_of("0.1,1/10")
