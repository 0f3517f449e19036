"""Replays a witness outside of the toolkit: on the original ONNX model, in onnxruntime, with optimisations off."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from verify.ir.original import original
from verify.vnnlib.property import Property


def original_outputs(model: Path, x: np.ndarray) -> np.ndarray:
    """Outputs, flat, of the model file at one input x, flat; see `verify.ir.original`."""
    return original(model)(x)


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
