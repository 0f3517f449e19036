"""From a verdict to its certificate: the records of a search, what the layers' rules prove alone, the checker's word.

Tasks that the checker's own rules close need no more than their boxes. The others are searched, and what their search
wrote down becomes a proof. Input trees are closed with the checker's own bounds, so what it leaves open is split
further; a search that splits neurons and whose leaves fail by a hair is made again with a wider margin.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from verify.check.bounds import Level
from verify.check.boxes import input_leaves
from verify.check.checker import Report, check
from verify.check.claim import Case, read_cases
from verify.check.network import Network, build
from verify.check.numbers import Arithmetic, Rejected, shown_above
from verify.check.proof import Layers, read_layers
from verify.check.tree import Forest
from verify.check.weighted import WEIGHTS
from verify.deadline import Deadline, check_time, deadline, within
from verify.errors import InputError, OutOfTime, UnsupportedMethod
from verify.exact.branch_and_bound import BranchAndBound, Search
from verify.exact.search.branching_choice import halves_boxes
from verify.exact.search.limits import Limits, free_memory
from verify.method import full_float32
from verify.problem import Problem
from verify.proof.certificate import Draft, problem_claim, property_claim
from verify.proof.export import exported, front_size
from verify.proof.input_tree_proof import InputTrees
from verify.proof.trees import searches
from verify.upper.duals.proof_log import ProofLog, SearchRecord
from verify.vnnlib import Property

MARGINS = (1.0, 8.0, 64.0)  # of the first margin, tried one after the other
ROUNDING = 1e-9  # the first margin at level R, relative to the values that rows are made of
SAFETY = 1.5  # of what float32 may add to the bounds of the whole sets, which is the first margin at level F
NO_TIME = "the time limit was reached before a proof was found"
AS_EXPORTED = "of the network as exported, not compared with the file"


@dataclass(frozen=True)
class ModelFile:
    """The model file that a problem's network came of, behind its front if it has one; the checker compares the two."""

    file: Path

    def as_json(self) -> dict[str, str]:
        """Name and sha256, as a certificate states them."""
        return {"name": self.file.name, "sha256": hashlib.sha256(self.read()).hexdigest()}

    def read(self) -> bytes:
        """Raises InputError where the file is gone."""
        try:
            return self.file.read_bytes()
        except OSError as problem:
            raise InputError(f"{self.file} cannot be read ({problem.strerror}); put it back") from None


@dataclass(frozen=True)
class Proof:
    """A certificate that the checker accepted, with its report; or None with the reason why there is none.

    Args:
        points: (cases, *shape) that seem to violate, which the search for a proof has met, or None.
        compared: whether the checker read the model file itself and found the same network.
        seconds: for finding it, beside the search that it came of; checking: those of the checker at the end.
    """

    certificate: bytes | None
    report: Report
    reason: str = ""
    compared: bool = False
    seconds: float = 0.0
    checking: float = 0.0
    points: Tensor | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        if self.certificate is None:
            return f"no certificate: {self.reason}"
        scope = "" if self.compared else f", {AS_EXPORTED}"
        scope += f" ({self.report.uncompared})" if self.report.uncompared else ""
        if not self.report.cases:
            return f"the claim is empty: no input is allowed{scope}"
        margins = ", ".join(f"{shown_above(value, 6)} at level {level}" for level, value in self.report.margins.items())
        return f"the checker bounds v* by {margins}{scope} ({self.seconds:.2f} s)"

    def payload(self) -> dict[str, object]:
        """As JSON: level, bytes and sha256 of the certificate, whether it was compared with the model file, margins by
        level (null for an empty claim), seconds."""
        size = 0 if self.certificate is None else len(self.certificate)
        digest = "" if self.certificate is None else hashlib.sha256(self.certificate).hexdigest()
        margins = {level: value if isfinite(value) else None for level, value in self.report.margins.items()}
        return {"level": self.report.level, "certified": self.certificate is not None, "compared": self.compared,
                "bytes": size, "sha256": digest, "margins": margins, "seconds": self.seconds, "checking": self.checking}


def prove(
    problem: Problem, prop: Property | None = None, level: str = "R", source: ModelFile | None = None,
    proof_log: ProofLog | None = None, seconds: float | None = None,
) -> Proof:
    """A certificate of one problem whose v* is negative.

    Args:
        problem: a batch of 1, merged or not, on any device.
        prop: the VNN-LIB file it came of, whose exact rationals are then claimed.
        level: "R" or "F".
        source: the model file, if it came of one; the checker compares the certificate with what it reads there.
        proof_log: of a search that verified it; what it lacks is searched again.
        seconds: for all of it, checking included, or None.

    Whatever fails on the way is the reason why there is no certificate. Sound because the checker accepts what it
    returns; trusts `verify.check` alone, and where `compared` is False that the network is that of the file. Raises
    InputError for another level or more than one problem.
    """
    if level not in ("R", "F") or problem.batch != 1:
        raise InputError(f"a certificate is of one problem at level R or F, not of {problem.batch} at level {level!r}")
    start = time.perf_counter()
    try:
        with torch.no_grad(), full_float32(), within(Deadline.after(seconds)):
            found = Prover(problem, prop, level, source).prove(proof_log)
    except (UnsupportedMethod, InputError) as refusal:
        found = Proof(None, Report(False, str(refusal), level), str(refusal))
    except Rejected as why:
        found = Proof(None, Report(False, str(why), level), f"the network cannot be certified: {why}")
    except OutOfTime:
        found = Proof(None, Report(False, NO_TIME, level), NO_TIME)
    except Exception as failure:  # a proof that fails must not take the verdict with it
        reason = f"the prover failed, please report it ({type(failure).__name__}: {failure})"
        found = Proof(None, Report(False, reason, level), reason)
    return replace(found, seconds=time.perf_counter() - start)


def first_margin(problem: Problem, prop: Property | None, level: str, seconds: float | None = None) -> float:
    """How far below 0 a search should close its parts so that they hold at this level; 0 at level R and where no
    certificate can be made, or not in so many seconds."""
    if level == "R":
        return 0.0
    try:
        with within(Deadline.after(seconds)):
            prover = Prover(problem, prop, level, None)
            prover.justify("backward")  # what float32 adds over interval boxes is many times what a search has to spare
            return prover.margin
    except Exception:  # which `prove` will meet again, and tell
        return 0.0


class Prover:
    """One proof in the making: the claim, the network as the checker reads it, and how its layers are bounded."""

    def __init__(self, problem: Problem, prop: Property | None, level: str, source: ModelFile | None):
        if level == "F" and problem.network.head is not None:
            raise UnsupportedMethod(f"level F does not cover the {problem.network.head} at the end of the network, "
                                    "whose float32 values may be equal where the logits are not; prove at level R, or "
                                    "leave that layer out")
        self.problem, self.level = problem.merged, level
        self.source = None if source is None else source.as_json()
        self.model = None if source is None else source.read()
        self.claim = problem_claim(problem) if prop is None else property_claim(prop)
        self.description, self.front = exported(problem.network), front_size(problem.network)
        self.kernel = Level(Arithmetic(), level == "F", check_time)
        self.network: Network = build(self.kernel.number, *self.description)
        inputs, outputs = self.network.entries(self.network.input), self.network.nodes[-1].entries
        self.levels = problem.inputs.levels if prop is None else None
        self.cases: tuple[Case, ...] = read_cases(self.claim, inputs, outputs, self.levels)
        self.points: Tensor | None = None  # that seem to violate
        self.justify("interval")

    def prove(self, proof_log: ProofLog | None) -> Proof:
        """Tries the margins one after the other, the first with the proof log at hand."""
        tasks, reason = self._unsearched(proof_log), ""
        try:
            proved = self._rules(tasks)
        except Rejected:  # of intervals, which may leave a domain or overflow where rows do not
            proved = {}
        if len(proved) < len(tasks) or (proof_log is not None and proof_log.records):
            self.justify("backward")
            proved = self._rules(tasks)
        for k, factor in enumerate(MARGINS):
            records = [] if proof_log is None or k else proof_log.records
            proof_log = ProofLog(records=records)
            reason = self._search(proof_log, proved, factor)
            if not reason:
                data, reason = self._assembled(proof_log, proved)
                if data is not None:
                    start = time.perf_counter()
                    report = check(data, self.level, model=self.model, tick=check_time)
                    if report.accepted:
                        compared = self.model is not None and not report.uncompared
                        return Proof(data, report, compared=compared, checking=time.perf_counter() - start)
                    reason = report.reason
            late = deadline().is_over
            if late or self.points is not None or not any(record.tracked for record in proof_log.records):
                break
        return Proof(None, Report(False, reason, self.level), reason, points=self.points)

    def justify(self, box: str) -> None:
        """Bounds all layers in one way from now on, "interval" or "backward"."""
        # rows through a front are many and long, and in small boxes of few parameters its intervals are small
        inner = "interval" if self.front and bool(halves_boxes(self.problem).all()) else None
        self.draft = Draft.of(self.description, self.claim, self.level, self.source, box, self.front, inner,
                              self.levels)
        self.layers: Layers = read_layers(self.draft.header["layers"], self.network)

    def _unsearched(self, proof_log: ProofLog | None) -> list[tuple[int, int]]:
        """The tasks of cases that no search has."""
        searched = set() if proof_log is None else {int(case) for record in proof_log.records for case in record.cases}
        return [(i, k) for i, case in enumerate(self.cases) if i not in searched for k in range(len(case.disjuncts))]

    def _rules(self, tasks: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
        """The tasks that the rules prove on their whole boxes, by one of their rows."""
        found = self._by_row(self.kernel, tasks)
        return {task: int(values.argmin()) for task, values in zip(tasks, found, strict=True) if values.min() < 0}

    def _by_row(self, level: Level, tasks: list[tuple[int, int]]) -> list[np.ndarray]:
        """Bounds of the rows of tasks on their whole boxes, (rows,) each."""
        counts = [len(self.cases[i].disjuncts[k].offset) for i, k in tasks]
        single = [task for task, count in zip(tasks, counts, strict=True) for _ in range(count)]
        weight = np.zeros((len(single), max(counts, default=0)), np.int64)
        weight[np.arange(len(single)), [r for count in counts for r in range(count)]] = WEIGHTS
        found = np.full(len(single), np.inf)
        for _, root, bounds in self.bounds(level, single, weight):
            found[root] = bounds
        return np.split(found, np.cumsum(counts)[:-1]) if counts else []

    def bounds(
        self, level: Level, tasks: list[tuple[int, int]], weight: np.ndarray,
        forest: Forest | None = None, nodes: np.ndarray | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """What the checker's rules give for these nodes of input trees, by default for the tasks' whole boxes, with
        these weights of rows, (nodes, width): (nodes, their roots, bounds), some at a time."""
        inputs = self.network.entries(self.network.input)
        forest = Forest(len(tasks), np.full(len(tasks), -1), np.zeros(0), inputs) if forest is None else forest
        nodes = np.arange(len(tasks)) if nodes is None else nodes
        cases = [self.cases[i] for i, _ in tasks]
        rows = [self.cases[i].disjuncts[k] for i, k in tasks]
        with np.errstate(all="ignore"):
            yield from input_leaves(self.network, level, self.layers, cases, rows, forest, nodes, weight)

    @cached_property
    def margin(self) -> float:
        """What float32 may add to the bounds of the whole sets, or a small share of their size."""
        tasks = [(i, 0) for i in range(len(self.cases))]
        if not tasks:
            return 0.0
        real, single = (np.concatenate(self._by_row(replace(self.kernel, single=f), tasks))
                        for f in (False, self.kernel.single))
        return ROUNDING * (1 + float(np.max(np.abs(real)))) + SAFETY * float(np.max(np.abs(single - real)))

    def _search(self, proof_log: ProofLog, proved: dict[tuple[int, int], int], factor: float) -> str:
        """Searches the cases that are neither proved nor in the proof log; why it did not get through, or ""."""
        known = {int(case) for record in proof_log.records for case in record.cases}
        left = [i for i, case in enumerate(self.cases)
                if i not in known and not all((i, k) in proved for k in range(len(case.disjuncts)))]
        if not left:
            return ""
        check_time()
        index = torch.tensor(left, device=self.problem.owner.device)
        part = ProofLog(factor * self.margin)
        limits = Limits.starting_now(None, None, free_memory(index.device) / 2)
        search = Search(self.problem.select(index), BranchAndBound(), limits, proof_log=part)
        search.split()
        for record in part.records:
            record.cases = index[record.cases]
            proof_log.records.append(record)
        if bool((search.incumbent.values >= 0).any()):
            self.points = self.problem.inputs.nominal().index_copy(0, index, search.incumbent.points)
            return "a point of the set violates the property, as far as floating point can tell: nothing to prove"
        return "" if bool((search.upper < 0).all()) else search.stopped or "the search found no proof"

    def _assembled(self, proof_log: ProofLog, proved: dict[tuple[int, int], int]) -> tuple[bytes | None, str]:
        """The certificate of all that is known, or the reason why it cannot be."""
        draft, rules = self.draft.copy(), SearchRecord(torch.arange(len(self.cases)))
        searched = {int(case) for record in proof_log.records for case in record.cases}
        pairs = [(i, k) for i, k in proved if i not in searched]
        tasks, rows = torch.tensor(pairs).long().reshape(-1, 2), torch.tensor([proved[pair] for pair in pairs]).long()
        width = max((len(self.cases[i].disjuncts[k].offset) for i, k in pairs), default=1)
        rules.weights.append((rules.begin(tasks[:, 0], tasks[:, 1]), torch.eye(width, dtype=torch.float64)[rows]))
        for record in (*proof_log.records, rules):
            numbers = record.cases.cpu().numpy()
            if record.tracked is not None:
                draft.header["searches"] += searches(draft, record, numbers)
            elif len(record.root):
                trees = InputTrees(self, record, numbers)
                reason = trees.grow()
                if reason:
                    return None, reason
                draft.header["boxes"].append(trees.put(draft))
        return draft.bytes(), ""
