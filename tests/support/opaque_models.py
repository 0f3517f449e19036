"""Models that no front-end represents: files with refused operators, modules that torch.export cannot follow."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from tests.support.onnx_models import Model, integers, numbers


def computed_index(kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """Four inputs, three outputs: a layer, and a row of a table at the place of its largest entry."""
    floats = np.float64 if kind == TensorProto.DOUBLE else np.float32
    model = Model(1, 4, kind=kind)
    hidden = model("Relu", model("Gemm", "x", numbers(1, 4, 8, kind=floats), numbers(2, 8, kind=floats)))
    row = model("Gather", numbers(5, 8, 3, kind=floats), model("ArgMax", hidden, axis=1, keepdims=0))
    return model.proto(model("Add", model("Gemm", hidden, numbers(3, 8, 3, kind=floats)), row))


def counted() -> onnx.ModelProto:
    """Two inputs, two outputs: their number of positive entries by NonZero, and 2. Nothing has a gradient."""
    model = Model(1, 2)
    count = model("Gather", model("Shape", model("NonZero", model("Relu", "x"))), integers(1))
    total = model("Reshape", model("Cast", count, to=1), integers(1, 1))
    return model.proto(model("Concat", total, np.full((1, 1), 2.0, np.float32), axis=1))


def endless() -> onnx.ModelProto:
    """A loop without an end over its input; NonZero makes it one that is refused before it is looked at."""
    model = Model(1, 2)
    kept = model("Cast", model("ReduceMax", model("NonZero", "x"), keepdims=0), to=1)
    ends = [helper.make_tensor_value_info("k", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None)]
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Cos", ["v"], ["w"])], "body", ends,
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []),
         helper.make_tensor_value_info("w", TensorProto.FLOAT, None)])
    looped = model("Loop", integers(1 << 62).reshape(()), np.array(True), "x", body=body)
    return model.proto(model("Add", looped, kept))


def ending() -> onnx.ModelProto:
    """(x0, x1) where x0 is at least 1; below it ends its runtime, by a division of whole numbers by zero."""
    model = Model(1, 2)
    whole = model("Cast", model("Gather", model("Reshape", "x", integers(2)), integers(0)), to=7)
    ratio = model("Div", integers(0), model("Min", whole, integers(1)))
    return model.proto(model("Add", "x", model("Cast", ratio, to=1)))


def noisy() -> onnx.ModelProto:
    """Its input and noise."""
    model = Model(1, 2)
    return model.proto(model("Add", "x", model("RandomUniformLike", "x")))


class Branching(nn.Module):
    """y = (x0 + x1, 1), and the first is 3 higher where x0 is beyond 0.55: torch.export cannot know which."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.sum(1, keepdim=True)
        if float(x[0, 0]) > 0.55:
            total = total + 3
        return torch.cat([total, torch.ones_like(total)], 1)


def branching() -> tuple[nn.Module, Tensor]:
    """A factory."""
    return Branching(), torch.zeros(1, 2)
