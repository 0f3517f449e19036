"""The registry of methods: what entries say is so of every method, and what is derived from it knows every method."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import nn

import verify
from tests.support.added import Copy
from tests.support.nets import seeded
from tests.support.phases import exact_maximum
from tests.support.small_nets import dense, problem
from verify.errors import UnsupportedMethod
from verify.ops import ReLU
from verify.registry import ALIASES, FAMILIES, METHODS, PACKAGE, Entry, default_methods, entry_of
from verify.runs.options import entries_of
from verify.runs.studies.comparison import for_value
from verify.upper.duals.proof_log import ProofLog

README = PACKAGE.parent / "README.md"
COMMANDS = {
    "certify": "interval,pgd,crown,alpha,bab", "radius": "fmn,pgd,crown,bab", "gaps": "pgd,interval,crown,alpha,lp,bab",
    "vnnlib": "bab", "train": "interval,pgd,crown,bab", "pytest": "pgd,interval,crown,alpha,bab",
    "opaque": "pgd,random",
}
SLACK = 2e-5  # of solvers' tolerances

TOY = '''"""Every bound is infinite."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from verify.method import Answer
from verify.problem import Problem
from verify.registry import Entry


@Entry(name="toy", family="upper", place=55, batched=True, help="says nothing", aliases=("nothing",))
@dataclass(frozen=True)
class Toy:
    """Upper bounds that say nothing."""

    @property
    def name(self) -> str:
        return "Toy"

    def answer(self, problem: Problem) -> Answer:
        """Sound because nothing lies above infinity; trusts nothing."""
        return Answer(upper=torch.full((problem.cases,), torch.inf, dtype=torch.float64))
'''
SESSION = """
import sys, verify
from verify.cli.main import app
assert not {"torch", "numpy"} & set(sys.modules), "a method was imported"
assert "Toy" in dir(verify)
from verify.registry import METHODS, default_methods
assert not any("toy" in default_methods(command) for command in ("certify", "radius", "gaps", "vnnlib", "pytest"))
import torch
from verify.models import digits
x, y = digits()
problem = verify.robustness(verify.load("digits-dense-interval"), x[:3], y[:3], eps="1/50")
print([row.method for row in verify.gaps(problem, [verify.PGD(), verify.Toy()]).rows])
"""


@pytest.mark.parametrize("entry", METHODS.values(), ids=METHODS)
def test_an_entry_says_what_its_class_does(entry: Entry) -> None:
    cls = entry.load()
    method = cls()
    assert entry_of(method) == entry, "what is read off the text is what the class says when it is imported"
    assert entry.module.split(".")[1] == entry.family
    assert entry.time_limit == ("time_limit" in {f.name for f in fields(cls)})
    assert entry.proof_log == ("proof_log" in inspect.signature(cls.answer).parameters)
    assert entry.batched != entry.time_limit, "a limit is of one sample"
    assert entry.help
    assert "\n" not in entry.help
    assert inspect.getdoc(cls)
    for settings in (entry.verdict, entry.value):
        cls(**settings)
    value = for_value(method)
    assert all(getattr(value, name) == setting for name, setting in entry.value.items())


def test_names_places_and_defaults_are_unambiguous() -> None:
    entries = list(METHODS.values())
    for told in ([e.name for e in entries] + list(ALIASES), [e.cls for e in entries], [e.place for e in entries]):
        assert len(set(told)) == len(told)
    assert {command for entry in entries for command in entry.defaults} == COMMANDS.keys()
    for command, names in COMMANDS.items():
        places = [entry.defaults[command] for entry in entries if command in entry.defaults]
        assert len(set(places)) == len(places), command
        assert default_methods(command) == names
        assert list(entries_of(names)) == names.split(",")
    assert list(entries_of("alpha-crown")) == ["alpha"]


@pytest.mark.parametrize("kind", ["untargeted", "conjunctive"])
@pytest.mark.parametrize("entry", METHODS.values(), ids=METHODS)
def test_every_method_is_a_side_of_the_sandwich(entry: Entry, kind: str) -> None:
    for seed in range(3):
        given = problem(dense(ReLU(), (3, 5, 3), seed), kind, seed)
        exact = exact_maximum(given)
        slack = SLACK * (1 + abs(exact))
        for method in (entry.make(20.0), for_value(entry.make(20.0))):
            found = verify.solve(given, method)
            assert found.lower.item() <= exact + slack
            assert found.upper.item() >= exact - slack
            assert (found.below is not None) or entry.family == "upper"
            assert (found.above is None) == (entry.family == "lower")
        if entry.family == "exact":
            assert found.upper.item() == pytest.approx(exact, abs=2e-3)
            assert found.lower.item() == pytest.approx(exact, abs=2e-3)


@pytest.mark.parametrize("entry", METHODS.values(), ids=METHODS)
def test_what_needs_polyhedra_refuses_other_sets(entry: Entry) -> None:
    net = verify.trace(seeded(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)), 1), torch.zeros(1, 3))
    x = torch.full((1, 3), 0.5)
    given = verify.robustness(net, x, net(x).argmax(1), eps="1/10", norm="l2")
    if entry.polyhedra:
        with pytest.raises(UnsupportedMethod):
            verify.solve(given, entry.make(5.0))
    else:
        found = verify.solve(given, entry.make(5.0))
        assert found.lower.item() > -torch.inf or found.upper.item() < torch.inf


@pytest.mark.parametrize("entry", METHODS.values(), ids=METHODS)
def test_a_proof_log_is_taken_by_those_that_keep_one(entry: Entry) -> None:
    given, proof_log = problem(dense(ReLU(), (3, 5, 3), 0), "untargeted", 0), ProofLog()
    if entry.proof_log:
        verify.solve(given, entry.make(5.0), proof_log=proof_log)
    else:
        with pytest.raises(verify.InputError, match="keeps no proof log; choose among BranchAndBound"):
            verify.solve(given, entry.make(5.0), proof_log=proof_log)


def test_type_checkers_see_what_is_exported() -> None:
    (block,) = [node for node in ast.parse((PACKAGE / "__init__.py").read_text()).body if isinstance(node, ast.If)]
    lines = {ast.unparse(line) for line in block.body}
    missing = {f"from {entry.module} import {entry.cls} as {entry.cls}" for entry in METHODS.values()} - lines
    assert not missing, f"add to verify/__init__.py: {missing}"
    told = {alias.asname for line in block.body if isinstance(line, ast.ImportFrom) for alias in line.names}
    assert told == set(dir(verify)) - {"__version__"}
    scope: dict[str, object] = {}
    exec("from verify import *", scope)
    assert told <= scope.keys()


def test_the_readme_lists_every_method() -> None:
    text = README.read_text()
    for family, finds in FAMILIES.items():
        classes = ", ".join(f"`{entry.cls}`" for entry in METHODS.values() if entry.family == family)
        line = f"| `verify/{family}/` | {finds} | {classes} |"
        assert line in text, f"README.md should have the line {line}"


def test_a_method_is_one_file(tmp_path: Path) -> None:
    """Files touched to add a method: verify/upper/toy.py, and nothing else."""
    toy, place = tmp_path / "toy.py", "verify/upper/toy.py"
    toy.write_text(TOY)
    copy = Copy(tmp_path, {place: toy})
    assert copy.touched == [place]
    assert copy.python("-c", SESSION).strip() == str(["PGD-40", "Toy"] * 3)
    helped = " ".join(copy.python("-m", "verify.cli.main", "certify", "--help").split())
    assert "alpha, toy, lp" in helped
    assert "toy says nothing" in helped
    assert f"default {COMMANDS['certify']}" in helped
    ran = copy.python("-m", "verify.cli.main", "certify", "digits-dense-interval", "--data", "digits", "--eps", "0.02",
                      "--limit", "3", "--methods", "nothing,interval", "--out", "run")
    assert "toy" in ran
