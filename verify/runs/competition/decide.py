"""Decides a VNN-LIB instance: is there an allowed input whose output the property describes?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path

from verify.bracket import Bracket, Verdict
from verify.deadline import NEVER, Deadline, within
from verify.errors import LATE, Contradiction, InputError, OutOfTime, SolverError, UnsupportedMethod
from verify.ir.graph import Network
from verify.ir.guard import compare
from verify.ir.opaque.entry import attackable
from verify.ir.rewrite import simplify
from verify.problem import Problem, from_vnnlib
from verify.proof.prover import ModelFile, Proof, first_margin, prove
from verify.registry import Entry
from verify.runs.competition.attacks import attacks
from verify.runs.evidence.belief import held, met
from verify.runs.evidence.contradiction import of_property
from verify.runs.evidence.runtime_replay import members, original_outputs
from verify.runs.evidence.witness import Witness, property_witness
from verify.runs.options import proof_log_for, usable
from verify.solving import solve
from verify.vnnlib import Property, read_vnnlib

TORCH = (".pt2", ".pt", ".pth")  # endings of files that onnxruntime does not read


class InstanceResult(StrEnum):
    """The result of one instance, in the words of the verification competition."""

    SAT = "sat"
    UNSAT = "unsat"
    UNKNOWN = "unknown"
    TIMEOUT = "timeout"


@dataclass(frozen=True)
class Decision:
    """The answer, why it is not more than that, the method that decided, and for sat the witness, whose `levels` say
    where it violates: F always, R where that was computed and is so. For unsat the proof, if one was asked for; it has
    no certificate where none was found. `warnings` are those of the property, and what to know of its values."""

    answer: InstanceResult
    reason: str = ""
    witness: Witness | None = None
    method: str = ""
    proof: Proof | None = None
    warnings: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 for sat and unsat, 3 for unknown and timeout."""
        return 0 if self.answer in (InstanceResult.SAT, InstanceResult.UNSAT) else 3


def read_network(model: Path) -> Network:
    """The network of a model file, simplified for the search; one that is only executed where it is refused and
    onnxruntime runs it. Raises InputError or UnsupportedOp."""
    if model.suffix in TORCH:
        raise InputError(f"{model} is no ONNX file, which is what a property of the competition is about: onnxruntime "
                         "replays its witnesses; export the model with torch.onnx.export")
    return simplify(attackable(model))


def decide(
    model: Path, prop: Path, entries: dict[str, Entry], timeout: float | None = None,
    on_bracket: Callable[[str, Bracket], None] = lambda name, bracket: None,
    read: Callable[[Path], Network] = read_network,
    proof: str | None = None,
    bundles: Path = Path(),
) -> Decision:
    """Tries the methods in order until one decides.

    `sat` is said only of a witness that satisfies the property with the outputs that onnxruntime computes for it on
    the model as it is in the file; `unsat` trusts what the deciding bracket says it trusts, or, where a proof was asked
    for and found, the checker. At level F nothing but a proof says unsat. A model that is only executed (see
    `verify.ir.opaque`) is searched for a witness by the methods of `usable` until the time is over, and is `unknown`
    with the reason where there is none. A Contradiction is raised, also where a point that the prover or a cheap attack
    meets violates what a method verifies, and KeyboardInterrupt where Ctrl-C ended a method that was told about before.

    Args:
        model, prop: the files; an InputError says what is wrong with one.
        entries: the methods, from `entries_of`.
        timeout: seconds for all of it, reading the files and proving included, or None. A method may take an equal part
            of what is left, and the last one all of it.
        on_bracket: is called with the bracket of every method.
        read: gives the network of the model file, for callers that keep networks.
        proof: the level, "R" or "F", at which an unsat is proved, or None.
        bundles: the folder that gets what reproduces a Contradiction.
    """
    limit = Deadline.after(timeout)
    try:
        with within(limit):
            network, asked = read(model), read_vnnlib(prop)
            problem = from_vnnlib(network, asked)
    except OutOfTime:
        return Decision(InstanceResult.TIMEOUT, f"{LATE} while the files were read")
    try:
        if network.refusal:
            found = _attacked(model, asked, problem, usable(entries, network), limit, on_bracket)
        else:
            found = _first(model, asked, problem, entries, limit, on_bracket, proof)
        reason = found.reason if asked.cases else "no input is allowed"
        notes = () if network.head is None else (network.head.note,)
        return replace(found, reason=reason, warnings=(*asked.warnings, *notes))
    except Contradiction as crossing:
        raise of_property(crossing, problem, model, prop, bundles) from crossing


def _first(
    model: Path, asked: Property, problem: Problem, entries: dict[str, Entry], limit: Deadline,
    on_bracket: Callable[[str, Bracket], None], proof: str | None,
) -> Decision:
    """What the first method that decides says; see `decide`."""
    reasons: list[str] = []
    known: Bracket | None = None
    for k, (name, entry) in enumerate(entries.items()):
        if limit.is_over:
            break
        made: Proof | None = None
        margin = None if proof is None else partial(first_margin, problem, asked, proof, limit.left)
        share = limit.part(1 / (len(entries) - k))
        method = entry.make(share.left if share < NEVER else None)
        proof_log = proof_log_for(method, margin)
        try:
            bracket = solve(problem, method, share.left, proof_log)
        except (SolverError, UnsupportedMethod) as refusal:
            reasons.append(f"{name}: {refusal}")
            continue
        on_bracket(name, bracket)
        bracket = held(problem, bracket)
        known = bracket if known is None else known.meet(bracket)
        if bracket.verdicts[0] is Verdict.VERIFIED and proof is not None:
            made = prove(problem, asked, proof, ModelFile(model), proof_log, limit.left)
            if made.points is not None:  # against the verdict, unless they violate by rounding only
                bracket = bracket.meet(met(problem, made.points, "proof"))
        if bracket.verdicts[0] is Verdict.VERIFIED:
            found = Decision(InstanceResult.UNSAT, method=name) if made is None else _proved(made, name)
            if found.answer is InstanceResult.UNSAT:
                return found
            reasons.append(f"{name}: {found.reason}")
        elif bracket.verdicts[0] is Verdict.FALSIFIED:
            found = _replayed(model, asked, problem, bracket)
            if found.answer is InstanceResult.SAT:
                return replace(found, method=name)
            reasons.append(f"{name}: {found.reason}")
        elif bracket.notes.get("stopped") == "interrupted":
            raise KeyboardInterrupt
        elif "stopped" in bracket.notes:
            reasons.append(f"{name}: {bracket.notes['stopped']}")
    reason = "; ".join(reasons) or ("" if limit.is_over else "the bounds leave a gap")
    return Decision(InstanceResult.TIMEOUT if limit.is_over else InstanceResult.UNKNOWN, reason)


def _attacked(
    model: Path, asked: Property, problem: Problem, entries: dict[str, Entry], limit: Deadline,
    on_bracket: Callable[[str, Bracket], None],
) -> Decision:
    """sat where a search of a model that is only executed finds a witness, else unknown with the reason."""
    reasons = [problem.network.refusal]
    for name, method, share in attacks(entries if asked.cases else {}, limit):
        try:
            bracket = solve(problem, method, share.left)
        except SolverError as refusal:
            reasons.append(f"{name}: {refusal}")
            continue
        on_bracket(name, bracket)
        if bracket.verdicts[0] is Verdict.FALSIFIED:
            found = _replayed(model, asked, problem, bracket)
            if found.answer is InstanceResult.SAT:
                return replace(found, method=name)
            reasons.append(f"{name}: {found.reason}")
    return Decision(InstanceResult.UNKNOWN if asked.cases else InstanceResult.UNSAT, "; ".join(reasons))


def _proved(proof: Proof, method: str) -> Decision:
    """unsat with its proof; at level R without a certificate too, at level F then unknown."""
    if proof.certificate is None and proof.report.level == "F":
        reason = f"no certificate at level F: {proof.reason}"
        return Decision(InstanceResult.UNKNOWN, reason, method=method, proof=proof)
    reason = "" if proof.certificate is not None else f"no certificate: {proof.reason}"
    return Decision(InstanceResult.UNSAT, reason, method=method, proof=proof)


def _replayed(model: Path, asked: Property, problem: Problem, bracket: Bracket) -> Decision:
    """sat with the witness of the bracket if it stands on the original model, else unknown with the reason. Raises
    InputError where the model as executed is another function than the graph that was read of it."""
    if bracket.witness is None:
        return Decision(InstanceResult.UNKNOWN, "a violation was reported without a witness")
    x = bracket.witness[0].cpu().numpy().reshape(-1)
    points = members(asked, x)
    if not points:
        return Decision(InstanceResult.UNKNOWN, "the witness is no member of the property's sets")
    try:
        y = original_outputs(model, x)
    except InputError as refusal:
        return Decision(InstanceResult.UNKNOWN, str(refusal))
    network = problem.network.unmerged or problem.network
    witness = property_witness(asked, network, points, x, y)
    if not witness.executed.holds:
        compare(network, bracket.witness)
        return Decision(InstanceResult.UNKNOWN, f"the witness does not stand the replay in onnxruntime: {witness}")
    return Decision(InstanceResult.SAT, witness=witness)
