"""Networks and files that end in a softmax or its logarithm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from tests.support.cli_cases import WEIGHTS
from tests.support.onnx_models import Model
from verify.ir.graph import Network
from verify.ir.layers import read_chain

LAST = {"Softmax": nn.Softmax(1), "LogSoftmax": nn.LogSoftmax(-1)}


def classifier(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def chain(module: nn.Module, dtype: torch.dtype = torch.float32) -> Network:
    network = read_chain(module.to(dtype), torch.rand(1, 1, 2, 2, dtype=dtype))
    assert network is not None
    return network


def headed(path: Path, op: str = "Softmax", weights: dict[str, np.ndarray] = WEIGHTS, opset: int = 13) -> Path:
    """The two-layer network of the commands with a softmax at its end."""
    model = Model(1, 2, opset=opset)
    hidden = model("Relu", model("Gemm", "x", weights["A"], weights["a"], transB=1))
    logits = model("Gemm", hidden, weights["B"], weights["b"], transB=1)
    onnx.save(model.proto(model(op, logits, axis=1)), path)
    return path
