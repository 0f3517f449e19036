"""The run store: whole results, resumption, refusals, and its speed."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.errors import InputError
from verify.runs.engine.store import FILE, Store

CONFIG = {"model": "a" * 64, "eps": "8/255", "methods": ["pgd", "crown"], "clip": None}
VERSIONS = {"verify": "0.1.0"}


def test_results_come_back_as_written(tmp_path: Path) -> None:
    witness = np.array([[0.1, -2.5], [3e38, 1e-45]], dtype=np.float32)
    with Store.open(tmp_path, CONFIG, VERSIONS) as store:
        store.put("sample/1", {"verdict": "falsified", "upper": None, "why": "5 > 3 é"}, {"witness": witness})
        store.put("sample/0", {"verdict": "verified"})
    with Store.open(tmp_path, CONFIG, VERSIONS) as store:
        first = {"verdict": "falsified", "upper": None, "why": "5 > 3 é"}
        assert list(store.items()) == [("sample/1", first), ("sample/0", {"verdict": "verified"})]
        assert store.keys() == {"sample/0", "sample/1"}
        found = store.array("sample/1", "witness")
        assert found is not None
        assert found.dtype == np.float32
        assert found.tobytes() == witness.tobytes()
        assert store.array("sample/0", "witness") is None
        assert store.config == CONFIG


@settings(deadline=None, max_examples=20)
@given(shape=st.lists(st.integers(0, 4), max_size=3), kind=st.sampled_from(["<f4", ">f4", "<f8", "<i8", "|u1"]))
def test_arrays_keep_values_and_shape(tmp_path_factory: pytest.TempPathFactory, shape: list[int], kind: str) -> None:
    values = np.asarray(np.arange(int(np.prod(shape))).reshape(shape), dtype=kind)
    with Store.open(tmp_path_factory.mktemp("run"), CONFIG, VERSIONS) as store:
        store.put("k", {}, {"transposed": values.T})
        found = store.array("k", "transposed")
    assert found is not None
    np.testing.assert_array_equal(found, values.T)
    assert found.shape == values.T.shape


def test_a_changed_configuration_is_refused_with_the_difference(tmp_path: Path) -> None:
    Store.open(tmp_path, CONFIG, VERSIONS).close()
    with pytest.raises(InputError, match=r'clip was null, now \["0", "1"\]; eps was 8/255, now 1/10; name another'):
        Store.open(tmp_path, {**CONFIG, "eps": str(Fraction("0.1")), "clip": ["0", "1"]}, VERSIONS)
    with pytest.raises(InputError, match=r"model was aaaaaaaaaaaa\.\.\., now bbbbbbbbbbbb\.\.\.;"):
        Store.open(tmp_path, {**CONFIG, "model": "b" * 64}, VERSIONS)
    with pytest.raises(InputError, match=r"model was \.\.\.a{16}a{12}\.\.\., now \.\.\.a{16}b{12}\.\.\.;"):
        Store.open(tmp_path, {**CONFIG, "model": "a" * 30 + "b" * 34}, VERSIONS)
    with pytest.raises(InputError, match=r"model was \.\.\.a{16}, now \.\.\.a{16}bb;"):
        Store.open(tmp_path, {**CONFIG, "model": "a" * 64 + "bb"}, VERSIONS)
    Store.open(tmp_path, CONFIG, {"verify": "9"}).close()  # versions are recorded, not compared


def test_every_session_records_its_versions(tmp_path: Path) -> None:
    for version in ("1", "2"):
        Store.open(tmp_path, CONFIG, {"verify": version}).close()
    with sqlite3.connect(tmp_path / FILE) as direct:
        rows = [json.loads(row[0]) for row in direct.execute("SELECT versions FROM sessions ORDER BY started")]
    direct.close()
    assert rows == [{"verify": "1"}, {"verify": "2"}]


def test_a_result_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with Store.open(tmp_path, CONFIG, VERSIONS) as store:
        store.put("k", {"n": 1})
        with pytest.raises(InputError, match="has a result for k;"):
            store.put("k", {"n": 2}, {"a": np.zeros(3)})
        assert store.array("k", "a") is None
        with pytest.raises(ValueError, match="Out of range float"):
            store.put("nan", {"upper": float("nan")})
        assert store.keys() == {"k"}


def test_results_survive_a_killed_process(tmp_path: Path) -> None:
    script = (
        "import os, sys; from verify.runs.engine.store import Store\n"
        f"store = Store.open({str(tmp_path)!r}, {CONFIG!r}, {{}})\n"
        "for i in range(20): store.put(f'sample/{i}', {'i': i})\n"
        "os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    with Store.open(tmp_path, CONFIG, VERSIONS) as store:
        assert len(store.keys()) == 20


@pytest.mark.parametrize("content", [b"no database, but as long as one" * 60, b"SQLite format 3\0" + b"x" * 30])
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(InputError, match="is not a readable run"):
        Store.open(tmp_path, CONFIG, VERSIONS)
    assert (tmp_path / FILE).read_bytes() == content


def test_reading_a_run_needs_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no run in"):
        Store.read(tmp_path)
    Store.open(tmp_path, CONFIG, VERSIONS).close()
    with Store.read(tmp_path) as store:
        assert store.config == CONFIG


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    direct = sqlite3.connect(tmp_path / FILE)
    with direct:
        direct.execute("CREATE TABLE mine (x)")
    direct.close()
    with pytest.raises(InputError, match="not a run of this version"):
        Store.open(tmp_path, CONFIG, VERSIONS)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make run folder"):
        Store.open(tmp_path / "file" / "run", CONFIG, VERSIONS)


def test_a_sample_costs_less_than_a_millisecond(tmp_path: Path) -> None:
    witness, count = np.zeros(3 * 32 * 32, dtype=np.float32), 200
    with Store.open(tmp_path, CONFIG, VERSIONS) as store:
        times = []
        for i in range(count):
            start = time.perf_counter()
            store.put(f"sample/{i}", {"verdict": "falsified", "methods": {"pgd": [0.25, None, 0.1]}}, {"w": witness})
            times.append(time.perf_counter() - start)
    assert sorted(times)[count // 2] < 1e-3


def _read_all(folder: Path) -> object:
    with Store.read(folder) as store:
        arrays = [store.array(key, "witness") for key, _ in store.items()]
        listed = [None if a is None else (a.dtype.str, a.shape, a.tobytes()) for a in arrays]
        return store.config, list(store.items()), store.keys(), [s["request"] for s in store.sessions], listed


def test_a_damaged_file_is_told_or_read_as_it_was(tmp_path: Path) -> None:
    """Bytes turned, pages zeroed, ends cut off: one sentence, or every value as it was written."""
    rng = np.random.default_rng(5)
    with Store.open(tmp_path / "run", CONFIG, VERSIONS, {"eps": "8/255"}) as store:
        for i in range(40):
            store.put(f"sample/{i}", {"upper": i / 7, "why": "x" * i}, {"witness": rng.random(20)} if i % 3 else {})
    whole, told = (tmp_path / "run" / FILE).read_bytes(), 0
    expected = _read_all(tmp_path / "run")
    for k in range(150):
        data = bytearray(whole)
        place = int(rng.integers(len(data)))
        if k % 5 == 0:
            data = data[:place]
        elif k % 5 == 1:
            data[place : place + 200] = bytes(len(data[place : place + 200]))
        else:
            data[place] ^= 1 << int(rng.integers(8))
        folder = tmp_path / f"mutant{k}"
        folder.mkdir()
        (folder / FILE).write_bytes(bytes(data))
        refusal = _refusal(folder, expected)
        told += refusal != ""
        assert not refusal or str(folder) in refusal
    assert told > 60


def _refusal(folder: Path, expected: object) -> str:
    """What reading a run says where it is not read as expected."""
    try:
        found = _read_all(folder)
    except InputError as refusal:
        return str(refusal)
    assert found == expected
    return ""


def test_a_full_disk_is_told_and_keeps_what_was_written(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk."""
    script = f"""
import resource, signal
from pathlib import Path
from verify.errors import InputError
from verify.runs.engine.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store.open(Path({str(tmp_path)!r}), {{}}, {{}})
store.put("first", {{"a": 1}})
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    for i in range(100):
        store.put(str(i), {{"text": "x" * 10_000}})
except InputError as refusal:
    print(refusal)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "cannot be read or written" in done.stdout
    with Store.read(tmp_path) as store:
        assert store.get("first") == {"a": 1}
        assert 1 < len(store.keys()) < 100
