"""Archives of torch.export, looked through before torch reads them.

torch.export.load unpickles example inputs, constants and custom objects, evaluates the expressions of symbolic shapes,
compiles guards and calls whatever a node names, so a file may run code of its author's choice. What is accepted here
holds tensors, ATen operators and integer arithmetic alone; all else is refused.
"""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

import torch

from verify.errors import InputError

DENSEST, SMALL = 4, 1 << 26  # an archive expands to so many times its own bytes, or to so many

_MEMBERS = re.compile(  # what torch.export.save writes of tensors and operators
    r"[^/]+/(data/weights/(weight_\d+|\w+_weights_config\.json)|data/constants/(tensor_\d+|\w+_constants_config\.json)"
    r"|data/sample_inputs/\w+\.pt|models/\w+\.json|archive_format|archive_version|byteorder|\.data/version"
    r"|\.data/serialization_id|\.format_version)"
)
_TARGETS = re.compile(
    r"torch\.ops\.(aten|higher_order)\.(?!_*__)\w+(\.(?!__)\w+)?|torch\.sym_\w+|math\.(ceil|floor|trunc)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|getitem|eq|ne|lt|le|gt|ge|and_|or_|not_)"
)
_NAMES = re.compile(
    r"[suz]\d+|Symbol|positive|nonnegative|integer|True|False|Max|Min|Eq|Ne|Lt|Le|Gt|Ge|Add|Mul|Pow|Integer|FloorDiv"
    r"|ModularIndexing|Mod|PythonMod|CleanDiv|CeilDiv|CeilToInt|FloorToInt|TruncToInt|IntTrueDiv|PowByNatural"
    r"|L|size|stride|storage_offset|and|or|not"
)
_QUOTED = re.compile(r"'\w*'|\"\w*\"")
_PLAIN = re.compile(r"[\w\s\[\]().,<>=!+\-*/%&|~]*")
_TREES = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}


def refuse_code(data: bytes, name: str) -> None:
    """Raises InputError for the bytes of an archive that may run code when torch reads it, or that is no archive.

    name: of the file, for the message.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = next(_suspects(archive, max(SMALL, DENSEST * len(data))), None)
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise InputError(f"{name} is not a readable torch.export program ({problem}); write it again with "
                         "torch.export.save") from None
    if found is not None:
        raise InputError(f"{name} contains code that reading it would run ({found}); load it yourself and pass the "
                         "module, or trust it with --trust-code (trust_code=True in Python)")


def _suspects(archive: zipfile.ZipFile, most: int) -> Iterator[str]:
    """The parts of the archive that would run code when it is opened, in words for an error message."""
    infos = archive.infolist()
    if len({info.filename for info in infos}) < len(infos) or sum(info.file_size for info in infos) > most:
        raise ValueError("its members are too large, or two have one name")
    for info in infos:
        name = info.filename.partition("/")[2]
        if not _MEMBERS.fullmatch(info.filename):
            yield f"the member {name!r:.80}"
        elif name.endswith(".pt"):
            yield from _pickle(archive.read(info), name)
        elif name.startswith("models/"):
            yield from _program(json.loads(archive.read(info)))
        elif name.endswith("_config.json"):
            folder = info.filename.rpartition("/")[0]
            for entry in json.loads(archive.read(info))["config"].values():
                if entry["use_pickle"]:
                    yield from _pickle(archive.read(f"{folder}/{entry['path_name']}"), entry["path_name"])


def _pickle(data: bytes, name: str) -> Iterator[str]:
    """A pickle of something else than tensors and plain containers."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles in other protocols, which are then refused
            torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # the restricted unpickler refuses in many ways
        yield f"{name} is no pickle of tensors alone"


def _program(program: dict[str, Any]) -> Iterator[str]:
    """Targets, expressions, guards and containers of a program that are none of those known."""
    if program["graph_module"].get("treespec_namedtuple_fields"):
        yield "inputs in classes of their own"
    for guard in program.get("guards_code") or []:
        yield from _expression(guard)
    for key, value in _entries(program):
        if key == "target" and not _TARGETS.fullmatch(str(value)):
            yield f"a node calls {value!r:.80}"
        elif key == "expr_str":
            yield from _expression(value)
        elif key in ("in_spec", "out_spec") and value:
            kinds = (kind for inner, kind in _entries(json.loads(value)) if inner == "type")
            yield from (f"a container of type {kind!r:.80}" for kind in kinds if kind not in _TREES)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield key, part
            yield from _entries(part)
    elif isinstance(value, list):
        for part in value:
            yield from _entries(part)


def _expression(text: str) -> Iterator[str]:
    """An expression of anything else than sizes."""
    bare = _QUOTED.sub("", text)
    names = re.findall(r"[^\W\d]\w*", bare)
    if not _PLAIN.fullmatch(bare) or not all(_NAMES.fullmatch(name) for name in names):
        yield f"the expression {text!r:.80}"
