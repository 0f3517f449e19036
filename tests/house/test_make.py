"""What the targets of the Makefile run."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from benchmarks.__main__ import HERE, run_all
from tests.house.test_layout import PACKAGE

ROOT = PACKAGE.parent
WITHOUT_QUICK_TESTS = {"__pycache__", "support", "fuzz", "examples"}


def test_benchmarks_go_on_after_a_failure(tmp_path: Path) -> None:
    scripts = [tmp_path / "fails.py", tmp_path / "works.py"]
    scripts[0].write_text("raise SystemExit(3)")
    scripts[1].write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    out = io.StringIO()
    assert run_all(scripts, Console(file=out, width=80)) == 1
    assert (tmp_path / "ran").exists()
    assert [line.split()[1:6:2] for line in out.getvalue().splitlines() if ".py" in line and "│" in line] == [
        ["fails.py", "0", "failed"], ["works.py", "0", "ok"],
    ]
    assert run_all(scripts[1:], Console(file=out)) == 0
    assert HERE == ROOT / "benchmarks"


def test_quick_tests_are_of_every_room() -> None:
    (files,) = re.findall(r"^QUICK := \$\(addprefix tests/,(.*?)\)$", (ROOT / "Makefile").read_text(), re.M | re.S)
    names = files.replace("\\\n", " ").split()
    assert names
    for name in names:
        file, _, test = name.partition("::")
        path = ROOT / "tests" / file
        assert path.is_file(), f"make quick names tests/{name}, which is not there"
        assert f"def {test}" in path.read_text(), f"make quick names {name}, which is not there"
    rooms = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()} - WITHOUT_QUICK_TESTS
    assert rooms == {name.split("/")[0] for name in names if "/" in name}
