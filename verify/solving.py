"""`solve`: the shell around every method. It asks for candidates and bounds, and believes neither.

Methods search on the merged network; points are projected into their set, checked for exact membership and evaluated
by the network as it was read, in its own precision and in float64. Bounds that are not numbers count as no bound; the
two sides must not cross. Before a problem counts as verified the network is held against what it was read from.
"""

from __future__ import annotations

import time
from typing import cast

import torch
from torch import Tensor

from verify.bracket import Bracket, Rigour, Side
from verify.deadline import Deadline, within
from verify.errors import LATE, InputError, OutOfTime, UnsupportedMethod
from verify.ir.guard import compare, points_for
from verify.method import Answer, Logged, Method, full_float32
from verify.problem import Problem
from verify.registry import METHODS, entry_of
from verify.upper.duals.proof_log import ProofLog
from verify.upper.interval import least_violation

SEED = 0  # of the points on which a network is held against what it was read from


def solve(
    problem: Problem, method: Method, time_limit: float | None = None, proof_log: ProofLog | None = None
) -> Bracket:
    """The bracket lower <= v* <= upper that one method gives, one entry a problem of the batch.

    Args:
        time_limit: seconds for all problems of the batch together, or None. What the method has found by then is kept,
            and `notes["stopped"]` says that it had no time for more.
        proof_log: is told what a proof of the answer needs, see `verify.prove`; of a method that keeps one.

    Raises Contradiction where the method's own two sides cross, InputError for anything but a problem and a method's
    value, and where a problem would be verified of a network that is not what its file holds (see `verify.ir.guard`).
    Of a network that is only executed (`Network.refusal`) a method that bounds raises UnsupportedMethod, so nothing of
    it is verified; `notes["refused"]` says why. `notes["seconds"]` is the wall time.
    """
    if not isinstance(problem, Problem):
        raise InputError(f"solve takes a problem, not a {type(problem).__name__}; make one with verify.robustness")
    if isinstance(method, type) or not isinstance(method, Method):
        raise InputError(f"solve takes a method's value, not {method!r:.60}; write for example verify.CROWN()")
    if proof_log is not None and not ((entry := entry_of(method)) and entry.proof_log):
        able = ", ".join(entry.cls for entry in METHODS.values() if entry.proof_log)
        raise InputError(f"{method.name} keeps no proof log; choose among {able}")
    refusal, entry = problem.network.refusal, entry_of(method)
    if refusal and entry is not None and entry.family != "lower":
        raise UnsupportedMethod(f"{method.name} needs the graph of the network, but {refusal}")
    start = time.perf_counter()
    with torch.no_grad(), full_float32():
        if problem.cases == 0:
            nothing = torch.full((problem.batch,), -torch.inf, dtype=problem.network.dtype, device=problem.owner.device)
            return Bracket(nothing, nothing, above=Side(method.name, Rigour.PROVED), notes={"seconds": 0.0})
        answer = _answer(problem, method, Deadline.after(time_limit), proof_log)
        if refusal and answer.upper is not None:
            raise UnsupportedMethod(f"{method.name} gives bounds that nothing can support, since {refusal}")
        lower, witness, rounding = _replay(problem, answer.points)
        upper = torch.full_like(lower, torch.inf) if answer.upper is None else _upper(problem, answer.upper, lower)
        trusts = "; ".join(filter(None, (answer.trusts, beside_its_source(problem, upper < 0))))
    bracket = Bracket(
        lower,
        upper,
        witness,
        rounding=rounding,
        below=None if witness is None else Side(method.name, Rigour.FLOAT, "F", "the network's float evaluation"),
        above=None if answer.upper is None else Side(method.name, answer.rigour, "R", trusts),
        notes={**answer.notes, **({"refused": refusal} if refusal else {}), "seconds": time.perf_counter() - start},
        marks=problem.marks,
    )
    return bracket.check({"problem": problem, "method": method})


def _answer(problem: Problem, method: Method, limit: Deadline, proof_log: ProofLog | None) -> Answer:
    """The method's answer, an empty one where the time is over before it has any."""
    try:
        with within(limit):
            if proof_log is None:
                return method.answer(problem.merged)
            return cast(Logged, method).answer(problem.merged, proof_log)
    except OutOfTime:
        return Answer(notes={"stopped": LATE})


def _upper(problem: Problem, bounds: Tensor, like: Tensor) -> Tensor:
    """Upper bounds of the problems (batch,) in the dtype of `like`, rounded up, from those of their cases."""
    head = problem.network.head
    upper = problem.reduce(bounds if head is None else head.above(problem.spec, bounds))
    near = upper.to(like)
    return torch.where(near.to(upper) < upper, torch.nextafter(near, torch.full_like(near, torch.inf)), near)


def _replay(problem: Problem, points: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(lower (batch,), witness (batch, *shape), rounding (batch,)): the best member of each problem's sets among the
    candidates, and how far its violation in real arithmetic may lie below `lower`.

    A point counts only if it is exactly a member after projection; without one, lower is -inf.
    """
    if points is None:
        return torch.full_like(problem.reduce(problem.owner.to(problem.network.dtype)), -torch.inf), None, None
    if points.dim() == len(problem.inputs.shape) + 1:
        points = points.unsqueeze(1)
    value = torch.full((problem.cases,), -torch.inf, dtype=problem.network.dtype, device=problem.network.device)
    best = points[:, 0].clone()
    for i in range(points.shape[1]):
        x = problem.inputs.project(points[:, i].to(best.dtype))
        found = problem.replayed(x)
        found = torch.where(found.isnan() | ~problem.inputs.contains(x), -torch.inf, found)
        better = found > value
        value = torch.where(better, found, value)
        best[better] = x[better]
    lower = problem.reduce(value)
    winner = _winners(problem, value, lower)
    if problem.network.refusal:
        return lower, best[winner], None  # what the model gives as executed is all that is known of it
    chosen = problem.select(winner)
    exact = least_violation(chosen, *chosen.inputs.origins(best[winner]))
    exact = exact if problem.network.head is None else problem.network.head.below(chosen.spec, exact)
    return lower, best[winner], (lower.double() - exact).clamp(min=0).nan_to_num(torch.inf)


def _winners(problem: Problem, value: Tensor, lower: Tensor) -> Tensor:
    """The first case of each problem that attains its lower bound, (batch,) long."""
    attains = value == lower[problem.owner]
    places = torch.arange(problem.cases, device=value.device)
    last = torch.full((problem.batch,), problem.cases - 1, dtype=torch.long, device=value.device)
    return last.scatter_reduce(0, problem.owner, torch.where(attains, places, problem.cases - 1), "amin")


def beside_its_source(problem: Problem, verified: Tensor) -> str:
    """Compares the network with what it was read from on corners and other points of sets that are verified, a dozen in
    all; why that was not possible, or "". Raises InputError where the two differ."""
    network = problem.network.unmerged or problem.network
    cases = verified[problem.owner].nonzero().flatten()
    if network.source is None or not len(cases):
        return ""
    count = points_for(network)
    share = torch.rand(count, *network.input_shape, generator=torch.Generator().manual_seed(SEED))
    share[1::2] = share[1::2].round()  # corners
    share[:2] = torch.arange(2).reshape(2, *[1] * (share.ndim - 1))
    chosen = cases[torch.linspace(0, len(cases) - 1, count, device=cases.device).long()]
    return compare(network, problem.inputs.select(chosen).place(share.to(cases.device)))
