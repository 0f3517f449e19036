"""What the tests of the commands share: a small model, its data, and how a call is made."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from verify.cli.main import run
from verify.method import Answer
from verify.problem import Problem

# x in [0, 1]^2, y = (x0 + x1, relu(x0 - x1) + 0.75): class 0 iff x0 + x1 is larger
WEIGHTS = {
    "A": np.array([[1, 1], [1, -1]], np.float32), "a": np.array([0, 0], np.float32),
    "B": np.array([[1, 0], [0, 1]], np.float32), "b": np.array([0, 0.75], np.float32),
}
X = np.array([[0.9, 0.9], [0.2, 0.1], [0.5, 0.4], [0.9, 0.8]], np.float32)
Y = np.array([0, 1, 0, 1])  # the last one is wrong


def onnx_file(path: Path, weights: dict[str, np.ndarray] = WEIGHTS, activation: str = "Relu") -> Path:
    """The two-layer network of these weights."""
    nodes = [
        helper.make_node("Gemm", ["X", "A", "a"], ["z"], transB=1), helper.make_node(activation, ["z"], ["r"]),
        helper.make_node("Gemm", ["r", "B", "b"], ["Y"], transB=1),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("X", "Y")]
    held = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def property_file(path: Path, *claims: str, low: str = "0", high: str = "1") -> Path:
    """Boxes on both inputs and these claims."""
    declared = [f"(declare-const {name} Real)" for name in ("X_0", "X_1", "Y_0", "Y_1")]
    boxes = [f"(assert (>= X_{i} {low}))\n(assert (<= X_{i} {high}))" for i in range(2)]
    path.write_text("\n".join([*declared, *boxes, *(f"(assert {claim})" for claim in claims)]))
    return path



def certify(*more: str, eps: str = "1/100", methods: str = "interval", data: str = "data.npz") -> int:
    return run(["certify", "net.onnx", "--data", data, "--eps", eps, "--methods", methods, *more])


def counts_of(captured: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The counts of the one radius in the JSON on stdout."""
    (found,) = json.loads(captured.readouterr().out)["radii"].values()
    return found


def error_of(captured: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr; stdout is empty and there is no traceback."""
    out, err = captured.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: [^\n]+\n", err), err
    return err


@dataclass(frozen=True)
class Fake:
    """A method that answers as told; stands in for a dear one."""

    answers: Answer | Exception
    name: str = "milp"

    def make(self, seconds: float | None) -> Fake:
        return self

    batched, spread, defaults = False, "", ()  # as of an entry

    def answer(self, problem: Problem) -> Answer:
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers
