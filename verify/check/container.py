"""The file of a certificate: a magic line, then one zlib stream of a JSON header and raw arrays.

The stream is: the header's length (8 bytes, little endian), the header (UTF-8 JSON), the arrays one after the other as
the header's "arrays" lists them: [name, type, shape]. Nothing is expanded beyond what the header says, and that is
bounded; NaN, repeated keys, unknown types and trailing bytes are refused.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from math import prod
from typing import Any

import numpy as np

from verify.check.network import Arrays
from verify.check.numbers import Rejected
from verify.check.strict import integer, items, keys, shape_of, text

VERSIONS = (1, 2)
MAGICS = {version: b"verify certificate %d\n" % version for version in VERSIONS}
MAGIC = MAGICS[VERSIONS[-1]]  # which is written
LARGEST_HEADER = 1 << 24  # bytes
LARGEST, DENSEST = 1 << 26, 16  # bytes of arrays: so many, or so many times those of the file
CHUNK = 1 << 16  # bytes of the file that are expanded together
TYPES = {"<f4", "<f8", "<i4", "<i8", "<u2", "|u1", "|i1"}


def read(data: bytes) -> tuple[dict[str, Any], Arrays]:
    """(header without its "arrays", the arrays by name). Rejects what is not exactly of this form, and a header of
    another version than the first line's."""
    version = next((version for version, magic in MAGICS.items() if data.startswith(magic)), None)
    if version is None:
        raise Rejected("this is no certificate of version 1 or 2")
    stream = _Stream(memoryview(data)[len(MAGICS[version]) :])
    length = int.from_bytes(stream.take(8), "little")
    if length > LARGEST_HEADER:
        raise Rejected(f"the header claims {length} bytes, more than {LARGEST_HEADER}")
    header = _parsed(stream.take(length))
    if integer(header.get("format"), "format") != version:
        raise Rejected(f"the file is of version {version}, and its header of another")
    table = [_entry(entry) for entry in items(header.pop("arrays", None), "arrays")]
    if len({name for name, _, _ in table}) != len(table):
        raise Rejected("two arrays have one name")
    most = max(LARGEST, DENSEST * len(data))
    if sum(prod(shape) * kind.itemsize for _, kind, shape in table) > most:
        raise Rejected(f"the arrays claim more than {most} bytes")
    arrays = {}
    for name, kind, shape in table:
        values = np.frombuffer(stream.take(prod(shape) * kind.itemsize), kind).reshape(shape)
        if kind.kind == "f" and not bool(np.isfinite(values).all()):
            raise Rejected(f"the array {name!r} has a value that is not finite")
        arrays[name] = values
    stream.end()
    return header, arrays


def digest(network: dict[str, Any], arrays: Arrays) -> str:
    """sha256 of a network: its header as sorted JSON, and type, shape and bytes of the arrays that it names."""
    texts = {value for node in network["nodes"] for value in node.values() if isinstance(value, str)}
    parts = [json.dumps(network, sort_keys=True, separators=(",", ":")).encode()]
    for name in sorted(texts & arrays.keys()):
        parts += [name.encode(), f"{arrays[name].dtype.str} {arrays[name].shape}".encode()]
        parts.append(np.ascontiguousarray(arrays[name]).tobytes())
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


class _Stream:
    """A zlib stream that is expanded only as far as it is read."""

    def __init__(self, data: memoryview):
        self.inflate, self.data, self.place = zlib.decompressobj(), data, 0

    def take(self, count: int) -> bytes:
        """The next bytes."""
        parts = []
        while count:
            part = self._next(count)
            if not part:
                raise Rejected("the file is cut off")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def end(self) -> None:
        """Rejects bytes that are left, and a stream without its checksum."""
        more = self._next(1)
        if more or not self.inflate.eof or self.inflate.unused_data or self.place < len(self.data):
            raise Rejected("the file does not end where its header says")

    def _next(self, most: int) -> bytes:
        """At least one and at most so many further bytes; none at the end."""
        while not self.inflate.eof:
            piece = self.inflate.unconsumed_tail or bytes(self.data[self.place : self.place + CHUNK])
            self.place += 0 if self.inflate.unconsumed_tail else len(piece)
            try:
                part = self.inflate.decompress(piece, most)
            except zlib.error:
                raise Rejected("the file is damaged: its stream cannot be expanded") from None
            if part or not piece:
                return part
        return b""


def _parsed(data: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise Rejected("the header repeats a key")
        return dict(pairs)

    def refuse(word: str) -> None:
        raise Rejected(f"the header holds {word}")

    try:
        header = json.loads(data.decode(), object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise Rejected("the header is no JSON") from None
    if not isinstance(header, dict):
        raise Rejected("the header is no JSON object")
    return header


def _entry(entry: Any) -> tuple[str, np.dtype, tuple[int, ...]]:
    fields = items(entry, "an array's entry")
    if len(fields) != 3 or not isinstance(fields[1], str) or fields[1] not in TYPES:
        raise Rejected("an array's entry is not a name, a known type and a shape")
    shape = tuple(integer(n, "a length of an array") for n in items(fields[2], "an array's shape"))
    shape_of([max(1, n) for n in shape], "an array")
    return text(fields[0], "an array's name"), np.dtype(fields[1]), shape


def header_of(value: Any) -> dict[str, Any]:
    """The header with exactly its fields, "front" and "grid" among them if there are such."""
    claim, proof = {"format", "level", "network", "digest", "source", "cases"}, {"layers", "boxes", "searches"}
    return keys(value, "the header", claim | proof | ({"front", "grid"} & value.keys()))
