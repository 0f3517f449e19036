"""Certificates that are refused: in form, in what a proof needs, and files that ask for more than they may have."""

from __future__ import annotations

import json
import time
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from tests.support.bases import base
from tests.support.certificates import Parts, packed
from verify.check.checker import Report, check
from verify.check.container import MAGIC


def answered(data: bytes) -> Report:
    """The report, which is what it should be."""
    report = check(data)
    assert report.accepted == (not report.reason)
    assert report.reason.isprintable()
    return report


REJECTED: dict[str, Callable[[Parts], None]] = {
    "no trees": lambda p: p.header.update(boxes=[], searches=[]),
    "a case more": lambda p: p.header["cases"].append(p.header["cases"][0]),
    "a disjunct more": lambda p: p.header["cases"][0]["disjuncts"].append(p.header["cases"][0]["disjuncts"][0]),
    "a task less": lambda p: p.header["searches"][0]["tasks"].pop(),
    "a search less": lambda p: p.header["searches"].pop(),
    "a layer less": lambda p: p.header["layers"].pop(),
    "a slope beyond the line": lambda p: _set(p, "share", 129),
    "weights beyond 1": lambda p: _set(p, "weight", (1 << 15) + 1),
    "weights below 1": lambda p: _set(p, "weight", 5),
    "a negative count": lambda p: _set(p, "counts", -1),
    "a multiplier more": lambda p: _set(p, "counts", 1000),
    "a multiplier of no column": lambda p: _set(p, "column", 1000),
    "a split of no column": lambda p: _set(p, "variable", 1000),
    "a multiplier that is no number": lambda p: _set(p, "multiplier", np.nan),
    "a multiplier that is infinite": lambda p: _set(p, "multiplier", np.inf),
    "a point that is no number": lambda p: _set(p, "point", np.nan),
    "level G": lambda p: p.header.update(level="G"),
    "another version": lambda p: p.header.update(format=1),
    "a row of inputs that is no list": lambda p: p.header["cases"][0]["disjuncts"][0][0].update(input=False),
    "another field": lambda p: p.header.update(more=1),
}


def _set(parts: Parts, field: str, value: float) -> None:
    """In the first array of the tasks of this role that is not empty."""
    tasks = [task for search in parts.header["searches"] for task in search["tasks"]]
    values = next(parts.arrays[task[field]] for task in tasks if parts.arrays[task[field]].size)
    values.reshape(-1)[0] = value


@pytest.mark.parametrize("how", REJECTED)
def test_rejected(how: str) -> None:
    for kind in ("rows", "residual"):
        mutant = base(kind).copy()
        REJECTED[how](mutant)
        assert not answered(mutant.bytes()).accepted


def test_a_leaf_less_is_rejected() -> None:
    parts = base("boxes").copy()
    trees = parts.header["boxes"][0]
    parts.arrays[trees["variable"]] = parts.arrays[trees["variable"]][:-1]
    parts.arrays[trees["weight"]] = parts.arrays[trees["weight"]][:-1]
    assert "another number of nodes" in answered(parts.bytes()).reason


def _bombs() -> dict[str, bytes]:
    parts = base("boxes")
    text = json.dumps({**parts.header, "arrays": []}).encode()
    table = [[name, values.dtype.str, list(values.shape)] for name, values in parts.arrays.items()]
    wide = parts.copy()
    wide.header["network"]["shape"] = [1 << 26]
    shift = {"name": "v", "inputs": ["x"], "shape": [1 << 24], "op": "shift", "offset": ".point"}
    wide.header["network"] = {"input": "x", "shape": [1 << 24], "nodes": [shift]}
    return {
        "a header of zeros": packed(bytes(1 << 30), b"")[:-100],
        "a long header": MAGIC + zlib.compress((1 << 62).to_bytes(8, "little") + b"{}"),
        "deep lists": packed(b"[" * 10**6 + b"]" * 10**6, b""),
        "deep objects": packed(b'{"arrays":' + b'{"a":' * 10**5 + b"1" + b"}" * 10**5 + b"}", b""),
        "a repeated key": packed(text[:-1] + b',"format":1}', b""),
        "many digits": packed(b'{"format":' + b"9" * 10**6 + b"}", b""),
        "a large array": parts.bytes([*table, ["z", "<f8", [1 << 26]]]),
        "arrays of 2^60": parts.bytes([*table, ["z", "<f8", [1 << 20, 1 << 20, 1 << 20]]]),
        "many large arrays": parts.bytes([*table, *([f"z{i}", "<f8", [1 << 25]] for i in range(100))]),
        "negative lengths": parts.bytes([*table, ["z", "<f8", [0, -5]]]),
        "a type of types": parts.bytes([*table, ["z", ["<f8"], [0]]]),
        "Python objects": parts.bytes([*table, ["z", "|O", [1]]]),
        "an array of zeros": packed(text, bytes(1 << 28)),
        "wide values": wide.bytes(),
    }


def test_bombs_are_refused_quickly_and_in_little_memory() -> None:
    for what, data in _bombs().items():
        tracemalloc.start()
        start = time.process_time()
        report = answered(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert not report.accepted, what
        assert time.process_time() - start < 5, what
        assert peak < 200 * 2**20 + 20 * len(data), what
