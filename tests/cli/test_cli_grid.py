"""`--grid`: only inputs on the grid are asked about, and what does not fit is told in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from verify.cli.main import run
from verify.errors import InputError
from verify.runs.certification.records import read_run
from verify.runs.request import RadiusRequest, SmoothRequest, UniversalRequest
from verify.runs.subject import read

ASKED = ["certify", "digits-dense-plain", "--data", "digits", "--limit", "6", "--methods", "interval,pgd"]


def test_an_eps_below_one_step_leaves_the_sample_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    run([*ASKED, "--eps", "1/20", "--grid", "16", "--out", str(out)])
    assert "on the grid of 1/16" in capsys.readouterr().out
    found = read_run(out)
    assert found.config["grid"] == 16
    decided = {record.verdict for record in found.records if record.method == "interval"}
    assert decided == {"verified"}
    assert not any(record.method == "pgd" for record in found.records)


@pytest.mark.parametrize(("options", "words"), [
    (["--grid", "255"], "no multiple of 1/255"),
    (["--grid", "16", "--norm", "l2"], "l2 balls"),
    (["--grid", "16", "--set", "rotation:5deg"], "varies parameters"),
    (["--grid", "70000"], "grid is 70000"),
])
def test_what_is_no_grid_is_refused(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*ASKED, "--eps", "1/20", *options]) == 2
    assert words in capsys.readouterr().err


def test_no_command_answers_for_all_inputs_where_a_grid_was_asked_for() -> None:
    model = ("digits-dense-interval", "digits")
    for request in (RadiusRequest(*model, grid=16), UniversalRequest(*model, eps="0.1", grid=16),
                    SmoothRequest(*model, sigma="0.1", grid=16)):
        with pytest.raises(InputError, match="leave out --grid"):
            read(request)
        more = {"universal": ["--eps", "0.1"], "smooth": ["--sigma", "0.1"]}.get(request.command, [])
        assert run([request.command, model[0], "--data", model[1], *more, "--grid", "16"]) == 2
