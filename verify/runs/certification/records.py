"""The results of a certification run as records, one a sample and eps, for whatever reads a finished run.

A folder made by `verify train` stands for the certification inside it. Only keys "sample/..." are results; the rest of
a store is bookkeeping. What a record lacks is None or empty: nothing is made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.runs.engine.store import FILE, Store

PREFIX = "sample/"
CERTIFICATION = "certify"  # the command, and the folder inside a training run
CLEAN = "clean"  # the method of samples that are misclassified without a perturbation

# the verdicts as they are stored; verify.bracket.Verdict would cost the import of torch
CERTIFIED, VERIFIED, FALSIFIED, UNKNOWN, ERROR = "certified", "verified", "falsified", "unknown", "error"


@dataclass(frozen=True)
class Effort:
    """What one method did for a sample: its bounds on v* (None where it has none), seconds and peak memory in MiB."""

    lower: float | None = None
    upper: float | None = None
    seconds: float | None = None
    memory: float | None = None


@dataclass(frozen=True)
class Record:
    """The result of one sample at one eps; texts hold no lone surrogates, so that every format can write them."""

    key: str
    index: int
    eps: str
    label: int | None
    prediction: int | None
    verdict: str
    method: str | None
    lower: float | None
    upper: float | None
    reason: str
    trusts: str
    implied: str | None
    attacked: int | None
    certificate: str | None
    remark: str
    methods: dict[str, Effort]

    @property
    def seconds(self) -> float:
        """Seconds that all methods took for this sample together."""
        return sum(effort.seconds or 0.0 for effort in self.methods.values())


@dataclass(frozen=True)
class Run:
    """A run that was read; a context manager, since arrays stay in its store.

    Args:
        folder: as the user named it.
        store: of the certification, open.
        config, request: what was asked, as digests and as the user typed it.
        versions: of the software of the last session; started: when the first one began, seconds since 1970.
        records: by eps, smallest first, then by sample.
        epochs: the figures of a training, if the folder is one's.
    """

    folder: Path
    store: Store = field(repr=False)
    config: dict[str, Any]
    request: dict[str, Any]
    versions: dict[str, str]
    started: float
    records: tuple[Record, ...]
    epochs: tuple[dict[str, Any], ...] = ()

    @cached_property
    def eps(self) -> tuple[str, ...]:
        """The radii for which there are records, smallest first."""
        return tuple(dict.fromkeys(record.eps for record in self.records))

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Those that any record names: "clean" first, then in the order in which the run tries them."""
        met = {name for record in self.records for name in record.methods}
        known = [name for name in (CLEAN, *self.config.get("methods", {})) if name in met]
        return (*known, *sorted(met - set(known)))

    @property
    def has_classes(self) -> bool:
        """Whether samples have labels, as they have not where a regressor's outputs stay in a range."""
        return not self.records or any(record.label is not None for record in self.records)

    @property
    def samples(self) -> int:
        """How many samples the run is about; it may not have come to all of them yet."""
        found = len({record.index for record in self.records})
        return max(found, int(self.config.get("samples") or 0))

    @cached_property
    def as_typed(self) -> Run:
        """The same run with its radii as the user wrote them."""
        texts = spelled(str(self.request.get("eps", "")))
        records = tuple(
            replace(r, eps=texts.get(r.eps, r.eps), implied=r.implied and texts.get(r.implied, r.implied))
            for r in self.records
        )
        return replace(self, records=records)

    def array(self, record: Record, name: str) -> np.ndarray | None:
        """The "input" or "witness" (*shape) of a record, if it has one."""
        return self.store.array(record.key, name)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()


def read_run(folder: Path | str) -> Run:
    """The certification in a run folder. Raises InputError where there is none, or nothing in it yet."""
    folder = Path(folder)
    with ExitStack() as undo:
        store = undo.enter_context(Store.read(folder))
        epochs: tuple[dict[str, Any], ...] = ()
        if store.config.get("command") == "train":
            epochs = tuple(payload for key, payload in store.items() if key.startswith("epoch/"))
            inner = folder / CERTIFICATION
            if not (inner / FILE).is_file():
                raise InputError(f"the training in {folder} has no certification yet; finish it with verify train "
                                 f"RECIPE --out {folder} --resume")
            store = undo.enter_context(Store.read(inner))
        config = store.config
        command = config.get("command")
        if command != CERTIFICATION:
            raise InputError(f"{folder} is a run of verify {command}, not of verify certify; name a run of that")
        records = [_record(key, payload, config) for key, payload in store.items() if key.startswith(PREFIX)]
        if not records:
            raise InputError(f"run {folder} has no results yet; let verify certify --out {folder} go on first")
        records.sort(key=lambda record: (Fraction(record.eps), record.index))
        sessions = store.sessions
        undo.pop_all()
        return Run(folder, store, config, sessions[0]["request"], sessions[-1]["versions"], sessions[0]["started"],
                   tuple(records), epochs)


def spelled(radii: str) -> dict[str, str]:
    """The radii of a comma list as they stand there, by their names in the results."""
    found = {}
    for text in map(str.strip, radii.split(",")):
        with suppress(ValueError, ZeroDivisionError):
            found[str(Fraction(text))] = text
    return found


def text_of(value: object) -> str:
    """As text that UTF-8 can write: lone surrogates become question marks."""
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _record(key: str, payload: Mapping[str, Any], config: Mapping[str, Any]) -> Record:
    """A payload of the store; whatever it lacks is None or empty."""
    given = config.get("eps")
    only = given[0] if isinstance(given, list) and given else given
    return Record(
        key=key,
        index=payload["index"],
        eps=text_of(payload.get("eps", only)),
        label=payload.get("label"),
        prediction=payload.get("prediction"),
        verdict=text_of(payload["verdict"]),
        method=_optional(payload.get("method")),
        lower=payload.get("lower"),
        upper=payload.get("upper"),
        reason=text_of(payload.get("reason") or ""),
        trusts=text_of(payload.get("trusts") or ""),
        implied=_optional(payload.get("implied")),
        attacked=payload.get("attacked"),
        certificate=_optional(payload.get("certificate")),
        remark=text_of(payload.get("witness", {}).get("remark") or ""),
        methods={text_of(name): _effort(effort) for name, effort in payload.get("methods", {}).items()},
    )


def _effort(values: Mapping[str, Any]) -> Effort:
    return Effort(*(values.get(name) for name in ("lower", "upper", "seconds", "memory")))


def _optional(value: object) -> str | None:
    return None if value in (None, "") else text_of(value)
