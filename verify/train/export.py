"""What a training leaves behind: the weights as safetensors, the network as .pt2 and ONNX, with any batch size."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as safetensors
from torch import Tensor, nn

from verify.runs.engine.files import write_whole


def write_model(module: nn.Module, example: Tensor, folder: Path) -> None:
    """Writes model.safetensors, model.pt2 and model.onnx (opset 18), each whole or not at all.

    module: in eval mode, on any device; example: (batch, *input shape). Raises InputError where a file cannot be
    written.
    """
    module, example = module.cpu().eval(), torch.cat([example[:1].cpu()] * 2)
    # copies, since layers that share a tensor would share it in the file
    state = {name: t.detach().clone().contiguous() for name, t in module.state_dict().items()}
    write_whole(folder / "model.safetensors", safetensors(state))
    batch = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(module, (example,), dynamic_shapes=batch)
    buffer = io.BytesIO()
    _quietly(lambda: torch.export.save(program, buffer))
    write_whole(folder / "model.pt2", buffer.getvalue())
    made: list[bytes] = []
    _quietly(lambda: made.append(_onnx(module, example, batch)))
    write_whole(folder / "model.onnx", made[0])


def _onnx(module: nn.Module, example: Tensor, batch: Any) -> bytes:
    program = torch.onnx.export(
        module, (example,), dynamo=True, verbose=False, optimize=True, opset_version=18, input_names=["x"],
        output_names=["y"], dynamic_shapes=batch,
    )
    assert program is not None
    return program.model_proto.SerializeToString()


def _quietly(work: Callable[[], object]) -> None:
    """Without the notices that torch's exporters print about themselves."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            work()
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
