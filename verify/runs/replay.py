"""Replays a witness outside of the toolkit: on the original ONNX model, in onnxruntime, with optimisations off."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from verify.errors import InputError
from verify.vnnlib.property import Property

if TYPE_CHECKING:
    import onnxruntime as ort

KINDS = {"tensor(float)": np.float32, "tensor(double)": np.float64}


@dataclass(frozen=True)
class Original:
    """A model file as onnxruntime runs it, node by node; read at the first use."""

    model: Path

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Outputs, flat, at one input x, flat. Raises InputError if onnxruntime cannot run the model on x."""
        session = self._session
        given = session.get_inputs()[0]
        shape = [n if isinstance(n, int) and n > 0 else 1 for n in given.shape]
        try:
            found = session.run([session.get_outputs()[0].name], {given.name: self.rounded(x).reshape(shape)})[0]
        except Exception as problem:  # onnxruntime's own exceptions share no other base
            raise self._refusal(problem) from None
        return np.asarray(found).reshape(-1)

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """Floats or rationals as the floats that the model takes. Raises InputError if it takes none."""
        kind = self._session.get_inputs()[0].type
        if kind not in KINDS:
            raise InputError(f"{self.model} takes {kind}, not floats; a witness cannot be replayed on it")
        return x.astype(np.float64).astype(KINDS[kind])

    @cached_property
    def _session(self) -> ort.InferenceSession:
        try:
            import onnxruntime as ort

            options = ort.SessionOptions()
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.log_severity_level = 4
            options.intra_op_num_threads = 1
            data = gzip.decompress(self.model.read_bytes()) if self.model.suffix == ".gz" else str(self.model)
            return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as problem:  # as above
            raise self._refusal(problem) from None

    def _refusal(self, problem: Exception) -> InputError:
        first = (str(problem).splitlines() or [type(problem).__name__])[0]
        return InputError(f"onnxruntime cannot replay the witness on {self.model}: {first}")


def original_outputs(model: Path, x: np.ndarray) -> np.ndarray:
    """Outputs, flat, of the model file at one input x, flat; see `Original`."""
    return Original(model)(x)


def members(prop: Property, x: np.ndarray) -> list[np.ndarray]:
    """Points of the property's sets that round to x, the input as the model gets it: object arrays of rationals, flat.

    For each set it is x itself, except in coordinates whose range does not hold x (a box with low == high == 0.1);
    there it is the nearest end of the range, which must round to x. All comparisons are exact.
    """
    if not np.isfinite(x).all():
        return []
    flat = x.reshape(-1)
    exact = np.array([Fraction(float(v)) for v in flat], dtype=object)
    found: list[np.ndarray] = []
    for case in prop.cases:
        point = np.where(exact < case.low, case.low, np.where(exact > case.high, case.high, exact))
        rounded = point.astype(np.float64).astype(flat.dtype)
        new = not any((point == other).all() for other in found)
        if new and np.array_equal(rounded, flat) and case.allows(point.tolist()):
            found.append(point)
    return found


def witness_text(x: np.ndarray, y: np.ndarray) -> str:
    """A witness in the format of the competition (VNN-COMP): "sat", then one list of all inputs and outputs.

    Every number is the shortest decimal that reads back as the same float64, hence as the same float32.
    """
    names = [f"X_{i}" for i in range(x.size)] + [f"Y_{i}" for i in range(y.size)]
    values = [float(v) for v in (*x.reshape(-1), *y.reshape(-1))]
    lines = "\n".join(f"({name} {value!r})" for name, value in zip(names, values, strict=True))
    return f"sat\n({lines})\n"
