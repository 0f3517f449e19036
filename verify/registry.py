"""What the package has of methods, norms, sets and losses, as entries say above classes: `@Entry(name="crown", ...)`.

Entries consist of literals and are read off the texts of the files, so that names, help and defaults are known at
start-up without importing a method, which takes torch. A new file with an entry is a new method, norm, set or loss
of the package: it is known to the command line and its help, to recipes, and to the tests of all of its kind; methods
are exported.
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
R = TypeVar("R", bound="Registered")

PACKAGE = Path(__file__).parent
FAMILIES = {  # their folders, and what their methods find
    "lower": "a point x of X; its violation is a lower bound on v*",
    "upper": "the maximum over a relaxation of h, an upper bound on v*",
    "exact": "v* itself, to a tolerance",
}


@dataclass(frozen=True, kw_only=True)
class Registered:
    """What the package knows of a class by its name.

    Args:
        name: on the command line.
        place: where it stands in lists.
        help: one line.
        module, cls: not declared: where the class is.
    """

    name: str
    place: int
    help: str
    module: str = ""
    cls: str = ""

    def __call__(self, cls: C) -> C:
        """The class, of whose values `registered` gives this entry."""
        _OF_CLASS[cls] = replace(self, module=cls.__module__, cls=cls.__name__)
        return cls

    def load(self) -> Any:
        """Imports the module and returns the class."""
        return getattr(importlib.import_module(self.module), self.cls)


@dataclass(frozen=True, kw_only=True)
class NormEntry(Registered):
    """A norm: a class of `verify/sets/norms/` without settings."""


@dataclass(frozen=True, kw_only=True)
class SetEntry(Registered):
    """A kind of set that `--set` can name: a class of `verify/sets/` with a way `around` samples.

    Args:
        help: how it is written.
        example: such a text that needs no file: the laws of sets then run over what it means.
    """

    example: str = ""


@dataclass(frozen=True, kw_only=True)
class FrontEntry(Registered):
    """A perturbation with few parameters that `--set` can name: a class of `verify/fronts/` with a way to `read` one.

    Args:
        help: how it is written.
        example: such a text that needs no file: the laws of perturbations then run over what it means.
    """

    example: str = ""


@dataclass(frozen=True, kw_only=True)
class LossEntry(Registered):
    """A loss of training: a dataclass of `verify/train/losses/` whose fields are the keys of `[loss]` in a recipe."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveEntry(Registered):
    """What an attack can climb: a class of `verify/lower/objectives/` without settings."""


@dataclass(frozen=True, kw_only=True)
class RuleEntry(Registered):
    """How an attack can step: a class of `verify/lower/rules/`, by this name in the attacks of recipes."""


@dataclass(frozen=True, kw_only=True)
class Entry(Registered):
    """What a method can do. Without an entry a method can do what is said here by default.

    Args:
        aliases: names that mean the same.
        family: which side of v* it bounds; "exact" ones close the two. Lists have the cheap ones first.
        batched: takes the samples of a batch together; others take them one by one, since their limits are of one.
        time_limit: has a setting `time_limit`, seconds for a case.
        proof_log: its `answer` takes a proof log, which is told what a proof of the answer needs.
        polyhedra: refuses sets that are no polyhedra.
        black_box: asks for values of the network only, never for gradients.
        spread: module and class that spread its search over processes, or "".
        verdict, value: settings, other than the class's own, with which it goes for the sign of v*, and for v* itself.
        patient: settings with which it searches until its time is over.
        defaults: the commands ("pytest" for the fixture, "opaque" for models that are only executed) that try it if no
            methods are named, with its place there.
        workers: not declared: the processes of a search that is spread, if it is.
    """

    family: Literal["lower", "exact", "upper"]
    aliases: tuple[str, ...] = ()
    batched: bool = False
    time_limit: bool = False
    proof_log: bool = False
    polyhedra: bool = False
    black_box: bool = False
    spread: str = ""
    verdict: Mapping[str, object] = field(default_factory=dict)
    value: Mapping[str, object] = field(default_factory=dict)
    patient: Mapping[str, object] = field(default_factory=dict)
    defaults: Mapping[str, int] = field(default_factory=dict)
    workers: int | None = None

    def make(self, seconds: float | None) -> Any:
        """The method with its settings for verdicts; one that takes a time limit gets that of a sample."""
        limit = {"time_limit": seconds} if self.time_limit and seconds is not None else {}
        method = self.load()(**limit, **self.verdict)
        if self.workers is None:
            return method
        module, cls = self.spread.rsplit(".", 1)
        return getattr(importlib.import_module(module), cls)(self.workers, method)


def registered(value: object) -> Registered | None:
    """The entry of the class of a value, or None where it has none."""
    return next((_OF_CLASS[cls] for cls in type(value).__mro__ if cls in _OF_CLASS), None)


def entry_of(method: object) -> Entry | None:
    """The entry of a method, or None where its class has none."""
    found = registered(method)
    return found if isinstance(found, Entry) else None


def default_methods(command: str) -> str:
    """The names of the methods that a command tries if none are named, in order, as a comma list."""
    chosen = [entry for entry in METHODS.values() if command in entry.defaults]
    return ",".join(entry.name for entry in sorted(chosen, key=lambda entry: entry.defaults[command]))


def declared(kind: type[R], *folders: str) -> list[R]:
    """The entries of this kind in all files of these folders, in their order in lists."""
    mark = f"@{kind.__name__}("
    mention = re.compile(rf"\n@{kind.__name__}(\([^@]*?\))\n(?:@.*\n)*class (\w+)")
    paths = [os.path.join(place, name) for folder in folders for place, _, names in os.walk(PACKAGE / folder)
             for name in names if name.endswith(".py")]
    found = []
    for path in paths:
        with open(path, "rb") as file:
            text = file.read()
        for arguments, cls in mention.findall(text.decode()) if mark.encode() in text else ():
            module = ".".join(("verify", *Path(path).relative_to(PACKAGE).with_suffix("").parts))
            call = ast.parse(f"{kind.__name__}{arguments}", mode="eval").body
            assert isinstance(call, ast.Call)
            settings = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
            found.append(kind(**settings, module=module, cls=cls))
    return sorted(found, key=lambda entry: entry.place)


_OF_CLASS: dict[type, Registered] = {}  # of the classes that have been imported
METHODS = {entry.name: entry for entry in declared(Entry, *FAMILIES)}
NORMS = {entry.name: entry for entry in declared(NormEntry, "sets/norms")}
OBJECTIVES = {entry.name: entry for entry in declared(ObjectiveEntry, "lower/objectives")}
STEP_RULES = {entry.name: entry for entry in declared(RuleEntry, "lower/rules")}
FRONTS = {entry.name: entry for entry in declared(FrontEntry, "fronts")}
SETS = {entry.name: entry for entry in declared(SetEntry, "sets")}
ALIASES = {alias: name for name, entry in METHODS.items() for alias in entry.aliases}
EXPORTS = {entry.cls: entry.module for entry in METHODS.values()}
