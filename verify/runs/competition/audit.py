"""Audits another tool's verdicts: every sat is replayed, every unsat is proved again, as far as time allows.

A sat stands on a member of the set whose outputs, as onnxruntime computes them on the original model, satisfy the
property with no tolerance; the tool's own witness is tried first, then our search. An unsat stands on our proof, with a
certificate wherever one is found.
"""

from __future__ import annotations

import csv
import hashlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from verify.bracket import Bracket
from verify.errors import Contradiction, InputError, UnsupportedOp, VerifyError
from verify.ir.graph import Network
from verify.ir.original import original
from verify.problem import from_vnnlib
from verify.registry import Entry
from verify.runs.competition.decide import InstanceResult, decide, read_network
from verify.runs.competition.foreign_results import SAT, UNSAT, Claim, read_claims, read_point
from verify.runs.competition.instances import digest, read_families
from verify.runs.competition.vnncomp import NETWORKS
from verify.runs.engine.files import write_whole
from verify.runs.engine.run_folder import versions
from verify.runs.engine.store import Store
from verify.runs.evidence.certificates import trust_in
from verify.runs.evidence.runtime_replay import members
from verify.runs.evidence.witness import Witness, property_witness
from verify.runs.options import entries_of
from verify.vnnlib import read_vnnlib

CSV = "audit.csv"
HEAD = ("line", "category", "onnx", "vnnlib", "result", "status", "reason")
LOOSE = "1e-4"  # what the competition allows on inputs and outputs; a witness that needs it confirms nothing


class ClaimStatus(StrEnum):
    """What an audit says of one claim."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    OPEN = "open"


@dataclass(frozen=True)
class Finding:
    """The status of a claim and why, the method that decided it, what that trusts, the witness of a sat; `fault` marks
    an error of this program."""

    status: ClaimStatus
    reason: str
    method: str = ""
    trusts: str = ""
    witness: Witness | None = None
    fault: bool = False


@dataclass(frozen=True)
class Audit:
    """Claims and how they are to be audited.

    Args:
        results: the file that they were read from.
        claims: its rows.
        entries: the methods of our search, in the order in which they are tried.
        timeout: seconds for every claim, or None for those of instances.csv.
    """

    results: Path
    claims: list[Claim]
    entries: dict[str, Entry]
    timeout: float | None = None

    @property
    def config(self) -> dict[str, Any]:
        """All settings that determine the findings, as JSON: a run continues only where they are the same."""
        families: dict[str, dict[str, Any]] = {}
        for claim in self.claims:
            families.setdefault(claim.instance.family, {})[claim.instance.key] = claim.instance
        witnesses = hashlib.sha256()
        for claim in self.claims:
            if claim.witness is not None:
                witnesses.update(f"{claim.line}\n".encode() + hashlib.sha256(claim.witness.read_bytes()).digest())
        return {
            "command": "audit",
            "results": hashlib.sha256(self.results.read_bytes()).hexdigest(),
            "families": {name: digest(list(instances.values())) for name, instances in families.items()},
            "witnesses": witnesses.hexdigest(),
            "methods": {name: repr(entry.make(None)) for name, entry in self.entries.items()},
            "timeout": self.timeout,
        }

    def run(self, out: Path, advance: Callable[[int], None] = lambda count: None) -> list[dict[str, Any]]:
        """Audits what the run folder lacks; the findings in the order of the rows.

        `out/audit.csv` holds whatever the run folder has at the end, also where the run was interrupted. `advance` is
        told how many claims have become final.
        """
        read = lru_cache(NETWORKS)(read_network)
        with Store.open(out, self.config, versions()) as store:
            try:
                done = store.keys()
                for claim in self.claims:
                    if claim.key not in done:
                        store.put(claim.key, *self._result(claim, read))
                    advance(1)
            finally:
                write_whole(out / CSV, _as_csv(store))
            return sorted((payload for _, payload in store.items()), key=lambda r: r["line"])

    def _result(
        self, claim: Claim, read: Callable[[Path], Network]
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """(payload, arrays) for the store; a witness is `x` and `y`, flat, and its violations."""
        start, limit = time.perf_counter(), claim.instance.limit if self.timeout is None else self.timeout
        try:
            found = examined(claim, self.entries, limit, read)
        except Exception as problem:  # a claim that fails must not end the audit
            fault = isinstance(problem, Contradiction) or not isinstance(problem, VerifyError)
            reason = str(problem) if isinstance(problem, VerifyError) else f"{type(problem).__name__}: {problem}"
            found = Finding(ClaimStatus.OPEN, " ".join(reason.split()), fault=fault)
        instance, arrays = claim.instance, {}
        payload: dict[str, Any] = {
            "line": claim.line, "family": instance.family, "onnx": instance.onnx, "vnnlib": instance.vnnlib,
            "result": claim.result, "status": str(found.status), "reason": found.reason, "method": found.method,
            "trusts": found.trusts, "fault": found.fault, "limit": limit, "seconds": time.perf_counter() - start,
        }
        if found.witness is not None:
            payload["witness"] = found.witness.payload()
            arrays = {"x": found.witness.x, "y": found.witness.y}
        return payload, arrays


def plan(
    results: Path, folder: Path, chosen: list[str], methods: str, timeout: float | None = None,
    witnesses: Path | None = None,
) -> Audit:
    """The audit of a results file over the chosen families of a folder, or over all. Raises InputError in one sentence,
    with the line of a row that cannot be understood."""
    claims = read_claims(results, read_families(folder, chosen), witnesses, chosen)
    return Audit(results, claims, entries_of(methods), timeout)


def exit_code(findings: list[dict[str, Any]]) -> int:
    """1 if a claim is refuted, 4 if one met a fault of the program, else 0."""
    if any(finding["status"] == ClaimStatus.REFUTED for finding in findings):
        return 1
    return 4 if any(finding["fault"] for finding in findings) else 0


def examined(claim: Claim, entries: dict[str, Entry], limit: float, read: Callable[[Path], Network]) -> Finding:
    """What there is to say of one claim within a time limit. Raises VerifyError for files that cannot be read."""
    if claim.result not in (SAT, UNSAT):
        return Finding(ClaimStatus.OPEN, f"claims nothing ({claim.result})")
    if claim.witness is None:
        return searched(claim, entries, limit, read)
    start = time.perf_counter()
    try:
        found = replayed(claim, claim.witness, read)
    except InputError as refusal:
        found = Finding(ClaimStatus.REFUTED, f"its witness is no evidence: {refusal}")
    if found.status is not ClaimStatus.REFUTED:
        return found
    second = searched(claim, entries, limit - (time.perf_counter() - start), read)
    return replace(second, reason="; ".join(filter(None, (found.reason, second.reason))))


def replayed(claim: Claim, file: Path, read: Callable[[Path], Network]) -> Finding:
    """What the witness of a sat is worth: confirmed, open where it needs a tolerance, refuted where it is wrong, which
    leaves the sat itself to our search. Raises InputError for files that cannot be read."""
    model, asked, point = original(claim.instance.files[0]), read_vnnlib(claim.instance.files[1]), read_point(file)
    if len(point) != asked.inputs:
        raise InputError(f"{file} has {len(point)} inputs, the property {asked.inputs}")
    x = model.rounded(point)
    y = model(x)
    exact = point.tolist()
    points = [point] if any(case.allows(exact) for case in asked.cases) else []
    points += members(asked, x)
    if points:
        try:
            network = from_vnnlib(read(model.model), asked).network
            known: Network | str = network.unmerged or network
        except (InputError, UnsupportedOp) as refusal:
            known = str(refusal)
        witness = property_witness(asked, known, points, x, y)
        if witness.executed.holds:
            return Finding(ClaimStatus.CONFIRMED, witness.remark, "replay", witness=witness)
        what = f"its witness does not stand the replay: {witness}"
    else:
        what = "its witness lies outside of the set"
    if asked.loosened(LOOSE).contains(point, y):
        return Finding(ClaimStatus.OPEN, f"{what}; it stands only with the competition's tolerance of {LOOSE}")
    return Finding(ClaimStatus.REFUTED, what)


def searched(claim: Claim, entries: dict[str, Entry], limit: float, read: Callable[[Path], Network]) -> Finding:
    """The claim against what our own search finds within the limit."""
    trusts: dict[str, str] = {}

    def on_bracket(name: str, bracket: Bracket) -> None:
        trusts[name] = bracket.above.trusts if bracket.above is not None else ""

    ours = decide(*claim.instance.files, entries, limit, on_bracket, read, proof="R")
    if ours.answer not in (InstanceResult.SAT, InstanceResult.UNSAT):
        return Finding(ClaimStatus.OPEN, f"our search: {ours.answer}{ours.reason and f' ({ours.reason})'}")
    status = ClaimStatus.CONFIRMED if ours.answer == claim.result else ClaimStatus.REFUTED
    if ours.answer is InstanceResult.UNSAT:
        proof = ours.proof if ours.proof is not None and ours.proof.certificate is not None else None
        trust = trusts[ours.method] if proof is None else trust_in(proof)
        reason = "" if proof is not None else "proved in floating point, without a certificate"
        reason = reason if status is ClaimStatus.CONFIRMED else "; ".join(filter(None, ("proved unsat", reason)))
        return Finding(status, reason, ours.method, trust)
    remark = ours.witness.remark if ours.witness is not None else ""
    reason = "; ".join(filter(None, ("our search found a witness", remark)))
    return Finding(status, reason, ours.method, witness=ours.witness)


def _as_csv(store: Store) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    for r in sorted((payload for _, payload in store.items()), key=lambda r: r["line"]):
        writer.writerow((r["line"], r["family"], r["onnx"], r["vnnlib"], r["result"], r["status"], r["reason"]))
    return text.getvalue()
