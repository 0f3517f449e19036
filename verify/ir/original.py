"""A model file as onnxruntime runs it, node by node with its optimisations off: what the file means."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.errors import InputError

if TYPE_CHECKING:
    import onnx
    import onnxruntime as ort

KINDS = {"tensor(float)": np.float32, "tensor(double)": np.float64}
NUMBERS = "fiub"  # kinds of NumPy types
TOGETHER = 3  # samples that are given at once where the file leaves its batch axis open
LACKS = "NOT_IMPLEMENTED"  # what onnxruntime says of a float type for which an operator has no kernel


class Unsupported(InputError):
    """There is no onnxruntime, or it lacks an operator in the float type of the model: nothing can be compared."""


@dataclass(frozen=True)
class Original:
    """A model file in onnxruntime; read at the first use. Other processes open it anew."""

    model: Path

    def __str__(self) -> str:
        return str(self.model)

    def __reduce__(self) -> tuple[Any, ...]:
        return original, (self.model,)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Outputs, flat, at one input x, flat. Raises InputError if onnxruntime cannot run the model on x."""
        return self._run(self.rounded(x)[None]).reshape(-1)

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """Floats or rationals as the floats that the model takes. Raises InputError if it takes none."""
        kind = self._session.get_inputs()[0].type
        if kind not in KINDS:
            raise InputError(f"{self.model} takes {kind}, not floats; a witness cannot be replayed on it")
        return x.astype(np.float64).astype(KINDS[kind])

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """(points, outputs) of points (points, inputs): the first one alone, the others three at a time where the file
        leaves its batch axis open and its nodes take more than one sample."""
        x, first = self.rounded(x), self._run(self.rounded(x[:1]))
        step = TOGETHER if self._is_open else 1
        found = [first.reshape(1, -1)]
        for start in range(1, len(x), step):
            part = x[start : start + step]
            try:
                answer = self._run(part)
            except InputError:
                if len(part) == 1:
                    raise
                answer = np.concatenate([self._run(point[None]).reshape(-1) for point in part])
            if answer.size != found[0].size * len(part):
                raise InputError(f"{self.model} gives {answer.size} numbers for {len(part)} inputs and "
                                 f"{found[0].size} for one; export it with as many outputs for every input")
            found.append(answer.reshape(len(part), -1))
        return np.concatenate(found)

    def tensors(self, x: np.ndarray) -> list[tuple[str, list[np.ndarray]]]:
        """The name and the float outputs, flat, of every node at one input x, flat; they are outputs of a copy of the
        model for this, so it takes as long as opening the file again. Raises InputError as `__call__` does."""
        import onnx

        model = onnx.load_model_from_string(self._bytes()) if self.model.suffix == ".gz" else onnx.load(str(self.model))
        nodes = [(node, [name for name in node.output if name]) for node in model.graph.node]
        there = {output.name for output in model.graph.output}
        names = [name for _, made in nodes for name in made]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
        try:
            session = _session(model.SerializeToString())
            given = session.get_inputs()[0]
            found = session.run(names, {given.name: self.rounded(x).reshape(self._shape(1))})
            values = {name: np.asarray(value).reshape(-1) for name, value in zip(names, found, strict=True)}
        except Exception as problem:  # onnxruntime's own exceptions share no other base
            raise self._refusal(problem) from None
        return [(_title(node), [values[name] for name in made if values[name].dtype.kind == "f"])
                for node, made in nodes]

    def _run(self, x: np.ndarray) -> np.ndarray:
        """The output at points (points, inputs) in the type of the model, all in one batch."""
        session = self._session
        try:
            feeds = {session.get_inputs()[0].name: x.reshape(self._shape(len(x)))}
            found = np.asarray(session.run([session.get_outputs()[0].name], feeds)[0])
            if found.dtype.kind not in NUMBERS:
                raise TypeError("its first output holds no numbers")
            return found
        except Exception as problem:  # as above
            raise self._refusal(problem) from None

    def _shape(self, points: int) -> Sequence[int]:
        fixed = [n if isinstance(n, int) and n > 0 else 1 for n in self._session.get_inputs()[0].shape]
        return [points, *fixed[1:]] if self._is_open else fixed

    @property
    def _is_open(self) -> bool:
        """Whether the first of several axes may have any length."""
        given = self._session.get_inputs()[0].shape
        return len(given) > 1 and not (isinstance(given[0], int) and given[0] > 0)

    @cached_property
    def _session(self) -> ort.InferenceSession:
        try:
            session = _session(self._bytes() if self.model.suffix == ".gz" else str(self.model))
            if not session.get_inputs() or not session.get_outputs():
                raise ValueError("it has no input, or no output")
            return session
        except Exception as problem:  # as above
            raise self._refusal(problem) from None

    def _bytes(self) -> bytes:
        return gzip.decompress(self.model.read_bytes())

    def _refusal(self, problem: Exception) -> InputError:
        first = (str(problem).splitlines() or [type(problem).__name__])[0]
        kind = Unsupported if LACKS in first or isinstance(problem, ImportError) else InputError
        return kind(f"onnxruntime cannot replay {self.model}: {first}")


def _session(model: str | bytes) -> ort.InferenceSession:
    import onnxruntime as ort  # a tenth of a second

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _title(node: onnx.NodeProto) -> str:
    return node.name or next(filter(None, node.output), node.op_type)


def original(model: Path) -> Original:
    """The file in onnxruntime, one session for all who ask while it does not change."""
    if not model.is_file():
        return Original(model)
    state = model.stat()
    return _opened(model.absolute(), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _opened(model: Path, changed: int, size: int) -> Original:
    return Original(model)
