"""Names and questions, read off the syntax trees: one class name for one thing, and facts instead of classes."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.house.test_layout import PACKAGE
from verify.ops import REGISTRY

FILES = sorted(PACKAGE.rglob("*.py"))
FAMILIES = {"Affine", "Nonlinear", "Piecewise", "Smooth", "Op"}  # what an operator is to a method
LIMIT = 7  # questions after concrete operators outside the front-ends; it only falls


def parts_of(path: Path) -> tuple[str, ...]:
    return path.relative_to(PACKAGE).parts


def classes() -> Iterator[tuple[str, str]]:
    """Name and place of every class outside the checker, which repeats names since it shares nothing."""
    for path in FILES:
        if parts_of(path)[0] != "check":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    yield node.name, f"{path.relative_to(PACKAGE)}:{node.lineno}"


def test_a_class_name_has_one_meaning() -> None:
    places = defaultdict(list)
    for name, place in classes():
        places[name].append(place)
    doubled = {name: found for name, found in places.items() if len(found) > 1}
    assert not doubled, f"find another name for what one of these is: {doubled}"


def is_front_end(path: Path) -> bool:
    """Whether a file has to know operators one by one: the readers, the operators themselves, the checker, and what
    writes networks for it."""
    room, *rest = parts_of(path)
    reads = room == "ir" and (rest[0] in ("onnx_reader", "gates.py", "spelled.py") or rest[0].startswith("aten"))
    return room in ("check", "ops") or reads or (room, *rest) == ("proof", "export.py")


def operators_asked(tree: ast.AST) -> Iterator[int]:
    """Lines with an `isinstance` on a registered operator, by its name or by its module's (`ops.Conv`)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            kinds = node.args[1].elts if isinstance(node.args[1], ast.Tuple) else [node.args[1]]
            names = {kind.attr if isinstance(kind, ast.Attribute) else getattr(kind, "id", "") for kind in kinds}
            if names & (REGISTRY.keys() - FAMILIES):
                yield node.lineno


def test_methods_ask_facts_and_not_which_operator_it_is() -> None:
    asked = [f"{path.relative_to(PACKAGE)}:{line}" for path in FILES if not is_front_end(path)
             for line in operators_asked(ast.parse(path.read_text()))]
    assert len(asked) <= LIMIT, f"let the operator state a fact instead: {asked}"


def test_the_count_sees_what_it_counts() -> None:
    code = "isinstance(op, Conv)\nisinstance(op, (Linear, int))\nisinstance(op, ops.ReLU)\nisinstance(op, Affine)"
    assert list(operators_asked(ast.parse(code))) == [1, 2, 3]
