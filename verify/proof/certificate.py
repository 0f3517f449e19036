"""Writes certificates: a header, named arrays, and the bytes that hold both (see verify.check.container)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from verify.check.container import MAGIC, digest
from verify.errors import UnsupportedMethod
from verify.problem import Problem
from verify.rationals import exact_array
from verify.sets import Ball, Box, InputSet
from verify.spec import Specification
from verify.vnnlib import Property

COMPRESSION = 6  # of zlib: 9 takes four times as long for a few percent


@dataclass
class Draft:
    """A certificate in the making: `header` in the checker's format, `arrays` by name."""

    header: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(
        cls, network: tuple[dict[str, Any], dict[str, np.ndarray]], cases: list[dict[str, Any]], level: str,
        source: dict[str, str] | None, box: str,
    ) -> Draft:
        """A claim without its proof. Every nonlinear node's box is justified in one way, "interval" or "backward", with
        adaptive slopes."""
        description, arrays = network
        curved = [node["name"] for node in description["nodes"] if node["op"] in ("piecewise", "max")]
        layers = [{"node": name, "box": box, "slope": "adaptive"} for name in curved]
        header = {
            "format": 1, "level": level, "network": description, "digest": digest(description, arrays),
            "source": source, "cases": cases, "layers": layers, "boxes": [], "searches": [],
        }
        return cls(header, dict(arrays))

    def copy(self) -> Draft:
        """The same, to be continued in another way."""
        return Draft({**self.header, "boxes": [], "searches": []}, dict(self.arrays))

    def put(self, name: str, values: np.ndarray, kind: str) -> str:
        """Adds an array under a fresh name, which is returned."""
        unique, count = name, 1
        while unique in self.arrays:
            unique, count = f"{name}.{count}", count + 1
        self.arrays[unique] = np.ascontiguousarray(values, np.dtype(kind))
        return unique

    def bytes(self) -> bytes:
        """The file."""
        used = [(name, values) for name, values in self.arrays.items()]
        table = [[name, values.dtype.str, list(values.shape)] for name, values in used]
        header = json.dumps({**self.header, "arrays": table}, separators=(",", ":"), allow_nan=False).encode()
        parts = [len(header).to_bytes(8, "little"), header, *(values.tobytes() for _, values in used)]
        return MAGIC + zlib.compress(b"".join(parts), COMPRESSION)


def property_claim(prop: Property) -> list[dict[str, Any]]:
    """The cases of a VNN-LIB file as a header states them, all rationals exact.

    Rows over inputs alone only cut the boxes: the claim is of the whole boxes, which is more.
    """
    return [
        {"low": _texts(case.low), "high": _texts(case.high), "disjuncts": [
            [_row(row.output, row.input, row.offset) for row in disjunct] for disjunct in case.disjuncts]}
        for case in prop.cases
    ]


def problem_claim(problem: Problem) -> list[dict[str, Any]]:
    """The cases of a problem, all rationals exact. Raises UnsupportedMethod for sets that are no boxes."""
    low, high = _ends(problem.inputs)
    rows = _disjuncts(problem.spec)
    return [{"low": _texts(low[i]), "high": _texts(high[i]), "disjuncts": rows[i]} for i in range(problem.cases)]


def _ends(inputs: InputSet) -> tuple[np.ndarray, np.ndarray]:
    """The exact boxes, (cases, inputs) rationals each."""
    if isinstance(inputs, Box):
        low, high = inputs.exact
        size = prod(inputs.shape)
        return low.reshape(-1, size), high.reshape(-1, size)
    if not isinstance(inputs, Ball) or inputs.norm != "linf":
        raise UnsupportedMethod("certificates cover boxes, such as Linf balls; this set is another")
    center = exact_array(inputs.center.flatten(1))
    low, high = center - inputs.eps, center + inputs.eps
    if inputs.clip is not None:
        ends = np.array(inputs.clip, dtype=object)
        low, high = np.maximum(low, ends[0]), np.minimum(high, ends[1])
    return low, high


def _disjuncts(spec: Specification) -> list[list[list[dict[str, Any]]]]:
    """The rows of every disjunct of every case."""
    output, offset = exact_array(spec.output), exact_array(spec.offset)
    moved = None if spec.input is None else exact_array(spec.input)
    cases = []
    for i, (places, mask) in enumerate(zip(spec.disjunct.tolist(), spec.mask.tolist(), strict=True)):
        found: dict[int, list[dict[str, Any]]] = {}
        for r in (r for r, is_row in enumerate(mask) if is_row):
            row = _row(_terms(output[i, r]), () if moved is None else _terms(moved[i, r]), offset[i, r])
            found.setdefault(places[r], []).append(row)
        cases.append([found[k] for k in sorted(found)])
    return cases


def _terms(values: np.ndarray) -> list[tuple[int, Fraction]]:
    return [(i, value) for i, value in enumerate(values.tolist()) if value]


Terms = Sequence[tuple[int, Fraction]]


def _row(output: Terms, moved: Terms, offset: Fraction) -> dict[str, Any]:
    return {"output": [[i, str(c)] for i, c in output], "input": [[i, str(c)] for i, c in moved], "offset": str(offset)}


def _texts(values: np.ndarray) -> list[str]:
    return [str(Fraction(value)) for value in values.reshape(-1).tolist()]


