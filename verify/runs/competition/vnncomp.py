"""Runs benchmark families of the verification competition in one process, one instance after the other.

Every instance has its own time limit and ends as one result in the store: an answer, or an error with its reason. An
interrupted run continues where it stopped. Processes that take different shards may share one run folder.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from verify.bracket import Bracket
from verify.errors import VerifyError
from verify.registry import Entry
from verify.runs.competition.decide import Decision, decide, read_network
from verify.runs.competition.instances import Instance, digest, read_families
from verify.runs.engine.files import writable_folder, write_whole
from verify.runs.engine.run_folder import versions
from verify.runs.engine.store import Store, json_bounds
from verify.runs.evidence.certificates import check_certificates
from verify.runs.options import entries_of, proof_config

ERROR = "error"
NETWORKS = 64  # of the last models, kept between instances
CSV = "results.csv"


@dataclass(frozen=True)
class Campaign:
    """Benchmark families and how they are to be run.

    Args:
        families: the instances by family.
        entries: the methods, in the order in which they are tried.
        timeout: seconds for every instance, or None for those of the list.
        shard: (i, n): every n-th instance from the i-th, counted from 1.
        level: at which an unsat is proved, "R" or "F", or None; proofs: the folder of the certificates, or None.
    """

    families: dict[str, list[Instance]]
    entries: dict[str, Entry]
    timeout: float | None = None
    shard: tuple[int, int] = (1, 1)
    level: str | None = None
    proofs: Path | None = None

    @property
    def instances(self) -> list[Instance]:
        """The instances that this shard of the benchmark decides."""
        part, parts = self.shard
        return [instance for family in self.families.values() for instance in family][part - 1 :: parts]

    @property
    def config(self) -> dict[str, Any]:
        """What fixes the results, whichever shard they belong to."""
        return {
            "command": "vnncomp",
            "families": {name: digest(instances) for name, instances in self.families.items()},
            "methods": {name: repr(entry.make(None)) for name, entry in self.entries.items()},
            "timeout": self.timeout,
            **proof_config(self.level, self.proofs),
        }

    def run(self, out: Path, advance: Callable[[int], None] = lambda count: None) -> dict[str, dict[str, Any]]:
        """Runs what the run folder lacks; all results of this shard by key, in the order of the list.

        `out/results.csv`, in the competition's format, holds whatever the run folder has at the end, also where the
        run was interrupted. `advance` is told how many instances have become final.
        """
        read = lru_cache(NETWORKS)(read_network)
        check = partial(check_certificates, self.proofs)
        with Store.open(out, self.config, versions(), check=check) as store:
            try:
                done = store.keys()
                for instance in self.instances:
                    if instance.key not in done:
                        limit = instance.limit if self.timeout is None else self.timeout
                        store.put(instance.key, *self._result(instance, limit, read, out))
                    advance(1)
            finally:
                write_whole(out / CSV, results_csv(store))
            results = dict(store.items())
        return {instance.key: results[instance.key] for instance in self.instances}

    def _result(
        self, instance: Instance, limit: float, read: Callable[[Path], Any], out: Path
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """(payload, arrays) for the store; the witness of a sat is `x` and `y`, flat, and its violations. Writes the
        certificate of an unsat."""
        start = time.perf_counter()
        tried: dict[str, dict[str, Any]] = {}

        def on_bracket(name: str, bracket: Bracket) -> None:
            numbers = {key: value for key, value in bracket.notes.items() if _is_json(value)}
            tried[name] = {**json_bounds(float(bracket.lower[0]), float(bracket.upper[0])), **numbers}

        arrays: dict[str, np.ndarray] = {}
        try:
            decision = decide(*instance.files, self.entries, limit, on_bracket, read, self.level, out)
            outcome = _outcome(decision)
            if decision.witness is not None:
                arrays = {"x": decision.witness.x, "y": decision.witness.y}
            if decision.proof is not None and decision.proof.certificate is not None and self.proofs is not None:
                outcome["certificate"] = certificate_name(instance)
                writable_folder((self.proofs / outcome["certificate"]).parent)
                write_whole(self.proofs / outcome["certificate"], decision.proof.certificate)
        except Exception as problem:  # an instance that fails must not end the run
            kind = type(problem).__name__
            reason = str(problem) if isinstance(problem, VerifyError) else f"{kind}: {problem}"
            outcome = {"answer": ERROR, "method": "", "reason": " ".join(reason.split()), "kind": kind}
        seconds = time.perf_counter() - start
        head = {"family": instance.family, "number": instance.number, "onnx": instance.onnx, "vnnlib": instance.vnnlib}
        return {**head, **outcome, "limit": limit, "seconds": seconds, "methods": tried}, arrays


def certificate_name(instance: Instance) -> str:
    """Where the certificate of an instance is, in the folder of certificates."""
    stems = (Path(name).name.removesuffix(".gz").rpartition(".")[0] for name in (instance.onnx, instance.vnnlib))
    return f"{instance.family}/{instance.number:04d}-{'-'.join(stems)}.certificate"


def _outcome(decision: Decision) -> dict[str, Any]:
    outcome: dict[str, Any] = {"answer": str(decision.answer), "method": decision.method, "reason": decision.reason}
    if decision.witness is not None:
        outcome["witness"] = decision.witness.payload()
    if decision.proof is not None:
        outcome["proof"] = decision.proof.payload()
    return {**outcome, "warnings": list(decision.warnings)} if decision.warnings else outcome


def plan(
    folder: Path, chosen: list[str], methods: str, timeout: float | None = None, shard: tuple[int, int] = (1, 1),
    level: str | None = None, proofs: Path | None = None,
) -> Campaign:
    """The campaign over the chosen families of a folder, or over all. Raises InputError in one sentence."""
    return Campaign(read_families(folder, chosen), entries_of(methods), timeout, shard, level, proofs)


def results_csv(store: Store) -> str:
    """The results in the competition's format (VNN-COMP 2022), sorted, without a header.

    Columns: category, onnx, vnnlib, seconds to prepare (0: nothing is prepared), result, seconds to run.
    """
    rows = sorted((payload for _, payload in store.items()), key=lambda r: (r["family"], r["number"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows((r["family"], r["onnx"], r["vnnlib"], 0, r["answer"], f"{r['seconds']:.6f}") for r in rows)
    return text.getvalue()


def _is_json(value: object) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
