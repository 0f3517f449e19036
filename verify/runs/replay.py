"""Replays a witness outside of the toolkit: on the original ONNX model, in onnxruntime, with optimisations off."""

from __future__ import annotations

import gzip
from fractions import Fraction
from pathlib import Path

import numpy as np

from verify.errors import InputError
from verify.vnnlib.property import Property

KINDS = {"tensor(float)": np.float32, "tensor(double)": np.float64}


def original_outputs(model: Path, x: np.ndarray) -> np.ndarray:
    """Outputs, flat, of the model file at one input x, flat, as onnxruntime computes them node by node.

    Raises InputError if onnxruntime cannot run the model on x.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    data = gzip.decompress(model.read_bytes()) if model.suffix == ".gz" else str(model)
    try:
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        shape = [n if isinstance(n, int) and n > 0 else 1 for n in given.shape]
        fed = x.reshape(shape).astype(KINDS[given.type])
        found = session.run([session.get_outputs()[0].name], {given.name: fed})[0]
    except Exception as problem:  # onnxruntime's own exceptions share no other base
        first = str(problem).splitlines()[0]
        raise InputError(f"onnxruntime cannot replay the witness on {model}: {first}") from None
    return np.asarray(found).reshape(-1)


def satisfies(prop: Property, x: np.ndarray, y: np.ndarray) -> bool:
    """Whether (x, y), with x as the model gets it, satisfies the property: a rational point that rounds to x does.

    The point is x itself, except in coordinates whose range holds no such float (a box with low == high == 0.1); there
    it is the nearest end of the range, which must round to x. All comparisons are exact.
    """
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return False
    flat = x.reshape(-1)
    exact = np.array([Fraction(float(v)) for v in flat], dtype=object)
    image = np.array([Fraction(float(v)) for v in y.reshape(-1)], dtype=object)
    for case in prop.cases:
        point = np.where(exact < case.low, case.low, np.where(exact > case.high, case.high, exact))
        rounded = point.astype(np.float64).astype(flat.dtype)
        if np.array_equal(rounded, flat) and prop.contains(point, image):
            return True
    return False


def witness_text(x: np.ndarray, y: np.ndarray) -> str:
    """A witness in the format of the competition (VNN-COMP): "sat", then one list of all inputs and outputs.

    Every number is the shortest decimal that reads back as the same float64, hence as the same float32.
    """
    names = [f"X_{i}" for i in range(x.size)] + [f"Y_{i}" for i in range(y.size)]
    values = [float(v) for v in (*x.reshape(-1), *y.reshape(-1))]
    lines = "\n".join(f"({name} {value!r})" for name, value in zip(names, values, strict=True))
    return f"sat\n({lines})\n"
