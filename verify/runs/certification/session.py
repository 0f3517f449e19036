"""A certification from the user's texts to its store: everything is read and checked before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from verify.ir.original import original
from verify.proof.prover import ModelFile
from verify.runs.certification.cascade import Cascade
from verify.runs.certification.summary import Summary, summarize
from verify.runs.engine.drive import OnProgress
from verify.runs.engine.run_folder import ONE_PROCESS, Parallelism, RunFolder, folder_of
from verify.runs.evidence.certificates import Proving, check_certificates
from verify.runs.options import batch_of, proof_config, proof_level, radii_of, typed_radii, usable
from verify.runs.request import CertifyRequest
from verify.runs.subject import Subject, read


@dataclass(frozen=True)
class Session:
    """A request that has been read and checked."""

    request: CertifyRequest
    subject: Subject
    cascade: Cascade
    batch: int

    @property
    def title(self) -> str:
        """One line that says what is asked."""
        level = f", proved at level {self.cascade.proving.level}" if self.cascade.proving is not None else ""
        return self.subject.title(f"{self.request.shape} eps {self.request.eps}") + level

    @property
    def spelled(self) -> dict[str, str]:
        """The radii as the user wrote them, by their names in the results."""
        return {str(eps): text for text, eps in typed_radii(self.request.eps).items()}

    @property
    def warnings(self) -> list[str]:
        """What the user may not have meant."""
        return self.subject.warnings(map(Fraction, self.cascade.problems))

    @property
    def config(self) -> dict[str, Any]:
        """What fixes the results: digests, rationals as texts, and every setting of every method."""
        return {
            **self.subject.config,
            "eps": list(self.cascade.problems),
            "methods": {name: repr(method) for name, method in self.cascade.methods.items()},
            "batch": self.batch,
            **proof_config(self.cascade.proving and self.cascade.proving.level, self.request.proofs),
        }

    @property
    def total(self) -> int:
        """How many outcomes there will be."""
        return len(self.cascade.x) * len(self.cascade.problems)

    def run(
        self, out: Path | None, on_progress: OnProgress = lambda verdicts: None, *, resume: bool = False,
        parallelism: Parallelism = ONE_PROCESS,
    ) -> tuple[Path, dict[str, Summary]]:
        """Certifies what the run folder lacks; the folder and the summaries of the whole run by radius.

        Args:
            out: the run folder, by default a new one in runs/; one that holds a run is continued with `resume`, and
                refused without.
            on_progress: is called with the verdicts that have become final.
            parallelism: who shares the work.
        """
        run = RunFolder(folder_of(out, self.request.model, resume), self.config, self.request.as_json(), self.batch)
        check = partial(check_certificates, self.request.proofs)
        summaries = run.carry_out(self.cascade, parallelism, on_progress, summarize, check)
        return run.folder, summaries


def prepare(request: CertifyRequest) -> Session:
    """Reads model and data and checks that all fits. Raises VerifyError with one sentence where it does not."""
    level, radii, subject = proof_level(request.level, request.proofs), radii_of(request.eps), read(request)
    entries = usable(request.entries, subject.network)
    problems = {str(eps): subject.around(eps) for eps in radii}
    methods = {name: entry.make(request.timeout) for name, entry in entries.items()}
    dear, file = {name for name, entry in entries.items() if not entry.batched}, Path(request.model)
    source = ModelFile(file) if file.is_file() else None
    proving = None if level is None else Proving(level, request.proofs, source, request.timeout)
    replay = original(file) if request.model.endswith((".onnx", ".onnx.gz")) else None
    pictures = {str(eps): picture for eps in radii if (picture := subject.picture(eps)) is not None}
    cascade = Cascade(problems, subject.points, subject.labels, methods, dear, replay, proving, request.timeout,
                      subject.goal, pictures)
    return Session(request, subject, cascade, batch_of(request.batch, subject.network))
