"""Certificates of the samples of a run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from verify.check.checker import Report, check
from verify.check.container import read
from verify.errors import InputError
from verify.problem import Problem
from verify.proof.certificate import property_claim
from verify.proof.prover import AS_EXPORTED, ModelFile, Proof, first_margin, prove
from verify.runs.engine.files import writable_folder
from verify.runs.engine.store import Store
from verify.runs.options import proof_level
from verify.upper.duals.proof_log import ProofLog
from verify.vnnlib import read_vnnlib

CHECKER = "the independent checker (verify.check)"


def trust_in(proof: Proof) -> str:
    """What a verdict rests on that a certificate proves."""
    return CHECKER if proof.compared else f"{CHECKER}, {AS_EXPORTED}"


def checked(
    certificate: Path, model: Path | None = None, prop: Path | None = None, level: str | None = None,
    exact: bool = False,
) -> Report:
    """The checker's report on a certificate; rejected where it claims something else than a property file.

    Raises InputError for files that cannot be read and for an unknown level.
    """
    proof_level(level, None)
    data, other = _bytes(certificate), None if model is None else _bytes(model)
    report = check(data, level, exact, other)
    if prop is None or not report.accepted:
        return report
    header, _ = read(data)
    if report.front:
        reason = f"it has a front, and {prop} speaks of the inputs of the model itself"
        return replace(report, accepted=False, reason=reason)
    if "grid" in header:
        reason = f"it is of a grid alone, and {prop} speaks of all inputs between"
        return replace(report, accepted=False, reason=reason)
    if header["cases"] == property_claim(read_vnnlib(prop)):
        return report
    return replace(report, accepted=False, reason=f"it claims something else than {prop}")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise InputError(f"{path} cannot be read ({problem.strerror}); check the path") from None


def check_certificates(folder: Path | None, store: Store) -> None:
    """Raises InputError where a run's certificates are not in their folder as the run left them, and where a new run
    would mix its own with those of another."""
    if folder is None:
        return
    writable_folder(folder)
    results = [payload for _, payload in store.items()]
    if not results and next(folder.rglob("*.certificate"), None) is not None:
        raise InputError(f"{folder} has certificates of another run; name another folder")
    for payload in results:
        name = payload.get("certificate")
        if name is not None and _digest(folder / name) != payload["proof"]["sha256"]:
            raise InputError(f"{folder / name} is missing, or not what this run wrote; restore it, or start a new run")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


@dataclass(frozen=True)
class Proving:
    """How the verified samples of a run are proved.

    Args:
        level: "R" or "F".
        folder: where their certificates go, or None.
        source: the model file, or None.
        seconds: for one sample, its methods and its proof together.
    """

    level: str
    folder: Path | None
    source: ModelFile | None
    seconds: float

    def margin(self, problem: Problem) -> float:
        """How far below 0 the search of a sample should close its parts."""
        return first_margin(problem, None, self.level)

    def certify(
        self, problem: Problem, index: int, eps: str, proof_log: ProofLog | None, spent: float
    ) -> tuple[Proof, dict[str, Any], dict[str, bytes]]:
        """The proof of a sample's problem, a batch of 1, for which the methods spent so many seconds; what is kept of
        it, as JSON, and the files to be written."""
        proof = prove(problem, None, self.level, self.source, proof_log, self.seconds - spent)
        if proof.certificate is None or self.folder is None:
            return proof, {"proof": proof.payload()}, {}
        name = f"sample-{index:05d}-eps-{eps.replace('/', '_')}.certificate"
        return proof, {"proof": proof.payload(), "certificate": name}, {name: proof.certificate}
