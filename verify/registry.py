"""The methods and what each can do, as they say it above their classes: `@Entry(name="crown", family="upper", ...)`.

Entries consist of literals and are read off the texts of the files, so that names, help and defaults are known at
start-up without importing a method, which takes torch. A new file with an entry is a new method of the package: it is
exported, and known to `--methods`, to the commands' help and to the tests of all methods.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

C = TypeVar("C", bound=type)

PACKAGE = Path(__file__).parent
FAMILIES = {  # their folders, and what their methods find
    "lower": "a point x of X; its violation is a lower bound on v*",
    "upper": "the maximum over a relaxation of h, an upper bound on v*",
    "exact": "v* itself, to a tolerance",
}
DECLARED = re.compile(r"\n@Entry(\([^@]*\))\n(?:@.*\n)*class (\w+)")


@dataclass(frozen=True)
class Entry:
    """What a method can do. Without an entry a method can do what is said here by default.

    Args:
        name: on the command line, and `aliases` that mean the same.
        family: which side of v* it bounds; "exact" ones close the two.
        place: where it stands in lists of methods, the cheap ones first.
        help: one line.
        batched: takes the samples of a batch together; others take them one by one, since their limits are of one.
        time_limit: has a setting `time_limit`, seconds for a case.
        proof_log: its `answer` takes a proof log, which is told what a proof of the answer needs.
        polyhedra: refuses sets that are no polyhedra.
        spread: module and class that spread its search over processes, or "".
        verdict, value: settings, other than the class's own, with which it goes for the sign of v*, and for v* itself.
        defaults: the commands ("pytest" for the fixture) that try it if no methods are named, with its place there.
        module, cls, workers: not declared: where its class is, and the processes of a search that is spread, if it is.
    """

    name: str
    family: Literal["lower", "exact", "upper"]
    place: int
    help: str
    aliases: tuple[str, ...] = ()
    batched: bool = False
    time_limit: bool = False
    proof_log: bool = False
    polyhedra: bool = False
    spread: str = ""
    verdict: Mapping[str, object] = field(default_factory=dict)
    value: Mapping[str, object] = field(default_factory=dict)
    defaults: Mapping[str, int] = field(default_factory=dict)
    module: str = ""
    cls: str = ""
    workers: int | None = None

    def __call__(self, cls: C) -> C:
        """The class, of whose values `entry_of` gives this entry."""
        _OF_CLASS[cls] = replace(self, module=cls.__module__, cls=cls.__name__)
        return cls

    def load(self) -> Any:
        """The method's class."""
        return getattr(importlib.import_module(self.module), self.cls)

    def make(self, seconds: float | None) -> Any:
        """The method with its settings for verdicts; one that takes a time limit gets that of a sample."""
        limit = {"time_limit": seconds} if self.time_limit and seconds is not None else {}
        method = self.load()(**limit, **self.verdict)
        if self.workers is None:
            return method
        module, cls = self.spread.rsplit(".", 1)
        return getattr(importlib.import_module(module), cls)(self.workers, method)


def entry_of(method: object) -> Entry | None:
    """The entry of a method's value, or None where its class has none."""
    return next((_OF_CLASS[cls] for cls in type(method).__mro__ if cls in _OF_CLASS), None)


def default_methods(command: str) -> str:
    """The names of the methods that a command tries if none are named, in order, as a comma list."""
    chosen = [entry for entry in METHODS.values() if command in entry.defaults]
    return ",".join(entry.name for entry in sorted(chosen, key=lambda entry: entry.defaults[command]))


def _read() -> list[Entry]:
    """The entries of all files in the families' folders, in their order in lists."""
    paths = [os.path.join(place, name) for folder in FAMILIES for place, _, names in os.walk(PACKAGE / folder)
             for name in names if name.endswith(".py")]
    found = []
    for path in paths:
        with open(path, "rb") as file:
            text = file.read()
        for arguments, cls in DECLARED.findall(text.decode()) if b"@Entry(" in text else ():
            module = ".".join(("verify", *Path(path).relative_to(PACKAGE).with_suffix("").parts))
            call = ast.parse(f"Entry{arguments}", mode="eval").body
            assert isinstance(call, ast.Call)
            settings = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
            found.append(Entry(**settings, module=module, cls=cls))
    return sorted(found, key=lambda entry: entry.place)


_OF_CLASS: dict[type, Entry] = {}  # of the classes that have been imported
METHODS = {entry.name: entry for entry in _read()}
ALIASES = {alias: name for name, entry in METHODS.items() for alias in entry.aliases}
EXPORTS = {entry.cls: entry.module for entry in METHODS.values()}
