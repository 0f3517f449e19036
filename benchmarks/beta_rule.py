"""Bounds of split domains by our descent beside those under beta-CROWN's rule (Wang et al. 2021), on one kernel.

Both start from the same ranges and the same inherited duals. The rule: Adam with rates 0.05 for multipliers and 0.01
or 0.1 for slopes that fade by 0.98 a step, the best of 20 bounds. It is that rule and not its authors' code.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from verify.exact.search.neuron_split import STEPS, Batch, NeuronSplit
from verify.upper.duals.descent import optimise
from verify.upper.duals.domains import Domains, Objective
from verify.upper.duals.dual import Dual, RelaxedDomains

RIVAL_STEPS, RIVAL_RATES, RIVAL_PRESS, RIVAL_FADE = 20, (0.01, 0.1), 0.05, 0.98
T = TypeVar("T")
PARENTS = 256  # domains whose parts are compared


def timed(call: Callable[[], T], device: str) -> tuple[T, float]:
    """What a call returns, and its wall time, the device's work included."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    out = call()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return out, time.perf_counter() - start


def parts_of(frontier: NeuronSplit, count: int) -> Batch:
    """Both parts of the worst open domains, split where the search would look first."""
    pool, places = frontier.pool, frontier.pool.worst(count)
    task, share, *duals, tracked = (part[places] for part in pool.parts)
    batch = Batch(task, share, Domains(frontier.tasks.case[task], *duals), torch.zeros_like(task))
    return frontier._children(batch, torch.arange(len(task), device=task.device), tracked[:, 0])


def rival(frontier: NeuronSplit, objective: Objective, domains: Domains, split: Tensor, rate: float) -> Tensor:
    """The least bounds (rows,) met by beta-CROWN's rule with this rate for slopes."""
    relaxed = RelaxedDomains(frontier.root.dual, domains)
    slope, press = domains.slope.clamp(relaxed.least, relaxed.most), domains.multiplier.clone()
    raised = domains.low > frontier.range.low[domains.owner]  # upper parts, whose multipliers are those of their low
    end, best = torch.where(raised, relaxed.low, relaxed.high), torch.full_like(relaxed.low[:, 0], torch.inf)
    adam = torch.optim.Adam([{"params": [slope], "lr": rate}, {"params": [press], "lr": RIVAL_PRESS}])
    fade = torch.optim.lr_scheduler.ExponentialLR(adam, RIVAL_FADE)
    for _ in range(RIVAL_STEPS):
        pulled = relaxed.pull(objective, slope, press)
        best = best.minimum(pulled.bound)
        z = relaxed.primal(objective, pulled).z
        slope.grad, press.grad = (z - relaxed.breakpoint) * pulled.free, (z - end) * split
        adam.step()
        fade.step()
        slope.copy_(slope.clamp(relaxed.least, relaxed.most))
        press.copy_(torch.where(raised, press.clamp(min=0), press.clamp(max=0)))
    return best


def compare(frontier: NeuronSplit, device: str) -> None:
    """Prints mean bounds and seconds of our steps and of the rule's on both parts of the worst open domains."""
    batch = parts_of(frontier, PARENTS)
    (objective, offset), domains = frontier.tasks.objective(batch.task, batch.share), batch.domains
    split, dual = frontier._narrowed(domains), frontier.root.dual
    calls: dict[str, Callable[[], Tensor]] = {}
    for steps in (1, STEPS, 10, RIVAL_STEPS):
        calls[f"ours, {steps} steps"] = partial(_ours, dual, objective, domains, steps, split)
    for rate in RIVAL_RATES:
        calls[f"Adam {rate:g}, {RIVAL_STEPS} steps"] = partial(rival, frontier, objective, domains, split, rate)
    for name, call in calls.items():
        bound, spent = timed(call, device)
        print(f"  {name:20} mean bound {float((bound - offset).mean()):.5f}  {spent:.3f} s, {len(offset)} domains")


def _ours(dual: Dual, objective: Objective, domains: Domains, steps: int, split: Tensor) -> Tensor:
    return optimise(dual, objective, domains, steps, split=split).bound

