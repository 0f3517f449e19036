"""Certificates of the samples of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from verify.problem import Problem
from verify.proof.prover import Proof, first_margin, prove
from verify.runs.files import write_whole
from verify.upper.journal import Journal

CHECKER = "the independent checker (verify.check)"


@dataclass(frozen=True)
class Proving:
    """How the verified samples of a run are proved.

    Args:
        level: "R" or "F".
        folder: where their certificates go, or None.
        source: name and sha256 of the model file, or None.
        seconds: for searching again for one sample's proof.
    """

    level: str
    folder: Path | None
    source: dict[str, str] | None
    seconds: float

    def margin(self, problem: Problem) -> float:
        """How far below 0 the search of a sample should close its parts."""
        return first_margin(problem, None, self.level)

    def certify(self, problem: Problem, index: int, journal: Journal | None) -> tuple[Proof, str | None]:
        """The proof of a sample's problem, a batch of 1, and the name of its certificate, if it is kept."""
        proof = prove(problem, None, self.level, self.source, journal, self.seconds)
        if proof.certificate is None or self.folder is None:
            return proof, None
        name = f"sample-{index:05d}.certificate"
        write_whole(self.folder / name, proof.certificate)
        return proof, name
