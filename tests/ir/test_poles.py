"""Factors that cancel but for their poles: where the model has no value, nothing is verified."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import verify
from tests.support.torch_cases import Function
from verify.sets import Box

POLE = 0.3125  # which a guard's points do not meet
CANCELLING: dict[str, Callable[[Tensor], Tensor]] = {
    "a quotient by itself": lambda z: z / z, "a square by its root": lambda z: z * z / z,
    "a cube by a square": lambda z: z * z * z / (z * z), "a power of a reciprocal": lambda z: z**-2 * z**3,
    "the reciprocal of a reciprocal": lambda z: 1 / (1 / z), "what does not cancel": lambda z: z / z**2,
}


@pytest.mark.parametrize("name", CANCELLING)
def test_a_pole_that_cancels_stays_one(name: str) -> None:
    module = Function(lambda x: torch.cat([CANCELLING[name](x - POLE), 0 * x + 100], 1))
    network = verify.trace(module, torch.full((1, 1), 0.75))
    for low, high, is_met in (("0.25", "0.5", True), ("0.4", "0.75", False)):
        problem = verify.robustness(network, torch.tensor([[float(low)]]), [1], eps=0, clip=None)
        box = Box(torch.tensor([[float(low)]]), torch.tensor([[float(high)]]))
        problem = verify.Problem(network, box, problem.spec, problem.owner, 1)
        for method in (verify.Interval(), verify.CROWN(), verify.BranchAndBound(domains=20)):
            found = verify.solve(problem, method)
            assert (found.verdicts == [verify.Verdict.VERIFIED]) != is_met, method
