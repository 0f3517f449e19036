"""Real certificates, small ones of every kind, whose claims are nearly false."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import pairwise
from unittest.mock import patch

import torch

import verify
from tests.support.certificates import Parts
from tests.support.small_nets import NETWORKS, bilinear, box_around, dense, maxout, problem
from verify.exact.search.neuron_split import NeuronSplit
from verify.ir.builder import GraphBuilder
from verify.ir.front import normalized
from verify.ir.graph import Network
from verify.ops import Linear, ReLU, RoundToEven, Tanh
from verify.problem import Problem
from verify.proof.prover import prove
from verify.sets import Box
from verify.upper.duals.proof_log import ProofLog


@dataclass(frozen=True)
class Base:
    """A network of `small_nets` and a problem over it, each of a seed, and how its certificate is found."""

    make: Callable[[int], Network]
    spec: str
    seed: int
    neurons: bool = True
    level: str = "R"
    margin: float = 0.01
    radius: float = 3.0


def four(seed: int) -> Network:
    return dense(ReLU(), (3, 4, 4, 3), seed)


def thin(seed: int) -> Network:
    return dense(ReLU(), (2, 3, 3, 3, 3), seed)


def normal(seed: int) -> Network:
    return normalized(four(seed), [Fraction(1307, 10000)], [Fraction(3081, 10000)])


def stepped(seed: int) -> Network:
    """Three dense layers with the rounded values of four neurons and the ReLU of three more between them."""
    rng, b = torch.Generator().manual_seed(seed), GraphBuilder("x", (2,))
    sizes, at = (2, 4, 3, 3), "x"
    for k, (n, m) in enumerate(pairwise(sizes)):
        weight = b.parameter(f"w{k}", torch.randn(m, n, generator=rng) * 2)
        at = b.add(f"map{k}", Linear(), (at,), (weight, b.parameter(f"b{k}", torch.randn(m, generator=rng))))
        at = at if k == 2 else b.add(f"step{k}", (RoundToEven(), ReLU())[k], (at,))
    return b.finish(at)


KINDS = {
    "boxes": Base(four, "untargeted", 1, False), "boxes F": Base(thin, "conjunctive", 2, False, "F", 0.05),
    "search": Base(four, "untargeted", 1), "search F": Base(four, "untargeted", 0, True, "F"),
    "rows": Base(four, "conjunctive", 5), "leaky": Base(NETWORKS["leaky"], "conjunctive", 5),
    "residual": Base(NETWORKS["residual"], "conjunctive", 3),
    "conv": Base(NETWORKS["conv"], "untargeted", 0, True, "F"),
    "max": Base(NETWORKS["maxpool"], "untargeted", 3, False, radius=1.0),
    "max search": Base(maxout, "untargeted", 5),
    "front F": Base(normal, "untargeted", 2, True, "F", radius=0.3),
    "smooth": Base(lambda seed: dense(Tanh(), (2, 3, 3), seed), "untargeted", 1, False, margin=0.02, radius=2.0),
    "smooth search": Base(lambda seed: dense(Tanh(), (3, 4, 4, 3), seed), "untargeted", 1, margin=0.05, radius=0.5),
    "product search": Base(bilinear, "untargeted", 2, margin=0.1, radius=0.6),
    "jump search": Base(stepped, "untargeted", 2, margin=0.05, radius=1.0),
    "tiny": Base(lambda seed: dense(ReLU(), (2, 3, 3, 3), seed), "untargeted", 3, False),
}


@cache
def base(kind: str) -> Parts:
    """The certificate of a problem whose v* is a small share below 0; two cases where it is of a conjunction."""
    given = KINDS[kind]
    network = given.make(given.seed)
    asked = problem(network, given.spec, given.seed)
    wide = replace(asked, inputs=Box(*box_around(network, given.seed, given.radius)))
    tight = near(wide, given.margin, 2 if given.spec == "conjunctive" else 1)
    return Parts.of(certified(tight, given.level, given.neurons))


def near(given: Problem, margin: float, cases: int = 1) -> Problem:
    """The problem with its offsets moved until v* is -margin, repeated so many times as cases of one problem."""
    top = float(verify.solve(given, verify.BranchAndBound(goal="optimum", gap=1e-4, time_limit=600)).upper)
    moved = replace(given, spec=replace(given.spec, offset=given.spec.offset + (top + margin * (1 + abs(top)))))
    every = torch.zeros(cases, dtype=torch.long)
    return Problem(moved.network, moved.inputs.select(every), moved.spec.select(every), every, 1)


def certified(given: Problem, level: str, neurons: bool) -> bytes:
    """A certificate of trees over neurons, or of what the search chooses; never of boxes alone where that fails."""
    proof_log = ProofLog()
    with patch("verify.exact.branch_and_bound.frontier_of", _neurons if neurons else _chosen):
        verify.solve(given, verify.BranchAndBound(time_limit=600), proof_log=proof_log)
        found = prove(given, level=level, proof_log=proof_log)
    assert found.certificate is not None, found.reason
    return found.certificate


def _neurons(given: Problem, cutoff: torch.Tensor, limits: object, record: object) -> object:
    return NeuronSplit(given, cutoff, limits, record)  # type: ignore[arg-type]


def _chosen(given: Problem, cutoff: torch.Tensor, limits: object, record: object) -> object:
    from verify.exact.search.branching_choice import frontier_of

    return frontier_of(given, cutoff, limits, record)  # type: ignore[arg-type]
