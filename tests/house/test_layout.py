"""The plan of the house, read off the syntax trees: imports point one way, files stay small, names are explained."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "verify"
MODELS = PACKAGE.parent / "models"  # which is verify.models
FILES = sorted([*PACKAGE.rglob("*.py"), *MODELS.rglob("*.py")])
LONGEST = 320

# A file imports from its own rung and from those below it. A new folder takes its place here.
RUNGS = (
    {"errors", "check"},
    {"rationals", "deadline", "marks", "registry"},
    {"rows", "labels"},
    {"sets", "spec", "bracket"},
    {"ops", "vnnlib"},
    {"ir", "models"},
    {"goals", "problem"},
    {"method", "fronts", "given"},
    {"solvers"},
    {"lower", "upper"},
    {"exact"},
    {"proof"},
    {"solving"},
    {"data", "smoothing", "uap"},
    {"runs", "report", "train"},
    {"cli", "pytest_plugin", "verify"},
)
RANK = {name: rank for rank, names in enumerate(RUNGS) for name in names}
LAZY = {"verify", "cli", "pytest_plugin"}  # their functions import on use, for a quick start


def module_name(path: Path) -> str:
    home = PACKAGE if path.is_relative_to(PACKAGE) else MODELS.parent
    parts = ("verify", *path.relative_to(home).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def part(module: str) -> str:
    """The folder or file under verify/ that a module belongs to; "verify" for the package itself."""
    return module.split(".")[1] if "." in module else module


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def import_statements(node: ast.AST, lazy: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run; those inside functions only if `lazy`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif is_type_checking(child) or (isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not lazy):
            continue
        else:
            yield from import_statements(child, lazy)


def imports(path: Path, lazy: bool) -> set[str]:
    """Modules of the package, to the file, that a file imports."""
    found = set()
    for statement in import_statements(ast.parse(path.read_text()), lazy):
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        else:
            assert statement.level == 0, f"{path.name}:{statement.lineno} has a relative import; write verify.<module>"
            inner = [f"{statement.module}.{alias.name}" for alias in statement.names]
            names = [name if name in MODULES else statement.module or "" for name in inner]
        found.update(name for name in names if name == "verify" or name.startswith("verify."))
    return found - {module_name(path)}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str):
    here = part(module)
    found = {part(name) for name in imports(MODULES[module], lazy=here not in LAZY)} - {here}
    if here == "check":
        assert not found, "the checker trusts nothing of the package"
    elif here != "verify":
        assert here in RANK, f"verify/{here} has no rung yet; give it one in RUNGS"
        assert not found - RANK.keys(), f"{module} imports a part that has no rung: {found - RANK.keys()}"
        higher = {name for name in found if RANK[name] > RANK[here]}
        assert not higher, f"{module} imports {sorted(higher)}, which lies above it"


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_imported_by_a_string(module: str):
    """Where the syntax tree shows what is imported, the tests above see it."""
    calls = [node for node in ast.walk(ast.parse(MODULES[module].read_text())) if isinstance(node, ast.Call)]
    for call in calls:
        named = isinstance(call.func, ast.Name | ast.Attribute) and ast.unparse(call.func).endswith("import_module")
        text = call.args[0].value if named and call.args and isinstance(call.args[0], ast.Constant) else ""
        assert not text, f"{module}:{call.lineno} imports {text!r} by a string; write an import statement"


def test_imports_have_no_circle():
    graph = {module: imports(path, lazy=part(module) not in LAZY) & MODULES.keys() for module, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"import circle: {' -> '.join((*trail[trail.index(module):], module))}"
        if module not in done:
            for target in sorted(graph[module]):
                visit(target, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_the_package_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'highspy', 'scipy', 'onnx', 'onnxruntime', 'typer', 'rich', 'pulp', 'cvxpy'}"
    script = f"import sys, verify; dir(verify); print(sorted(set(sys.modules) & {heavy}))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda path: path.stem)
def test_commands_name_their_arguments(path: Path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    many = [f"{ast.unparse(node.func)}, line {node.lineno}" for node in calls if len(node.args) > 4]
    assert not many, f"{path.name} passes more than 4 arguments by position to {many}; name them, so that none swap"


def is_named_by_its_decorator(node: ast.ClassDef | ast.FunctionDef) -> bool:
    """Whether it is registered under an operator's name, as @handles("MatMul"), which says what it is."""
    calls = [d for d in node.decorator_list if isinstance(d, ast.Call) and d.args]
    return any(isinstance(arg, ast.Constant) and isinstance(arg.value, str) for call in calls for arg in call.args)


@pytest.mark.parametrize("path", FILES, ids=MODULES)
def test_files_are_small_and_explained(path: Path):
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= LONGEST, f"{path} is longer than {LONGEST} lines; split it"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names), f"{path}:{node.lineno} imports *"
    public = [n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and not n.name.startswith("_")]
    silent = [node.name for node in public if not (ast.get_docstring(node) or is_named_by_its_decorator(node))]
    assert not silent, f"{path} has public names without a docstring: {silent}"
    assert not tree.body or ast.get_docstring(tree), f"{path} has no docstring"
