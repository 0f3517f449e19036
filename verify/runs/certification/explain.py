"""Why a sample of a run is as it is: its bound before any split, what blocks it, and what to try next at what cost."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log2, prod
from pathlib import Path
from typing import Any

import torch

from verify.bracket import Verdict
from verify.deadline import Deadline, within
from verify.errors import InputError
from verify.exact.branch_and_bound import BranchAndBound
from verify.exact.search.branching import costs
from verify.exact.search.neuron_split import ROOT_STEPS
from verify.exact.search.tasks import Tasks
from verify.goals import Goal
from verify.ir.unfold import has_maxima, unfold_maxima
from verify.lower.pgd import PGD
from verify.method import full_float32
from verify.ops.base import Nonlinear
from verify.problem import Problem
from verify.registry import METHODS
from verify.runs.certification.outcome import CLEAN
from verify.runs.certification.session import Session, prepare
from verify.runs.engine.store import Store
from verify.runs.request import CertifyRequest
from verify.solving import solve
from verify.upper.duals.descent import optimise
from verify.upper.duals.root_bounds import Root

RESTARTS = 20  # of the attack
FIRST = 0.25  # of the seconds of the search that is made to see how fast the bound falls, the first part
LONG = 30 * 86400.0  # seconds that count as never


@dataclass(frozen=True)
class Layer:
    """A nonlinear layer: its neurons, how many are unstable over the whole set, and its share of what the relaxation
    adds to the bound of the worst class, as far as the errors at the point where the bound is attained tell."""

    name: str
    neurons: int
    unstable: int
    share: float


@dataclass(frozen=True)
class SearchEstimate:
    """A short branch and bound: what it came to, and the seconds after which it would end at that rate (inf: never)."""

    seconds: float
    domains: int
    upper: float
    verdict: Verdict
    estimate: float


@dataclass(frozen=True)
class Explanation:
    """What there is to say of one sample at one radius.

    Args:
        title: what was asked of the run.
        record: the sample's result as the store has it.
        attack: the largest violation that a long attack finds; attacked: the class that it reaches, if outputs are
            classes.
        root: the bound with optimised slopes before any split; classes: the wrong classes with their bounds, worst
            first, or the outputs that leave a range, in words.
        layers: in the order of the network.
        search: a short branch and bound, or None where the sample is decided.
        advice: what to try next.
    """

    title: str
    record: dict[str, Any]
    attack: float
    attacked: int | None
    root: float
    classes: list[tuple[int | str, float]]
    layers: list[Layer]
    search: SearchEstimate | None
    advice: list[str]


def explain(run: Path, sample: int, eps: str | None = None, seconds: float = 8.0) -> Explanation:
    """Explains a sample of a `certify` run.

    Args:
        run: its folder. sample: a number of the data set.
        eps: one of the run's radii; may be left out where there is one only.
        seconds: for the bound before any split, and for the search that tells how fast it falls.

    Raises InputError where the run has no such result, and where its model or data have changed or cannot be read.
    """
    with Store.read(run) as store:
        config, request = store.config, store.sessions[-1]["request"]
        if (command := config.get("command")) != "certify":
            raise InputError(f"{run} is a run of verify {command}, not of verify certify; name one of that")
        radius = _radius(config["eps"], eps)
        record = store.get(f"sample/{sample}/{radius}")
    if record is None:
        raise InputError(f"run {run} has no result for sample {sample}; it has {config['samples']} samples, and those "
                         "that were not reached are added with --resume")
    session = _session(run, request, config)
    problem = session.cascade.problems[radius].select(torch.tensor([sample]).to(session.cascade.device))
    with torch.no_grad(), full_float32():
        attack, attacked = _attack(problem, session.cascade.goal)
        if record["lower"] is not None and record["lower"] > attack:
            attack, attacked = record["lower"], record.get("attacked", attacked)
        bounds, layers = _blocked(problem, seconds)
    names = session.cascade.goal.rows(record["label"], problem.network.outputs)
    classes = sorted(zip(names, bounds, strict=True), key=lambda row: -row[1])
    open_here = record["verdict"] == Verdict.UNKNOWN
    search = _searched(problem, seconds) if open_here else None
    untried = [name for name in METHODS if name not in config["methods"]]
    advice = _advice(record, attack, classes[0][1], search, untried)
    title = f"sample {sample} at eps {session.spelled[radius]}: {session.title}"
    return Explanation(title, record, attack, attacked, classes[0][1], classes, layers, search, advice)


def _radius(radii: list[str], eps: str | None) -> str:
    if eps is None and len(radii) > 1:
        raise InputError(f"the run has the radii {', '.join(radii)}; choose one with --eps")
    if eps is not None and eps not in radii:
        raise InputError(f"the run has no radius {eps}; choose among {', '.join(radii)}")
    return eps or radii[0]


def _session(run: Path, request: dict[str, Any], config: dict[str, Any]) -> Session:
    """What the user asked when the run was last continued; the same model and data."""
    proofs = request.get("proofs")
    session = prepare(CertifyRequest(**{**request, "proofs": None if proofs is None else Path(proofs)}))
    for name in ("model", "data"):
        if session.config[name] != config[name]:
            raise InputError(f"the {name} of run {run} has changed since; restore {request[name]}")
    return session


def _attack(problem: Problem, goal: Goal) -> tuple[float, int | None]:
    """(largest violation found, class reached) of a long attack."""
    bracket = solve(problem, PGD(restarts=RESTARTS, stop_when_falsified=False))
    point = problem.inputs.nominal() if bracket.witness is None else bracket.witness
    return float(bracket.lower[0]), goal.classes(problem.network(point))[0]


def _blocked(problem: Problem, seconds: float) -> tuple[list[float], list[Layer]]:
    """(bounds of the rows, layers) at the root, whose neurons are bounded for so long."""
    merged, original = problem.merged, problem.network.graph
    if has_maxima(merged.network):
        merged = Problem(unfold_maxima(merged.network), merged.inputs, merged.spec, merged.owner, merged.batch)
    with within(Deadline.after(seconds)):
        root = Root.of(merged)
    tasks = Tasks(root.problem)
    every = torch.arange(len(tasks.case), device=problem.owner.device)
    objective, offset = tasks.objective(every, tasks.equal_shares())
    optimised = optimise(root.dual, objective, root.stage.domains.take(torch.zeros_like(every)), ROOT_STEPS)
    bounds = (optimised.bound - offset).tolist()
    error = costs(root.dual, optimised)[1][bounds.index(max(bounds))]
    unstable = root.dual.unstable(root.stage.domains.low, root.stage.domains.high)[0]
    total, layers = float(error.sum()) or 1.0, []
    sizes = {node.name: prod(node.shape) for node in merged.network.graph.nodes if isinstance(node.op, Nonlinear)}
    sizes |= {node.name: prod(node.shape) for node in original.nodes if node.name in sizes}
    for name, neurons in sizes.items():
        activation = root.dual.layers.get(name)
        here = slice(0, 0) if activation is None else activation.span
        layers.append(Layer(name, neurons, int(unstable[here].sum()), float(error[here].sum()) / total))
    return bounds, layers


def _searched(problem: Problem, seconds: float) -> SearchEstimate:
    """Two searches, a short and a longer one: the bound falls by about as much with every doubling of the domains."""
    points, spent = [], 0.0
    for part in (FIRST * seconds, (1 - FIRST) * seconds):
        bracket = solve(problem, BranchAndBound(time_limit=part))
        domains, upper = bracket.notes["domains"], float(bracket.upper[0])
        assert isinstance(domains, int)
        points.append((domains, upper))
        spent = bracket.notes["seconds"]
        if bracket.verdicts[0] is not Verdict.UNKNOWN:
            break
    verdict = bracket.verdicts[0]
    assert isinstance(spent, float)
    (first, before), (last, upper) = points[0], points[-1]
    estimate = spent
    if verdict is Verdict.UNKNOWN:
        fall = (before - upper) / max(log2(max(last, 2) / max(first, 1)), 1e-9)
        doublings = upper / fall if fall > 0 else inf
        estimate = spent * 2.0**doublings if doublings < 60 else inf
    return SearchEstimate(spent, last, upper, verdict, estimate)


def _advice(
    record: dict[str, Any], attack: float, root: float, search: SearchEstimate | None, untried: list[str]
) -> list[str]:
    """What to try next, the most promising first."""
    if record["verdict"] == Verdict.FALSIFIED:
        if record["method"] == CLEAN:
            return ["it is misclassified without any perturbation; no method can certify it"]
        return ["it is falsified: there is nothing to try; a smaller eps may hold, see verify radius"]
    if record["verdict"] in (Verdict.VERIFIED, Verdict.CERTIFIED):
        return ["it is proved: there is nothing to try"]
    if attack >= 0:
        return [f"a longer attack falsifies it (violation {attack:.4g}); run again with more methods before bab"]
    assert search is not None
    advice = []
    if root < 0 and "alpha" in untried:
        advice.append("the bound with optimised slopes proves it: add alpha")
    if search.verdict is not Verdict.UNKNOWN:
        advice.append(f"branch and bound decides it in {search.seconds:.1f} s: {search.verdict}; add bab, or a longer "
                      "--timeout")
    elif search.estimate < LONG:
        advice.append(f"branch and bound at this rate needs about {_duration(search.estimate)}: --timeout "
                      f"{2 * search.estimate:.0f}, with bab last")
    else:
        advice.append("branch and bound will not close it at this rate; the bounds are too loose for this eps")
    if "milp" in untried and search.verdict is Verdict.UNKNOWN:
        advice.append("milp may close what branch and bound does not where few neurons are unstable; its time cannot "
                      "be told beforehand")
    if search.estimate >= LONG:
        advice.append("train against bounds (verify train), or ask for a smaller eps (verify radius says which)")
    return advice


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
