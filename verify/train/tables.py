"""Frozen dataclasses from tables of a file, with every key and type checked."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from verify.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
KINDS = {
    tuple: "a list", dict: "a table", float: "a finite number", int: "an integer", str: "a text", bool: "true or false",
}


def filled(kind: type[T], table: Any, where: str, **given: Any) -> T:
    """A dataclass from a table whose keys are its fields; `given` fields are set already and may not be in the table.

    Raises InputError, naming `where` and the key, for unknown or missing keys and for values of another type.
    """
    if not isinstance(table, Mapping):
        raise InputError(f"{where} is {table!r:.60} but must be a table")
    known = {f.name: f for f in fields(kind) if f.init and f.name not in given}
    unknown = [key for key in table if key not in known]
    if unknown:
        raise InputError(f"{where} has an unknown key {unknown[0]!r}; it takes {', '.join(known) or 'none'}")
    missing = [
        name for name, f in known.items() if name not in table and f.default is f.default_factory is MISSING
    ]
    if missing:
        raise InputError(f"{where} lacks {missing[0]!r}, which has no default")
    hints = get_type_hints(kind)
    values = {key: _value(hints[key], value, f"{where}.{key}") for key, value in table.items()}
    try:
        return kind(**values, **given)
    except InputError as problem:
        raise InputError(f"{where}: {problem}") from None


def _value(hint: Any, value: Any, where: str) -> Any:
    """The value as the type `hint`: integers pass for floats, numbers for texts, lists for tuples."""
    if is_dataclass(hint) and isinstance(hint, type):
        return filled(hint, value, where)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in arguments if kind is not type(None)]
        return _value(kinds[0], value, where)
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(value):
            raise InputError(f"{where} has {len(value)} values but needs {len(kinds)}")
        return tuple(_value(kind, v, f"{where}[{i}]") for i, (kind, v) in enumerate(zip(kinds, value, strict=True)))
    if origin is dict and isinstance(value, Mapping):
        inner = arguments[1]
        return {key: v if inner is Any else _value(inner, v, f"{where}.{key}") for key, v in value.items()}
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and number and math.isfinite(value):
        return float(value)
    if hint is str and number:
        return str(value)
    plain = hint if isinstance(hint, type) else origin
    if hint in (int, str, bool) and isinstance(value, hint) and isinstance(value, bool) == (hint is bool):
        return value
    raise InputError(f"{where} is {value!r:.60} but must be {KINDS.get(plain, 'another value')}")
