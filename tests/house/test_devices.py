"""Methods off the CPU: all that they make lies where the problem does, on a device that is only pretended."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest
import torch

import verify
from tests.support.pretend import DEVICE, pretending
from tests.support.small_nets import NETWORKS, problem
from verify.exact.branch_and_bound import BranchAndBound, Goal
from verify.exact.search import input_split, neuron_split
from verify.exact.search.branching_choice import FEW
from verify.exact.search.open_domains import OpenDomains
from verify.ir.rewrite import simplify
from verify.method import Answer, Method
from verify.problem import Problem
from verify.solving import solve

CONVOLUTIONS: Any = getattr(torch.backends.cudnn, "conv", None)


def same_off_the_cpu(here: Problem, method: Method) -> None:
    """Asserts that a method finds the same on the pretended device as on the CPU."""
    found = solve(here, method)
    with pretending():
        there = solve(here.to(DEVICE), method)
        sides = there.lower.cpu(), there.upper.cpu()
        assert there.lower.device == there.upper.device == DEVICE
    torch.testing.assert_close(sides, (found.lower, found.upper), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("goal", "kind"), [("decide", "conjunctive"), ("optimum", "untargeted")])
@pytest.mark.parametrize("few", [0, FEW], ids=["neurons", "inputs"])
@pytest.mark.parametrize("name", ["relu", "clip", "residual", "conv", "maxpool"])
def test_a_search_stays_on_its_device(name: str, few: int, kind: str, goal: Goal, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("verify.exact.search.branching_choice.FEW", few)
    monkeypatch.setitem(neuron_split.FLOATS, DEVICE.type, neuron_split.FLOATS["cpu"])
    monkeypatch.setitem(input_split.BATCH, DEVICE.type, input_split.BATCH["cpu"])
    same_off_the_cpu(problem(NETWORKS[name](7), kind, 11), BranchAndBound(goal=goal, domains=20))


QUICK = [verify.Interval(), verify.CROWN(), verify.AlphaCROWN(), verify.PGD(5, 4)]
PROGRAMS = [verify.LP(), verify.MILP()]  # which are solved on the CPU wherever the problem lies


@pytest.mark.parametrize(("method", "kind"), [
    *product(QUICK, ["untargeted", "conjunctive", "polytope"]), *product(PROGRAMS, ["untargeted"]),
], ids=lambda given: getattr(given, "name", given))
def test_a_method_stays_on_its_device(method: Method, kind: str):
    same_off_the_cpu(problem(NETWORKS["conv"](7), kind, 11), method)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_balls_move(norm: str):
    x = torch.rand((2, 1, 3, 3), generator=torch.Generator().manual_seed(0))
    same_off_the_cpu(verify.robustness(NETWORKS["conv"](7), x, [0, 1], "0.3", norm), verify.AlphaCROWN())


def test_a_simplified_network_moves_with_what_it_came_of():
    same_off_the_cpu(problem(simplify(NETWORKS["conv"](7)), "untargeted", 11), verify.CROWN())


def test_the_pretended_device_refuses_a_mixture():
    with pretending(), pytest.raises(RuntimeError, match="mixes tensors"):
        torch.cat([torch.zeros(2, device=DEVICE), torch.zeros(2)])


@dataclass(frozen=True)
class Spy:
    """A method that notes how float32 numbers are multiplied."""

    name: str = "Spy"
    seen: list[str] = field(default_factory=list)

    def answer(self, problem: Problem) -> Answer:
        self.seen.append(CONVOLUTIONS.fp32_precision)
        return Answer(points=problem.inputs.nominal())


@pytest.mark.skipif(CONVOLUTIONS is None, reason="torch before 2.9 has another name for it")
def test_methods_multiply_in_full_precision():
    before, spy = CONVOLUTIONS.fp32_precision, Spy()
    solve(problem(NETWORKS["conv"](7), "untargeted", 11), spy)
    assert spy.seen == ["ieee"]
    assert CONVOLUTIONS.fp32_precision == before


def test_a_pool_that_cannot_grow_stays_as_it_was():
    class Full(torch.Tensor):
        def new_empty(self, *args, **kwargs):
            raise torch.OutOfMemoryError

    pool = OpenDomains([torch.zeros(1, 2)])
    pool.put(torch.zeros(1, dtype=torch.float64), [torch.ones(1, 2)])
    pool.parts[:] = [pool.parts[0].as_subclass(Full)]
    with pytest.raises(torch.OutOfMemoryError):
        pool.put(torch.zeros(4, dtype=torch.float64), [torch.ones(4, 2)])
    assert len(pool) == len(pool.filled()) == len(pool.parts[0]) == 1
