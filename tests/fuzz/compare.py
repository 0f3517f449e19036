"""What onnxruntime and the two readers make of one model."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto

from tests.support.checked import FLOATS, evaluated
from verify.check.network import build
from verify.check.onnx import Unreadable
from verify.check.onnx import read as read_again
from verify.errors import InputError, UnsupportedOp
from verify.ir.graph import Network
from verify.ir.onnx_reader import read_onnx

POINTS = 3
CLOSE = 2e-5  # relative to the largest output
NUDGE, NUDGES = 2e-6, 6  # relative changes of an input that rounding within a network is held to be worth
HEADS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "": lambda y: y, "Softmax": lambda y: y.softmax(1), "LogSoftmax": lambda y: y.log_softmax(1),
}
KINDS = {int(TensorProto.FLOAT): np.float32, int(TensorProto.DOUBLE): np.float64}


class Outcome(StrEnum):
    """Of one reader on one model; UNRUNNABLE is said of what a reader takes and onnxruntime does not run, or answers
    NaN or infinity."""

    SAME = "same"
    REFUSED = "refused"
    UNRUNNABLE = "unrunnable"
    DIFFERENT = "different"


@dataclass(frozen=True)
class Compared:
    """Outcomes of the toolkit's reader and of the checker's, with their reasons."""

    toolkit: Outcome
    checker: Outcome
    reasons: tuple[str, str] = ("", "")

    @property
    def differs(self) -> bool:
        return Outcome.DIFFERENT in (self.toolkit, self.checker)


def compared(proto: onnx.ModelProto, seed: int) -> Compared:
    """Both readers beside onnxruntime, on a few points at a batch of 1. What both refuse is not handed to onnxruntime,
    which some models end the process of."""
    x = _points(proto, seed)
    read = [_read(reader, proto, x) for reader in (_toolkit, _checker)]
    if all(isinstance(found, str) for found in read):
        return Compared(Outcome.REFUSED, Outcome.REFUSED, (str(read[0]), str(read[1])))
    if any(not isinstance(found, str) and not found.size for found in read):  # which ends the process as well
        return Compared(Outcome.UNRUNNABLE, Outcome.UNRUNNABLE, ("no entries", "no entries"))
    try:
        theirs = _runtime(proto, x)
    except Exception as problem:  # onnxruntime's exceptions share no other base
        first = next(iter(str(problem).splitlines()), type(problem).__name__)
        return Compared(Outcome.UNRUNNABLE, Outcome.UNRUNNABLE, (first, first))
    if not np.isfinite(theirs).all():
        return Compared(Outcome.UNRUNNABLE, Outcome.UNRUNNABLE, ("not finite", "not finite"))
    (ours, why), (second, reason) = (_outcome(found, theirs) for found in read)
    if ours == Outcome.DIFFERENT and _beside_jumps(proto, x, read[0], theirs):
        ours, why = Outcome.UNRUNNABLE, "lies beside a jump"
    if second == Outcome.DIFFERENT and not isinstance(read[0], str) and _beside_jumps(proto, x, read[1], theirs):
        second, reason = Outcome.UNRUNNABLE, "lies beside a jump"  # on which the checker holds both sides
    return Compared(ours, second, (why, reason))


def _beside_jumps(proto: onnx.ModelProto, x: np.ndarray, mine: np.ndarray | str, theirs: np.ndarray) -> bool:
    """Whether each point at which the values differ lies so close to a jump of the network that rounding decides: the
    float64 network then has several values there, as far apart."""
    network = _network(proto)
    if isinstance(mine, str) or mine.shape != theirs.shape or all(
            getattr(node.op, "is_continuous", True) for node in network.graph.nodes):
        return False
    noise, wide = np.random.default_rng(0), network.double()
    scale = 1 + np.abs(theirs).max(initial=0)
    for point, first, second in zip(x, mine, theirs, strict=True):
        gap = np.abs(first - second).max(initial=0)
        if gap > CLOSE * scale:
            moves = 1 + NUDGE * noise.choice([-1, 1], (NUDGES, *point.shape))
            near = np.concatenate([point[None] * moves, point[None] + (moves - 1), point[None]])
            y = wide(torch.from_numpy(near).reshape(len(near), *network.input_shape)).reshape(len(near), -1)
            if float((y.amax(0) - y.amin(0)).max()) < gap / 2:
                return False
    return True


def _read(reader: Callable[[onnx.ModelProto, np.ndarray], np.ndarray], proto: onnx.ModelProto, x: np.ndarray
          ) -> np.ndarray | str:
    """The values that a reader finds, or why it refuses the model."""
    try:
        return reader(proto, x)
    except (Unreadable, UnsupportedOp, InputError) as refusal:
        return str(refusal)


def _outcome(mine: np.ndarray | str, theirs: np.ndarray) -> tuple[Outcome, str]:
    if isinstance(mine, str):
        return Outcome.REFUSED, mine
    if mine.shape != theirs.shape:
        return Outcome.DIFFERENT, f"{mine.shape[1:]} outputs rather than {theirs.shape[1:]}"
    gap = float(np.max(np.abs(mine - theirs), initial=0)) / (1 + float(np.max(np.abs(theirs), initial=0)))
    return (Outcome.SAME, "") if gap <= CLOSE else (Outcome.DIFFERENT, f"a relative gap of {gap:.3g}")


def _points(proto: onnx.ModelProto, seed: int) -> np.ndarray:
    """(points, *shape at a batch of 1) of the input."""
    kind = proto.graph.input[0].type.tensor_type
    shape = [d.dim_value or 1 for d in kind.shape.dim]
    x = np.random.default_rng(seed).normal(0, 2, (POINTS, *shape))
    x[-1] = np.round(x[-1])
    return x.astype(KINDS[kind.elem_type])


def _runtime(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """(points, outputs) of onnxruntime with its optimisations off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = proto.graph.input[0].name
    found = [np.asarray(session.run(None, {name: sample})[0]) for sample in x]
    return np.stack([y.reshape(-1).astype(np.float64) for y in found])


def _network(proto: onnx.ModelProto) -> Network:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        path = Path(folder) / "model.onnx"
        path.write_bytes(proto.SerializeToString())
        return read_onnx(path)


def _toolkit(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    network = _network(proto)
    with torch.no_grad():
        y = network(torch.from_numpy(x).reshape(len(x), *network.input_shape))
    return y.reshape(len(x), -1).numpy().astype(np.float64)


def _checker(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    header, arrays, head = read_again(proto.SerializeToString())
    y = evaluated(build(FLOATS, header, arrays), FLOATS, x.reshape(len(x), -1).astype(np.float64),
                  lambda v: v.astype(np.float32).astype(np.float64))  # 1 + 2^-50 is 1, where ceil and others jump
    if not np.isfinite(y).all():  # as at the pole of a quotient, of which the checker claims nothing
        raise Unreadable("has no number at a point")
    return HEADS[head](torch.from_numpy(y)).numpy()
