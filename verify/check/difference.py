"""Whether two canonical networks are the same, to the bit, whatever their values are called.

Every value gets the number of its class: two values have one class if the same op with the same facts and the same
arrays reads entries of the same classes in the same order. Moves of entries have no class of their own: they are the
entries that they move, so reshapes vanish and moves of moves are one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from verify.check.network import build
from verify.check.numbers import Arithmetic

Arrays = dict[str, np.ndarray]
Facts = dict[str, Any]  # of one node: its op, then each field as something that compares
_ENTRYWISE = {"scale": "factor", "divide": "divisor", "shift": "offset"}  # and the field of the constant
NOTHING = -1  # the class of an entry that is zero because no entry moves there


def difference(header_a: Any, arrays_a: Arrays, header_b: Any, arrays_b: Arrays) -> str | None:
    """The first difference of two networks, in one sentence, or None if they are the same.

    The same: the same number of inputs, and outputs of the same class. Sums and maxima may list their members in any
    order, factors and offsets are compared as they are spread over the node. Raises Rejected for a header that is not
    as the format says.
    """
    known: dict[bytes, int] = {}
    first, second = _Side(header_a, arrays_a, known), _Side(header_b, arrays_b, known)
    if first.inputs != second.inputs:
        return f"the first network has {first.inputs} inputs and the second {second.inputs}"
    theirs = {site.key for site in first.sites}
    for place, site in enumerate(second.sites):
        if site.key not in theirs:
            other = first.sites[place] if place < len(first.sites) else None
            return _told(other, site)
    if first.output != second.output:
        missing = [site.name for site in first.sites if site.key not in {s.key for s in second.sites}]
        return f"the outputs are different entries{f'; the second network lacks {missing[0]!r}' if missing else ''}"
    return None


@dataclass(frozen=True)
class _Site:
    """A node that computes: its name, its facts, and the digest of these and of what it reads."""

    name: str
    facts: Facts
    key: bytes


def _told(first: _Site | None, second: _Site) -> str:
    if first is None:
        return f"the second network has a node {second.name!r} ({second.facts['op']}) more"
    pair = f"node {first.name!r} of the first network and node {second.name!r} of the second"
    if first.facts["op"] != second.facts["op"]:
        return f"{pair} are a {first.facts['op']} and a {second.facts['op']}"
    field = next((key for key, value in first.facts.items() if second.facts[key] != value), None)
    return f"{pair} ({first.facts['op']}) {f'differ in their {field}' if field else 'read different entries'}"


class _Side:
    """One network: its inputs, the nodes that compute, and the digest of its output's entries."""

    def __init__(self, header: Any, arrays: Arrays, known: dict[bytes, int]):
        build(Arithmetic(), header, arrays)
        self.arrays, self.inputs = arrays, prod(header["shape"])
        self.shapes = {header["input"]: tuple(header["shape"])}
        self.views = {header["input"]: _own(0, self.inputs)}  # of each value: class and place of every entry
        self.sites: list[_Site] = []
        needed = {header["nodes"][-1]["name"]}
        for entry in reversed(header["nodes"]):
            needed.update(entry["inputs"] if entry["name"] in needed else ())
        for entry in header["nodes"]:
            self.shapes[entry["name"]] = tuple(entry["shape"])
            if entry["name"] in needed:
                self.views[entry["name"]] = self._view(entry, known)
        self.output = _digest(self.views[header["nodes"][-1]["name"]])

    def _view(self, entry: Facts, known: dict[bytes, int]) -> np.ndarray:
        """(2, entries): classes and places."""
        reads = [self.views[name] for name in entry["inputs"]]
        if entry["op"] == "gather":
            index = self.arrays[entry["index"]]
            read = np.concatenate([*reads, [[NOTHING], [NOTHING]]], 1)[:, index]  # -1 takes the last
            if index.shape[1] == 1 and bool((self.arrays[entry["divisor"]] == 1).all()):
                return read[:, :, 0]
            reads = [_sorted(read)]
        if entry["op"] == "max":
            reads = [_sorted(_without_copies(_sorted(reads[0][:, self.arrays[entry["groups"]]])))]
        if entry["op"] == "product" and entry["pairing"] == "entrywise":
            reads = sorted(reads, key=_digest)
        facts = self._facts(entry)
        key = hashlib.sha256(repr(facts).encode() + b"".join(map(_digest, reads))).digest()
        self.sites.append(_Site(entry["name"], facts, key))
        return _own(known.setdefault(key, len(known) + 1), prod(entry["shape"]))

    def _facts(self, entry: Facts) -> Facts:
        """What the node is, apart from what it reads."""
        op, shape = entry["op"], self.shapes[entry["name"]]
        facts: Facts = {"op": op}
        if op in ("linear", "conv"):
            facts |= {field: None if entry[field] is None else _digest(self.arrays[entry[field]])
                      for field in ("weight", "bias")}
        if op == "conv":
            facts |= {field: entry[field] for field in ("stride", "padding", "dilation", "groups", "transposed")}
            facts["maps"] = self.shapes[entry["inputs"][0]], shape
        elif op == "gather":
            facts["divisor"] = _digest(self.arrays[entry["divisor"]].astype(np.int64))
        elif op == "add":
            facts["signs"] = entry["signs"]
        elif op in _ENTRYWISE:
            field = _ENTRYWISE[op]
            facts[field] = _digest(np.broadcast_to(self.arrays[entry[field]], shape).reshape(-1))
        elif op == "norm":
            for field in ("weight", "bias", "mean", "variance"):
                facts[field] = _digest(np.repeat(self.arrays[entry[field]], prod(shape[1:])))
            facts["eps"] = entry["eps"]
        elif op == "product":
            facts["pairing"] = entry["pairing"]
            if entry["pairing"] == "matrix":  # the entries of others meet in their order, whatever the shape
                facts["arguments"] = [self.shapes[name] for name in entry["inputs"]]
        elif op == "curve":
            facts |= {"function": entry["function"], "parameters": [Fraction(text) for text in entry["parameters"]]}
        elif op == "piecewise":
            facts |= {field: [Fraction(text) for text in entry[field]] for field in ("breakpoints", "slopes", "anchor")}
        return {**facts, "entries": prod(shape)}


def _own(number: int, entries: int) -> np.ndarray:
    """The view of a value that is nobody else's."""
    return np.stack([np.full(entries, number), np.arange(entries)])


def _sorted(read: np.ndarray) -> np.ndarray:
    """The members (2, entries, size) of each group, in order."""
    order = np.lexsort((read[1], read[0]), axis=-1)
    return np.take_along_axis(read, order[None], 2)


def _without_copies(read: np.ndarray) -> np.ndarray:
    """Sorted groups where each further copy of a member is a copy of the last one."""
    again = np.zeros(read.shape[1:], bool)
    again[:, 1:] = (read[:, :, 1:] == read[:, :, :-1]).all(0)
    return np.where(again, read[:, :, -1:], read)


def _digest(array: np.ndarray) -> bytes:
    """Of the type, the shape and the bytes."""
    head = f"{array.dtype.newbyteorder('<').str} {array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()).digest()
