"""`verify vnnlib`: one instance of the verification competition."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from verify.cli.options import DECIDERS, METHODS_HELP, Level


def vnnlib(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="the network", show_default=False)],
    prop: Annotated[Path, typer.Argument(
        metavar="PROPERTY.vnnlib[.gz]", help="what must not happen", show_default=False)],
    timeout: Annotated[float | None, typer.Option(
        metavar="S", min=0.0, help="seconds from the start of the command, proof included, approximately")] = None,
    witness: Annotated[Path | None, typer.Option(
        metavar="FILE", help="where to write the witness of a sat, in the competition's format")] = None,
    methods: Annotated[str, typer.Option(metavar="A,B,..", help=METHODS_HELP)] = DECIDERS,
    proof: Annotated[Path | None, typer.Option(
        metavar="FILE", help="prove an unsat, write its certificate for `verify check`", show_default=False)] = None,
    level: Level = None,
    workers: Annotated[int | None, typer.Option(
        metavar="N", min=1, help="processes over which the search of bab is spread", show_default=False)] = None,
) -> None:
    """Decide a VNN-LIB property of an ONNX model.

    The last line is sat, unsat, unknown or timeout; the exit code is 0 for sat and unsat, 3 for unknown and timeout.
    """
    start = time.perf_counter() if context.obj is None else context.obj
    from verify.cli import output
    from verify.runs.competition.decide import decide
    from verify.runs.engine.files import check_writable, refuse_overwriting, write_whole
    from verify.runs.evidence.runtime_replay import witness_text
    from verify.runs.options import entries_of, proof_level, shared

    for file in (witness, proof):
        if file is not None:
            check_writable(file)
            refuse_overwriting(file, model, prop)
    proved = proof_level(level, proof)
    entries = shared(entries_of(methods), workers, proved)
    left = None if timeout is None else timeout - (time.perf_counter() - start)
    decision = decide(model, prop, entries, timeout=left, on_bracket=output.note_bracket, proof=proved)
    for warning in decision.warnings:
        output.note(f"warning: {prop}: {warning}")
    if decision.reason:
        output.note(f"{decision.answer}: {decision.reason}")
    found = decision.witness
    if found is not None:
        output.note(f"witness: {found}")
    if witness is not None and found is not None:
        write_whole(witness, witness_text(found.x, found.y))
    certificate = None if decision.proof is None else decision.proof.certificate
    if certificate is not None and proof is not None:
        write_whole(proof, certificate)
        output.note(f"certified: {decision.proof}; {proof} has {len(certificate) / 1e6:.3g} MB")
    elif certificate is not None:
        output.note(f"proved: {decision.proof}")
    elif proof is not None and found is not None:
        output.note("no certificate: they are for unsat, and the witness is the evidence of a sat"
                    + ("" if witness else "; keep it with --witness FILE"))
    if certificate is None and proof is not None and proof.exists():
        output.note(f"{proof} is from before: no certificate was written")
    print(decision.answer)
    raise typer.Exit(decision.exit_code)
