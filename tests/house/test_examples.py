"""Every example runs as a script, outside of the checkout, and what it prints is in order."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.helpers import SHARED, needs_shared

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MOST_LINES = 80
NUMBER = r"-?(?:\d+\.\d+|inf)"
PUBLISHED = {2: 2.0393, 8: 3.543}  # two of the tutorial's minima, which take seconds to solve


def run(name: str, folder: Path, *arguments: str) -> str:
    """The standard output of an example with these arguments, run in the folder with warnings as errors."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_short_and_tested_here() -> None:
    text = Path(__file__).read_text()
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert scripts
    for script in scripts:
        assert len(script.read_text().splitlines()) <= MOST_LINES, script.name
        assert f'run("{script.name}"' in text, f"no test runs {script.name}"


def test_certify_torch_model(tmp_path: Path) -> None:
    out = run("certify_torch_model.py", tmp_path, "--samples", "20", "--eps", "1/50")
    clean, attacked, interval, crown = (float(share) for share in re.findall(r"([\d.]+)%", out))
    assert clean >= attacked >= crown >= interval
    assert clean > 80
    assert crown > 0


def test_certified_training(tmp_path: Path) -> None:
    out = run("certified_training.py", tmp_path, "--epochs", "12", "--samples", "50")
    rows = [[float(share) for share in re.findall(r"\d+\.\d", line)] for line in out.splitlines()[1:]]
    plain, trained = rows
    for clean, attacked, interval, crown in rows:
        assert clean >= attacked >= max(interval, crown)
    assert trained[2] > plain[2]
    assert trained[3] > 40


def minima(out: str) -> list[tuple[int, float, float, float, float, float]]:
    """(target, interval, CROWN, LP, exact minimum, PGD) of each row that tutorial_inner_maximum prints."""
    rows = [line.split() for line in out.splitlines() if re.match(r" \d +-?\d", line)]
    return [(int(row[0]), float(row[1]), float(row[2]), float(row[3]), float(row[4]), float(row[5])) for row in rows]


def test_tutorial_inner_maximum(tmp_path: Path) -> None:
    rows = minima(run("tutorial_inner_maximum.py", tmp_path, "--targets", "4", "6"))
    assert [row[0] for row in rows] == [4, 6]
    for _, interval, crown, lp, exact, attack in rows:
        assert interval < crown <= lp + 1e-4
        assert lp < exact <= attack + 1e-4
        assert exact > 0


@needs_shared
@pytest.mark.conformance
def test_tutorial_inner_maximum_finds_the_published_minima(tmp_path: Path) -> None:
    files = SHARED / "data/tutorial/model_small.safetensors", SHARED / "data/mnist/t10k-images-idx3-ubyte.gz"
    out = run("tutorial_inner_maximum.py", tmp_path, *map(str, files), "--targets", *map(str, PUBLISHED))
    rows = minima(out)
    assert [row[0] for row in rows] == list(PUBLISHED)
    for target, *_, exact, attack in rows:
        assert exact == pytest.approx(PUBLISHED[target], rel=2e-4)
        assert attack >= exact - 1e-4


def test_tutorial_inner_maximum_wants_both_files(tmp_path: Path) -> None:
    script = str(EXAMPLES / "tutorial_inner_maximum.py")
    command = [sys.executable, script, "model.safetensors"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "give the weights and the images, or neither" in done.stderr


def test_compare_gaps(tmp_path: Path) -> None:
    run("compare_gaps.py", tmp_path, "--samples", "4", "--out", "result")
    with (tmp_path / "result/gaps.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    gaps: dict[str, list[float]] = {}
    for row in rows:
        lower, upper, gap = (float(row[name]) for name in ("attack", "certificate", "gap"))
        assert lower <= upper + 1e-5
        assert gap == pytest.approx(upper - lower, abs=1e-5)
        verdict = "falsified" if lower >= 0 else "verified" if upper < 0 else "unknown"
        assert row["verdict"] == verdict
        gaps.setdefault(row["method"], []).append(gap)
    means = [sum(gaps[name]) / 4 for name in ("Interval", "CROWN", "LP", "MILP")]
    assert means == sorted(means, reverse=True)
    assert means[0] > means[1] > means[3]
    assert (tmp_path / "result/gaps.png").read_bytes().startswith(b"\x89PNG")


def test_custom_op(tmp_path: Path) -> None:
    out = run("custom_op.py", tmp_path, "--samples", "2000", "--seed", "3")
    best = float(re.findall(rf"samples +({NUMBER}) <= v\*", out)[0])
    pairs = re.findall(rf"^(\S+) +({NUMBER}) <= v\* <= ({NUMBER})$", out, re.MULTILINE)
    upper = {name: float(value) for name, _, value in pairs}
    assert upper["Interval"] >= upper["CROWN"] >= upper["LP"] - 1e-5
    assert upper["LP"] >= upper["MILP"] - 1e-5
    assert upper["MILP"] >= best - 1e-5
    assert all(float(lower) <= upper["MILP"] + 1e-5 for _, lower, _ in pairs)
