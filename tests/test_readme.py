"""Every code block of README.md runs: Python in one process, then the commands, in one folder outside of the checkout.

`verify` commands run for real and exit with 0; `make` targets exist; `pip` lines are those of test_packaging's wheel.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import verify
from tests.onnx_models import chain, numbers

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"^```([a-z]*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
WHEEL = f"verify_nn-{verify.__version__}-py3-none-any.whl"
NOT_RUN = ("pip wheel --no-deps --wheel-dir dist .", f"pip install dist/{WHEEL}")


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCKS if found == language]


def commands() -> list[tuple[str, str]]:
    """(command, what README shows as its output) of every line with a prompt."""
    parts = [part for text in blocks("console") for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "120"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def labels(output: str) -> list[str]:
    """The words with which the lines begin; figures and seconds differ between machines."""
    return [match[0].strip() for match in re.finditer(r"^[a-z]+( [a-z]+)*", output, re.MULTILINE)]


def write_user_files(folder: Path) -> None:
    """What README takes to be there: two ONNX models of the user, the property file that it shows, and a benchmark
    folder with one of each."""
    dense = [("Gemm", "x", numbers(0, 64, 20), numbers(1, 20)), ("Relu",), ("Gemm", "x", numbers(2, 20, 10))]
    classifier = chain("batch", 1, 8, 8, steps=[("Flatten",), *dense])
    small = np.full((4, 1), 0.1, np.float32)  # its output stays below 3/2, which is what the certificate is of
    controller = chain(1, 2, steps=[("Gemm", "x", numbers(3, 2, 4)), ("Relu",), ("Gemm", "x", small)])
    for name, model in (("classifier.onnx", classifier), ("controller.onnx", controller)):
        (folder / name).write_bytes(model.SerializeToString())
    for text in blocks("toml"):
        (folder / text.split()[1]).write_text(text)
    for text in blocks("lisp"):
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
    for text in blocks("python"):
        title = re.match(r"# (\w+\.py)\n", text)
        if title:
            (place / title[1]).write_text(text)
    (place / "all_blocks.py").write_text("\n".join(blocks("python")))
    done = run([sys.executable, "-W", "error", "all_blocks.py"], place)
    assert done.returncode == 0, done.stderr
    assert "verified" in done.stdout
    return place


def test_all_blocks_are_of_a_kind_that_is_run() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "console", "lisp", "toml"}
    assert len(BLOCKS) == README.count("```") // 2
    for text in blocks("console"):
        assert text.startswith("$ ")


def test_the_commands_run_after_the_python_blocks(folder: Path) -> None:
    ran = 0
    for command, shown in commands():
        words = shlex.split(command)
        if words[0] == "verify":
            done = run(words, folder)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            assert not shown or labels(shown) == labels(done.stdout), command
            ran += 1
        elif words[0] == "make":
            assert run(["make", "--dry-run", *words[1:]], ROOT).returncode == 0, command
        else:
            assert command in NOT_RUN, f"{command} is neither run nor allowed to be left out"
    assert ran >= 5


def test_the_table_is_that_of_make_demo() -> None:
    (shown,) = (command for command, output in commands() if output and " digits " in command)
    assert f"$(BIN)/{shown}\n" in (ROOT / "Makefile").read_text()


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_it_names_every_method() -> None:
    for name in ("FGSM", "PGD", "Interval", "CROWN", "LP", "MILP"):
        assert f"`{name}`" in README
