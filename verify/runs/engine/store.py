"""The store of a run: one SQLite file that results go to one by one, and that an interrupted command resumes from.

A run is a folder with `results.sqlite`. Its configuration (what was asked of which model and data) is fixed when the
run is made; opening the run with another one is refused. A result is a JSON payload and any number of arrays under one
text key, written in one transaction: it is there whole or not at all. Every resumable command uses this one mechanism.

JSON has no infinities and no NaN: a missing bound is null, and an attempt to store a float that is not finite fails.
Every row carries a checksum, and SQLite checks its pages when a run is opened: a damaged file is told in one sentence
and never read as something else.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from verify.errors import InputError

FILE = "results.sqlite"
FORMAT = 3  # PRAGMA user_version; raised when the tables change
APPLICATION = 0x76726679  # PRAGMA application_id, "vrfy"
WAIT = 60.0  # seconds that a writer waits for another process

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE sessions (
    started REAL NOT NULL, versions TEXT NOT NULL, request TEXT NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE results (
    number INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, payload TEXT NOT NULL, names TEXT NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE arrays (
    key TEXT NOT NULL REFERENCES results (key), name TEXT NOT NULL,
    dtype TEXT NOT NULL, shape TEXT NOT NULL, data BLOB NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (key, name)
) WITHOUT ROWID;
"""


RESULTS = "SELECT key, payload, names, checksum FROM results"


class StoreEntry(NamedTuple):
    """One entry of a store: a JSON payload and arrays by name."""

    key: str
    payload: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = {}


class Store:
    """The results of one run. Made by `Store.open`; a context manager that closes the file."""

    def __init__(self, folder: Path, connection: sqlite3.Connection):
        self.folder = folder
        self._connection = connection

    @classmethod
    def open(
        cls, folder: Path | str, config: Mapping[str, Any], versions: Mapping[str, str],
        request: Mapping[str, Any] | None = None, check: Callable[[Store], None] = lambda store: None,
    ) -> Store:
        """A new run in this folder, or the one that is there, to be continued.

        Args:
            folder: made if absent.
            config: what fixes the results, as JSON values by name; rationals as strings.
            versions: of the software of this session; recorded, not compared.
            request: what the user typed, as JSON values by name; recorded, not compared.
            check: looks at the run before it is begun or continued.

        Raises InputError, with the differences, if the run there has another configuration. Whatever is raised, by
        `check` too, leaves the folder as it was.
        """
        folder = Path(folder)
        is_new, is_first = not folder.exists(), not (folder / FILE).exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise InputError(f"cannot make run folder {folder}: {problem.strerror}; name another one") from None
        store = cls(folder, _connect(folder / FILE))
        try:
            store._begin(dict(config), versions, request or {}, check)
        except BaseException:
            unused = is_first and store._is_empty()
            store.close()
            if unused:
                (folder / FILE).unlink(missing_ok=True)
            if unused and is_new:
                with suppress(OSError):  # somebody else uses it by now
                    folder.rmdir()
            raise
        return store

    @classmethod
    def read(cls, folder: Path | str) -> Store:
        """The run in this folder, as it is. Raises InputError if there is none."""
        folder = Path(folder)
        if not (folder / FILE).is_file():
            raise InputError(f"there is no run in {folder}; name a folder that has {FILE}")
        store = cls(folder, _connect(folder / FILE))
        try:
            store._check_format()
        except BaseException:
            store.close()
            raise
        return store

    def put(self, key: str, payload: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Writes one result in one transaction. Raises InputError if the key has a result already."""
        self.put_all([StoreEntry(key, payload, arrays or {})])

    def put_all(self, results: Iterable[StoreEntry]) -> None:
        """Writes results that belong together in one transaction. Raises InputError if a key has a result already."""
        key = ""
        try:
            with self._guarded(), self._connection:
                for key, payload, arrays in results:
                    texts = key, json.dumps(payload, allow_nan=False), json.dumps(list(arrays))
                    self._insert("results (key, payload, names, checksum)", *texts)
                    for name, a in arrays.items():
                        kind = a.dtype.newbyteorder("<").str
                        self._insert("arrays", key, name, kind, json.dumps(a.shape), _little(a).tobytes())
        except sqlite3.IntegrityError:
            raise InputError(f"run {self.folder} has a result for {key}; does another process write to it?") from None

    def items(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """All results, key and payload, in the order in which they were written."""
        for key, payload, _ in self._rows(f"{RESULTS} ORDER BY number"):
            yield key, json.loads(payload)

    def keys(self) -> set[str]:
        """The keys that have a result."""
        with self._guarded():
            return {key for (key,) in self._connection.execute("SELECT key FROM results")}

    def get(self, key: str) -> dict[str, Any] | None:
        """The payload of a key, or None if it has no result."""
        row = next(self._rows(f"{RESULTS} WHERE key = ?", key), None)
        return None if row is None else json.loads(row[1])

    def array(self, key: str, name: str) -> np.ndarray | None:
        """An array of a result as it was written, or None if the result has none of that name."""
        row = next(self._rows("SELECT * FROM arrays WHERE key = ? AND name = ?", key, name), None)
        if row is not None:
            return np.frombuffer(row[4], np.dtype(row[2])).reshape(json.loads(row[3]))
        result = next(self._rows(f"{RESULTS} WHERE key = ?", key), None)
        if result is not None and name in json.loads(result[2]):
            raise self._damaged(f"the array {name} of {key} is lost")
        return None

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that the run was made with."""
        return {key: json.loads(value) for key, value in self._rows("SELECT * FROM meta")}

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """When the run was begun and continued ("started", seconds since 1970), by which "versions", and what "request"
        the user typed, in order."""
        rows = self._rows("SELECT * FROM sessions ORDER BY rowid")
        return [{"started": at, "versions": json.loads(v), "request": json.loads(r)} for at, v, r in rows]

    def close(self) -> None:
        """Closes the file; the run can be opened again."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(
        self, config: dict[str, Any], versions: Mapping[str, str], request: Mapping[str, Any],
        check: Callable[[Store], None],
    ) -> None:
        """Writes the configuration of a new run or compares that of an old one; one session row either way."""
        with self._guarded(), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            if self._pragma("application_id") == 0 and self._is_empty():
                self._make(config)
            self._compare(config)
            check(self)
            self._insert("sessions", time.time(), json.dumps(dict(versions)), json.dumps(dict(request)))

    def _make(self, config: dict[str, Any]) -> None:
        for statement in TABLES.strip().split(";\n"):
            self._connection.execute(statement)
        for key, value in config.items():
            self._insert("meta", key, json.dumps(value, allow_nan=False))
        self._connection.execute(f"PRAGMA application_id = {APPLICATION}")
        self._connection.execute(f"PRAGMA user_version = {FORMAT}")

    def _insert(self, table: str, *values: str | float | bytes) -> None:
        """Appends a row and its checksum."""
        marks = ", ".join("?" * (len(values) + 1))
        self._connection.execute(f"INSERT INTO {table} VALUES ({marks})", (*values, _checksum(values)))

    def _rows(self, query: str, *arguments: str) -> Iterator[tuple[Any, ...]]:
        """Rows without their checksums, which come last. Raises InputError where one does not fit."""
        with self._guarded():
            for *row, checksum in self._connection.execute(query, arguments):
                if _checksum(row) != checksum:
                    raise self._damaged(f"the checksum of the row {row[0]!r:.60} does not fit")
                yield tuple(row)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Tells what SQLite meets in one sentence; that a key is there already is the caller's to tell."""
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.OperationalError as problem:  # a full disk, a folder without rights, another process
            raise InputError(f"{self.folder / FILE} cannot be read or written ({problem}); mend that, and continue "
                             "with the same command") from None
        except (sqlite3.Error, UnicodeDecodeError) as problem:
            raise self._damaged(str(problem)) from None

    def _damaged(self, what: str) -> InputError:
        return InputError(f"{self.folder / FILE} is damaged or no run ({what}); restore a copy of it, or name another "
                          "folder")

    def _check_format(self) -> None:
        with self._guarded():
            if (self._pragma("application_id"), self._pragma("user_version")) != (APPLICATION, FORMAT):
                raise InputError(f"{self.folder / FILE} is not a run of this version of verify; name another folder")
            if (found := self._pragma("integrity_check(1)")) != "ok":
                raise sqlite3.DatabaseError(found)

    def _compare(self, config: dict[str, Any]) -> None:
        self._check_format()
        old, new = self.config, json.loads(json.dumps(config))
        changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        if changed:
            differences = "; ".join(_difference(key, old.get(key), new.get(key)) for key in changed)
            raise InputError(f"run {self.folder} asked something else: {differences}; name another folder with --out")

    def _is_empty(self) -> bool:
        return self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0

    def _pragma(self, name: str) -> Any:
        return self._connection.execute(f"PRAGMA {name}").fetchone()[0]


def json_bounds(lower: float, upper: float) -> dict[str, float | None]:
    """The two sides of a bracket for a payload: null where there is no bound."""
    return {"lower": lower if math.isfinite(lower) else None, "upper": upper if math.isfinite(upper) else None}


def _connect(path: Path) -> sqlite3.Connection:
    """A connection in WAL mode: a result survives the end of the process, and readers never wait."""
    try:
        connection = sqlite3.connect(path, timeout=WAIT)
    except sqlite3.OperationalError as problem:
        raise InputError(f"cannot open {path}: {problem}; name another folder") from None
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.DatabaseError as problem:
        connection.close()
        raise InputError(f"{path} is not a readable run ({problem}); name another folder") from None
    return connection


def _checksum(values: Iterable[str | float | bytes]) -> int:
    """CRC-32 over the values of a row."""
    found = 0
    for value in values:
        data = value if isinstance(value, bytes) else repr(value).encode()
        found = zlib.crc32(data, zlib.crc32(b"|", found))
    return found


def _little(array: np.ndarray) -> np.ndarray:
    """The same values in C order and little-endian bytes."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _difference(key: str, old: object, new: object) -> str:
    """The two values for a message; long ones, such as digests, are cut to where they part."""
    texts = [value if isinstance(value, str) else json.dumps(value) for value in (old, new)]
    parting = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
    return "{} was {}, now {}".format(key, *(_brief(text, parting) for text in texts))


def _brief(text: str, parting: int) -> str:
    if len(text) <= 40:
        return text
    start, end = max(0, parting - 16), parting + 12
    return ("..." if start else "") + text[start:end] + ("..." if end < len(text) else "")
