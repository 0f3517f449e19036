"""Nothing that is registered goes without a case: operators in both front-ends and translations."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import verify
from tests.ir import test_onnx_ops, test_onnx_products
from tests.support import laws, torch_cases
from tests.support.onnx_models import Model, chain, load, numbers, ops
from verify.ir.onnx_reader.reader import HANDLERS
from verify.ops import REGISTRY

TESTS = Path(__file__).resolve().parents[1]
IN_TORCH = {  # operator: a case of tests.support.torch_cases whose network has it
    "Abs": "abs and neg", "Add": "add and sub", "AvgPool": "avg pool", "BatchNorm": "batch norm", "Clip": "softshrink",
    "Concat": "cat", "Conv": "conv2d", "ConvTranspose": "transposed conv", "Divide": "where",
    "Ceil": "steps", "Floor": "steps", "JumpingLines": "steps", "RoundToEven": "steps",
    "ELU": "elu", "GELU": "gelu", "HardSwish": "hardswish", "Mish": "silu and mish",
    "Softsign": "softsign", "Swish": "silu and mish", "TanhGELU": "gelu", "Atan": "waves",
    "Cos": "waves", "Sin": "waves",
    "Erf": "erf", "Exp": "exp and log", "Log": "exp and log", "Power": "powers",
    "HardSigmoid": "hardsigmoid", "LeakyReLU": "leaky relu", "Linear": "linear", "MatMul": "products of matrices",
    "Max": "where of two", "Multiply": "products",
    "Permute": "permute", "ReLU": "relu", "Reshape": "stacked product", "Scale": "addmm", "Select": "index",
    "Shift": "addmm", "Sigmoid": "sigmoid and tanh", "Softplus": "softplus", "Sum": "no batch inside",
    "Tanh": "sigmoid and tanh",
}
ELSEWHERE = {  # operator that no step of the ONNX tables makes: the operands of a node that does
    "AvgPool": ("AveragePool", (), {"kernel_shape": [2, 2]}),
    "ConvTranspose": ("ConvTranspose", (numbers(1, 2, 3, 2, 2),), {}),
}


def test_every_operator_has_laws_and_a_case_in_each_front_end() -> None:
    assert REGISTRY.keys() == laws.ORACLES.keys() == IN_TORCH.keys(), "give the new operator its cases"
    seen = set()
    for shape, opset, steps in {**test_onnx_ops.CASES, **test_onnx_products.CASES}.values():
        seen.update(ops(load(chain(*shape, steps=steps, opset=opset))))
    model = Model(1, 3)
    seen.update(ops(load(model.proto(model("Mul", "x", model("Sigmoid", "x"))))))
    for op, operands, attributes in ELSEWHERE.values():
        model = Model(1, 2, 5, 6)
        seen.update(ops(load(model.proto(model(op, "x", *operands, **attributes)))))
    assert seen == REGISTRY.keys(), f"no ONNX case makes {REGISTRY.keys() - seen}"


@pytest.mark.parametrize("op", IN_TORCH)
def test_the_case_of_an_operator_in_torch_has_it(op: str) -> None:
    module, x = torch_cases.make(IN_TORCH[op])
    assert op in ops(verify.trace(module, x))


def test_every_translation_from_onnx_has_a_case() -> None:
    files = [*(TESTS / "ir").glob("*.py"), TESTS / "support" / "onnx_cases.py"]
    nodes = (node for path in files for node in ast.walk(ast.parse(path.read_text())))
    named = {node.value for node in nodes if isinstance(node, ast.Constant)}
    assert not HANDLERS.keys() - named, "add a case to tests/ir for what is read since"
