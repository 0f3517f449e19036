"""Every code block of README.md, CONTRIBUTING.md and docs/ runs, in one folder outside of the checkout.

First the Python of all pages, page after page in one process, each page by itself; then the commands. A page may use
the files that README makes. `verify` commands run for real and return 0; `make` targets exist; `pip` lines are those
of test_packaging's wheel.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import verify
from tests.house.test_layout import RUNGS
from tests.support.onnx_models import chain, numbers

ROOT = Path(__file__).resolve().parents[2]
README, FURTHER = ROOT / "README.md", [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = [README, *(page for page in FURTHER if page.exists())]
READ = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])  # their links are followed
BLOCK = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WHEEL = f"verify_nn-{verify.__version__}-py3-none-any.whl"
NOT_RUN = ("pip wheel --no-deps --wheel-dir dist .", f"pip install dist/{WHEEL}")
EVERY_PAGE = "import runpy, sys\nsys.path.append('.')\nfor page in sys.argv[1:]:\n    runpy.run_path(page)\n"
EVERY_COMMAND = """
import contextlib, io, json, sys
from verify.cli.main import run
sys.path.append(".")
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = run(words)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def blocks(language: str, page: Path) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text()) if found == language]


def commands(page: Path) -> list[tuple[str, str]]:
    """(command, what the page shows as its output) of every line with a prompt."""
    parts = [part for text in blocks("console", page) for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "120"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def labels(output: str) -> list[str]:
    """The words with which the lines begin; figures and seconds differ between machines."""
    return [match[0].strip() for match in re.finditer(r"^[a-z]+( [a-z]+)*", output, re.MULTILINE)]


def anchors(page: Path) -> set[str]:
    """What a link into a page may name: its headings, lower case, with hyphens for spaces and no other marks."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def write_user_files(folder: Path) -> None:
    """What the pages take to be there: two ONNX models of the user, the files that they show, and a benchmark folder
    with one model and one property."""
    dense = [("Gemm", "x", numbers(0, 64, 20), numbers(1, 20)), ("Relu",), ("Gemm", "x", numbers(2, 20, 10))]
    classifier = chain("batch", 1, 8, 8, steps=[("Flatten",), *dense])
    small = np.full((4, 1), 0.1, np.float32)  # its output stays below 3/2, which is what the certificate is of
    controller = chain(1, 2, steps=[("Gemm", "x", numbers(3, 2, 4)), ("Relu",), ("Gemm", "x", small)])
    for name, model in (("classifier.onnx", classifier), ("controller.onnx", controller)):
        (folder / name).write_bytes(model.SerializeToString())
    for text in (text for page in RUN for language in ("toml", "lisp") for text in blocks(language, page)):
        (folder / text.split()[1].rstrip(":")).write_text(text)
    family = folder / "benchmarks" / "control"
    family.mkdir(parents=True)
    (family / "instances.csv").write_text("controller.onnx,controller.vnnlib,30\n")
    for name in ("controller.onnx", "controller.vnnlib"):
        (family / name).write_bytes((folder / name).read_bytes())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the Python blocks have run, in order; one that begins with "# name.py" is that file too."""
    place = tmp_path_factory.mktemp("readme")
    write_user_files(place)
    scripts = []
    for page in RUN:
        for text in blocks("python", page):
            title = re.match(r"# (\w+\.py)\n", text)
            if title:
                (place / title[1]).write_text(text)
        scripts.append(f"page_{page.stem.lower()}.py")
        (place / scripts[-1]).write_text("\n".join(blocks("python", page)))
    done = run([sys.executable, "-W", "error", "-c", EVERY_PAGE, *scripts], place)
    assert done.returncode == 0, done.stderr
    assert "verified" in done.stdout
    return place


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_all_blocks_are_of_a_kind_that_is_run(page: Path) -> None:
    found = BLOCK.findall(page.read_text())
    assert {language for language, _ in found} <= {"python", "console", "lisp", "toml"}
    assert len(found) == page.read_text().count("```") // 2
    for text in blocks("console", page):
        assert text.startswith("$ ")


def test_the_commands_run_after_the_python_blocks(folder: Path) -> None:
    """Those of `verify` by its entry point, in one process, which imports torch once."""
    asked = []
    for command, shown in (one for page in RUN for one in commands(page)):
        words = shlex.split(command)
        if words[0] == "verify":
            asked.append((command, words[1:], shown))
        elif words[0] == "make":
            assert run(["make", "--dry-run", *words[1:]], ROOT).returncode == 0, command
        else:
            assert command in NOT_RUN, f"{command} is neither run nor allowed to be left out"
    assert len(asked) >= 20
    done = run([sys.executable, "-c", EVERY_COMMAND, json.dumps([words for _, words, _ in asked])], folder)
    assert done.returncode == 0, done.stderr
    for (command, _, shown), (code, out, err) in zip(asked, map(json.loads, done.stdout.splitlines()), strict=True):
        assert code == 0, f"{command}\n{err}"
        assert not shown or labels(shown) == labels(out), command


def test_the_table_is_that_of_make_demo() -> None:
    (shown,) = (command for command, output in commands(README) if "population" in output)
    assert f"$(BIN)/{shown}\n" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("page", READ, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        place = page.parent / path if path else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


def test_a_reader_finds_every_page_from_readme() -> None:
    for page in FURTHER:
        assert f"({page.relative_to(ROOT)})" in README.read_text(), page


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_files_that_are_named_are_there(page: str) -> None:
    folders = ("verify", "tests", "models", "examples", "benchmarks", "docs")
    files = [f"/{path.relative_to(ROOT)}" for folder in folders for path in (ROOT / folder).rglob("*.*")]
    named = re.findall(r"`([\w/]+\.(?:py|md))`", (ROOT / page).read_text())
    assert len(named) > 20
    for name in named:
        assert (ROOT / name).exists() or any(file.endswith(f"/{name}") for file in files), name


def test_the_ladder_of_rooms_is_that_of_the_layout() -> None:
    rows = re.findall(r"^\| (\d*) ?\| (.*) \| .* \|$", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    ladder: list[set[str]] = []
    for number, names in rows:
        ladder += [set()] if number else []
        ladder[-1] |= {name.replace("__init__", "verify") for name in re.findall(r"`(\w+)(?:/|\.py)`", names)}
    assert ladder == list(RUNGS)


def test_it_names_every_method() -> None:
    for name in ("FGSM", "PGD", "Interval", "CROWN", "LP", "MILP"):
        assert f"`{name}`" in README.read_text()
