"""Reports and exports of what `verify certify` itself has written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.browser import parsed
from tests.support.cli_cases import certify
from verify.cli.main import run
from verify.report import figures
from verify.report.page import clip_of
from verify.runs.certification.export import rows
from verify.runs.certification.records import read_run

EPS = "1/100,1/20,0.1"


@pytest.fixture
def told(here: Path, capsys: pytest.CaptureFixture[str]) -> dict:
    """What the command says of a run in the folder "run"; by hand, v* of sample 2 is 2 eps - 0.05."""
    assert certify("--out", "run", "--json", eps=EPS, methods="interval,pgd,crown") == 0
    return json.loads(capsys.readouterr().out)


def test_a_report_counts_what_the_command_counts(told: dict) -> None:
    with read_run("run") as read:
        levels = figures.levels(read)
        assert clip_of(read) == (0.0, 1.0)
        assert read.request["model"] == "net.onnx"
    assert [level.eps for level in levels] == list(told["radii"]) == ["1/100", "1/20", "1/10"]
    for level in levels:
        summary = told["radii"][level.eps]
        assert (level.samples, level.clean, level.verified) == (4, 3, summary["verified"])
        assert level.counts["falsified"] == summary["falsified"]
        assert level.undecided == summary["undecided"] + summary["errors"]
        assert level.interval == pytest.approx(summary["population"])
    assert [level.verified for level in levels] == [3, 2, 2]
    assert [level.counts["falsified"] for level in levels] == [0, 1, 1]


def test_its_page_shows_what_was_changed(told: dict) -> None:
    assert run(["report", "run"]) == 0
    page = parsed(Path("run", "report.html").read_text())
    assert page.one("h1").text == "net.onnx on data.npz"
    cells = [[cell.text for cell in line.all("td")] for line in page.one("table", "changes").all("tr")][1:]
    assert cells == [["0.4", "0.35"]]  # x1 alone matters, and goes down by eps
    assert any("sample 2, eps 1/20: predicted 0, then 1" in caption.text for caption in page.all("figcaption"))


def test_its_export_has_every_result(told: dict) -> None:
    assert run(["export", "run", "--to", "t.jsonl"]) == 0
    found = [json.loads(line) for line in Path("t.jsonl").read_text().splitlines()]
    with read_run("run") as read:
        assert found == rows(read)
    expected = [(index, eps) for eps in ("1/100", "1/20", "1/10") for index in range(4)]
    assert [(row["index"], row["eps"]) for row in found] == expected
    for row in found:
        if row["index"] == 2:  # the sandwich, by hand
            v = 2 * {"1/100": 0.01, "1/20": 0.05, "1/10": 0.1}[row["eps"]] - 0.05
            assert row["lower"] <= v + 1e-6
            assert row["upper"] is None or row["upper"] >= v - 1e-6
