"""Writes certificates: a header, named arrays, and the bytes that hold both (see verify.check.container)."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from verify.check.container import MAGIC, VERSIONS, digest
from verify.problem import Problem
from verify.rows import Disjuncts, Row
from verify.vnnlib import Property

NONLINEAR = ("piecewise", "max", "curve", "product")
COMPRESSION = 6  # of zlib: 9 takes four times as long for a few percent


@dataclass
class Draft:
    """A certificate in the making: `header` in the checker's format, `arrays` by name."""

    header: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(
        cls, network: tuple[dict[str, Any], dict[str, np.ndarray]], cases: list[dict[str, Any]], level: str,
        source: dict[str, str] | None, box: str, front: int = 0, inner: str | None = None,
        levels: int | None = None,
    ) -> Draft:
        """A claim without its proof, of a network whose first nodes are so many of front. Every nonlinear node's box is
        justified in one way, "interval" or "backward", with adaptive slopes; those of the front in another if it is
        given; of a grid with these levels, if any."""
        description, arrays = network
        curved = [node["name"] for node in description["nodes"] if node["op"] in NONLINEAR]
        first = {node["name"] for node in description["nodes"][:front]} if inner is not None else set()
        layers = [{"node": name, "box": inner if name in first else box, "slope": "adaptive"} for name in curved]
        header = {
            "format": VERSIONS[-1], "level": level, "network": description, "digest": digest(description, arrays),
            "source": source, "cases": cases, "layers": layers, "boxes": [], "searches": [],
            **({"front": front} if front else {}), **({"grid": levels} if levels is not None else {}),
        }
        return cls(header, dict(arrays))

    def copy(self) -> Draft:
        """A copy of the draft that can be continued without changing this one."""
        return Draft({**self.header, "boxes": [], "searches": []}, dict(self.arrays))

    def put(self, name: str, values: np.ndarray, kind: str) -> str:
        """Adds an array under a fresh name, which is returned."""
        unique, count = name, 1
        while unique in self.arrays:
            unique, count = f"{name}.{count}", count + 1
        self.arrays[unique] = np.ascontiguousarray(values, np.dtype(kind))
        return unique

    def bytes(self) -> bytes:
        """The certificate as the bytes of its file."""
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
        {"low": _texts(case.low), "high": _texts(case.high), "disjuncts": _claims(case.disjuncts)}
        for case in prop.cases
    ]


def problem_claim(problem: Problem) -> list[dict[str, Any]]:
    """The cases of a problem, all rationals exact. Raises UnsupportedMethod for sets that are no boxes."""
    size = prod(problem.inputs.shape)
    low, high = (end.reshape(-1, size) for end in problem.inputs.exact_box())
    return [
        {"low": _texts(low[i]), "high": _texts(high[i]), "disjuncts": _claims(problem.spec.disjuncts_of(i))}
        for i in range(problem.cases)
    ]


def _claims(disjuncts: Disjuncts) -> list[list[dict[str, Any]]]:
    return [[_row(row) for row in disjunct] for disjunct in disjuncts]


def _row(row: Row) -> dict[str, Any]:
    output, given = ([[i, str(c)] for i, c in terms] for terms in (row.output, row.input))
    return {"output": output, "input": given, "offset": str(row.offset)}


def _texts(values: np.ndarray) -> list[str]:
    return [str(Fraction(value)) for value in values.reshape(-1).tolist()]


