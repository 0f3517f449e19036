"""Files that onnxruntime opens and that cannot be compared end in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from verify.errors import InputError
from verify.ir.original import Original


def saved(folder: Path, nodes: list[Any], inputs: int = 1, kind: int = TensorProto.FLOAT) -> Original:
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])][:inputs]
    graph = helper.make_graph(nodes, "g", given, [helper.make_tensor_value_info("y", kind, None)])
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return Original(path)


def test_other_counts_of_outputs_for_several_inputs(tmp_path: Path) -> None:
    """The product with its own transposed has as many numbers as pairs of samples."""
    nodes = [helper.make_node("Transpose", ["x"], ["t"]), helper.make_node("MatMul", ["x", "t"], ["y"])]
    model = saved(tmp_path, nodes)
    assert model.outputs(np.array([[1.0, 2.0]])).tolist() == [[5.0]]
    with pytest.raises(InputError, match="gives 9 numbers for 3 inputs and 1 for one"):
        model.outputs(np.ones((4, 2)))


def test_outputs_that_are_no_numbers(tmp_path: Path) -> None:
    model = saved(tmp_path, [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.STRING)], kind=TensorProto.STRING)
    with pytest.raises(InputError, match="holds no numbers"):
        model(np.ones(2))


def test_a_file_without_an_input(tmp_path: Path) -> None:
    constant = helper.make_tensor("c", TensorProto.FLOAT, [2], [1.0, 2.0])
    model = saved(tmp_path, [helper.make_node("Constant", [], ["y"], value=constant)], inputs=0)
    with pytest.raises(InputError, match="it has no input"):
        model(np.ones(2))
    with pytest.raises(InputError, match="it has no input"):
        model.rounded(np.ones(2))
