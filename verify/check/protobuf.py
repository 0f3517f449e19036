"""ONNX files without ONNX: the protobuf wire format, and those of ONNX's messages that a network is made of.

Everything is strict: a field that is not in the tables below, is given twice, has another wire type or ends early makes
the file unreadable. Work and memory are bounded by the length of the file and by `MOST_FIELDS`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

MOST_FIELDS = 1 << 20  # of all messages, numbers of packed lists included

Message = dict[str, Any]
Table = dict[int, tuple[str, "Callable[[_Wire, int, Any], Any] | Table", bool]]  # number: name, how to read, repeated


class Unreadable(Exception):
    """The model is none that this reader reads; the text is one sentence on one line, whatever names it quotes."""

    def __init__(self, text: str):
        super().__init__(" ".join(text.split()))


class _Wire:
    """The reading of one file, which counts the fields that it meets."""

    def __init__(self) -> None:
        self.left = MOST_FIELDS

    def count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Unreadable(f"the file has more than {MOST_FIELDS} fields")

    def varint(self, data: memoryview, at: int) -> tuple[int, int]:
        """The number at a place, as an unsigned 64-bit integer, and the place after it."""
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise Unreadable("the file ends inside a number, or has one of more than 64 bits")
            byte, at = data[at], at + 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        if value >> 64:
            raise Unreadable("the file has a number of more than 64 bits")
        return value, at

    def fields(self, data: memoryview) -> Iterator[tuple[int, int, Any]]:
        """(number, wire type, value) of each field: an integer, or the bytes of a number, a text or a message."""
        at = 0
        while at < len(data):
            self.count()
            key, at = self.varint(data, at)
            number, kind = key >> 3, key & 7
            if kind == 0:
                value, at = self.varint(data, at)
                yield number, kind, value
                continue
            if kind == 2:
                size, at = self.varint(data, at)
            elif kind in (1, 5):
                size = 8 if kind == 1 else 4
            else:
                raise Unreadable(f"the file has a field of wire type {kind}, which ONNX does not use")
            if size > len(data) - at:
                raise Unreadable("the file ends inside a field")
            yield number, kind, data[at : at + size]
            at += size

    def message(self, data: memoryview, table: Table, what: str) -> Message:
        """The fields of a message by name: lists where they may be repeated; what is absent is absent."""
        found: Message = {}
        for number, kind, value in self.fields(data):
            if number not in table:
                raise Unreadable(f"{what} has a field {number}, which this reader does not know")
            name, how, repeated = table[number]
            if isinstance(how, dict):
                read = self.message(_bytes(self, kind, value), how, name)
            else:
                read = how(self, kind, value)
            if repeated:
                entries = found.setdefault(name, [])
                entries.extend(read) if isinstance(read, list) else entries.append(read)
            elif name in found:
                raise Unreadable(f"{what} gives its {name} twice")
            else:
                found[name] = read
        return found


def _bytes(wire: _Wire, kind: int, value: Any) -> memoryview:
    if kind != 2:
        raise Unreadable(f"the file has a field of wire type {kind} where a text or a message is due")
    return value


def _text(wire: _Wire, kind: int, value: Any) -> str:
    try:
        return bytes(_bytes(wire, kind, value)).decode()
    except UnicodeDecodeError:
        raise Unreadable("the file has a text that is not UTF-8") from None


def _integer(wire: _Wire, kind: int, value: Any) -> int:
    if kind != 0:
        raise Unreadable(f"the file has a field of wire type {kind} where an integer is due")
    return value - (1 << 64) if value >> 63 else value


def _integers(wire: _Wire, kind: int, value: Any) -> list[int]:
    """One of a list of integers, or a packed list."""
    if kind == 0:
        return [_integer(wire, kind, value)]
    data, at, found = _bytes(wire, kind, value), 0, []
    while at < len(data):
        wire.count()
        number, at = wire.varint(data, at)
        found.append(_integer(wire, 0, number))
    return found


def _float(wire: _Wire, kind: int, value: Any) -> float:
    if kind != 5:
        raise Unreadable(f"the file has a field of wire type {kind} where a float is due")
    return struct.unpack("<f", value)[0]


def _floats(width: int, single: int) -> Callable[[_Wire, int, Any], np.ndarray]:
    """One of a list of floats of `width` bytes, or a packed list."""

    def read(wire: _Wire, kind: int, value: Any) -> np.ndarray:
        if kind not in (2, single) or len(value) % width:
            raise Unreadable("the file has a list of floats that ends inside one")
        return np.frombuffer(value, f"<f{width}")

    return read


def _ignored(wire: _Wire, kind: int, value: Any) -> None:
    """What says nothing about the function that the model computes."""


def _refused(what: str) -> Callable[[_Wire, int, Any], None]:
    def read(wire: _Wire, kind: int, value: Any) -> None:
        raise Unreadable(f"the model has {what}, which this reader does not read")

    return read


_TENSOR: Table = {
    1: ("dims", _integers, True), 2: ("data_type", _integer, False), 3: ("segment", _refused("tensor segments"), False),
    4: ("float_data", _floats(4, 5), True), 5: ("int32_data", _integers, True), 6: ("string_data", _bytes, True),
    7: ("int64_data", _integers, True), 8: ("name", _text, False), 9: ("raw_data", _bytes, False),
    10: ("double_data", _floats(8, 1), True), 11: ("uint64_data", _integers, True), 12: ("doc", _ignored, True),
    13: ("external_data", _refused("a tensor in another file"), True), 14: ("data_location", _integer, False),
    16: ("metadata", _ignored, True),
}
_ATTRIBUTE: Table = {
    1: ("name", _text, False), 2: ("f", _float, False), 3: ("i", _integer, False), 4: ("s", _text, False),
    5: ("t", _TENSOR, False), 6: ("g", _ignored, True), 7: ("floats", _floats(4, 5), True),
    8: ("ints", _integers, True), 9: ("strings", _text, True), 10: ("tensors", _ignored, True),
    11: ("graphs", _ignored, True), 13: ("doc", _ignored, True), 14: ("tp", _ignored, True),
    15: ("type_protos", _ignored, True), 20: ("type", _integer, False), 21: ("reference", _text, False),
    22: ("sparse_tensor", _ignored, True), 23: ("sparse_tensors", _ignored, True),
}
_NODE: Table = {
    1: ("input", _text, True), 2: ("output", _text, True), 3: ("name", _text, False), 4: ("op_type", _text, False),
    5: ("attribute", _ATTRIBUTE, True), 6: ("doc", _ignored, True), 7: ("domain", _text, False),
    8: ("overload", _text, False), 9: ("metadata", _ignored, True), 10: ("devices", _ignored, True),
}
_DIMENSION: Table = {1: ("value", _integer, False), 2: ("parameter", _text, False), 3: ("denotation", _ignored, True)}
_SHAPE: Table = {1: ("dim", _DIMENSION, True)}
_TENSOR_TYPE: Table = {1: ("elem_type", _integer, False), 2: ("shape", _SHAPE, False)}
_TYPE: Table = {
    1: ("tensor_type", _TENSOR_TYPE, False), 4: ("sequence", _ignored, True), 5: ("map", _ignored, True),
    6: ("denotation", _ignored, True), 7: ("opaque", _ignored, True), 8: ("sparse", _ignored, True),
    9: ("optional", _ignored, True),
}
_VALUE: Table = {
    1: ("name", _text, False), 2: ("type", _TYPE, False), 3: ("doc", _ignored, True), 4: ("metadata", _ignored, True),
}
_GRAPH: Table = {
    1: ("node", _NODE, True), 2: ("name", _ignored, True), 5: ("initializer", _TENSOR, True),
    10: ("doc", _ignored, True), 11: ("input", _VALUE, True), 12: ("output", _VALUE, True),
    13: ("value_info", _ignored, True), 14: ("quantization", _ignored, True),
    15: ("sparse_initializer", _refused("a sparse tensor"), True), 16: ("metadata", _ignored, True),
}
_OPERATORS: Table = {1: ("domain", _text, False), 2: ("version", _integer, False)}
_MODEL: Table = {
    1: ("ir_version", _integer, False), 2: ("producer", _ignored, True), 3: ("producer_version", _ignored, True),
    4: ("domain", _ignored, True), 5: ("model_version", _ignored, True), 6: ("doc", _ignored, True),
    7: ("graph", _GRAPH, False), 8: ("opset_import", _OPERATORS, True), 14: ("metadata", _ignored, True),
    20: ("training", _ignored, True), 25: ("functions", _refused("functions of its own"), True),
    26: ("configuration", _ignored, True),
}

# ONNX's number of a type: how it is stored raw, and which list of numbers may hold it instead
BOOL = 9
_KINDS = {
    1: ("<f4", "float_data"), 2: ("|u1", "int32_data"), 3: ("|i1", "int32_data"), 6: ("<i4", "int32_data"),
    7: ("<i8", "int64_data"), BOOL: ("|u1", "int32_data"), 10: ("<f2", ""), 11: ("<f8", "double_data"),
}
_LISTS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def parsed(data: bytes) -> Message:
    """The model of a file. Raises Unreadable for bytes that are no ONNX model of the known form."""
    return _Wire().message(memoryview(data), _MODEL, "the model")


def array_of(tensor: Message, what: str) -> np.ndarray:
    """The values of a tensor, read-only where they are the file's own bytes. Raises Unreadable for a type other than
    float32, float64, raw float16, int8, uint8, int32, int64 and bool, and where the values do not fill the shape."""
    shape, kind = tuple(tensor.get("dims", ())), tensor.get("data_type", 0)
    if kind not in _KINDS or tensor.get("data_location", 0):
        raise Unreadable(f"{what} has the type number {kind}, or lies in another file, and is not read")
    stored, name = _KINDS[kind]
    given = [key for key in ("raw_data", *_LISTS) if key in tensor and len(tensor[key])]
    count = prod(shape)
    if min(shape, default=0) < 0 or len(shape) > 16 or len(given) > 1 or (given and given[0] not in ("raw_data", name)):
        raise Unreadable(f"{what} has the shape {shape} and its values in {given or 'no field'}")
    if given == ["raw_data"]:
        data = tensor["raw_data"]
        if len(data) != count * np.dtype(stored).itemsize:
            raise Unreadable(f"{what} has {len(data)} bytes for the shape {shape} of {np.dtype(stored)}")
        return _booleans(np.frombuffer(data, stored).reshape(shape), kind, what)
    numbers = tensor.get(name, [])
    flat = np.concatenate(numbers) if numbers and isinstance(numbers[0], np.ndarray) else np.array(numbers, np.int64)
    values = flat.astype(stored)
    if len(flat) != count or (flat.dtype.kind == "i" and not np.array_equal(values, flat)):
        raise Unreadable(f"{what} has {len(flat)} numbers, or too large ones, for the shape {shape} of {stored}")
    return _booleans(values.reshape(shape), kind, what)


def _booleans(values: np.ndarray, kind: int, what: str) -> np.ndarray:
    """The values, which are 0 or 1 where their type is bool."""
    if kind == BOOL and values.max(initial=0) > 1:
        raise Unreadable(f"{what} has booleans other than 0 and 1")
    return values
