"""Minimal distortions: closed form on linear networks, exact MILP search on small ones, the sandwich on digits."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from verify.models import digits

import verify
from tests.support.cli_cases import X, Y, error_of, onnx_file
from verify.cli.main import run
from verify.ir.rewrite import simplify
from verify.runs.engine.store import Store
from verify.runs.request import RadiusRequest
from verify.runs.studies.radii import Radii, _next_place
from verify.runs.studies.radius import Radius, distance
from verify.runs.studies.radius_session import prepare_radius, summarize_radii

METHODS = {"pgd": verify.PGD(), "crown": verify.CROWN(), "bab": verify.BranchAndBound(time_limit=10)}
DUAL = {"linf": 1, "l2": 2, "l1": torch.inf}


def radii(network: verify.Network, x: torch.Tensor, y: list[int], norm: str, most: str, clip: tuple | None) -> Radii:
    return Radii(simplify(network), x, y, Fraction(most), norm, clip, METHODS, {"bab"}, Fraction(1, 100), 10.0)


def brackets(job: Radii) -> list[Radius]:
    found = job.first(range(len(job.x)))
    return [r if r.is_final else job.last([r])[0] for r in found]


@pytest.mark.parametrize("norm", DUAL)
def test_linear_networks_have_the_closed_form(norm: str) -> None:
    """Without a clip the distance to the boundary with class j is (h_y - h_j) / ||w_y - w_j||, the dual norm."""
    torch.manual_seed(0)
    layer = nn.Linear(6, 4)
    x, y = torch.rand(12, 6), torch.randint(0, 4, (12,))
    network = verify.trace(nn.Sequential(layer), x[:1])
    h, w, rows = layer(x).detach(), layer.weight.detach(), torch.arange(12)
    norms = (w[y][:, None] - w[None]).norm(DUAL[norm], dim=2)
    norms[rows, y] = 1
    exact = ((h[rows, y][:, None] - h) / norms).masked_fill(nn.functional.one_hot(y, 4).bool(), torch.inf).amin(1)
    for radius in brackets(radii(network, x, y.tolist(), norm, "8", None)):
        want = max(float(exact[radius.index]), 0.0)
        assert radius.is_closed
        assert radius.upper is not None
        assert float(radius.lower) <= want * (1 + 1e-5) + 1e-6
        assert want <= radius.upper * (1 + 1e-5) + 1e-6
        assert radius.upper <= float(radius.lower) * 1.0101 + 1e-12


@pytest.mark.parametrize("norm", DUAL)
def test_ends_hold_on_digits(norm: str) -> None:
    x, y = digits()
    most = {"linf": "1"}.get(norm, "8")
    job = radii(verify.load("digits-dense-interval"), x[:3], y[:3].tolist(), norm, most, (0, 1))
    found = brackets(replace(job, tolerance=Fraction(1, 5), timeout=100.0))
    assert all(r.is_closed for r in found)
    for radius in found:
        assert radius.upper is not None
        assert radius.point is not None
        point = torch.from_numpy(radius.point)[None]
        assert int(job.network(point).argmax()) != radius.label
        assert distance(x[radius.index].numpy(), radius.point, norm) == radius.upper
        if radius.lower > 0:
            below = job.problem(radius.lower, [radius.index])
            assert verify.solve(below, verify.PGD(restarts=5)).verdicts[0] != "falsified"


def test_a_radius_that_reaches_nothing_is_verified_to_the_end() -> None:
    x, y = digits()
    job = radii(verify.load("digits-dense-interval"), x[:3], y[:3].tolist(), "linf", "1/100", (0, 1))
    assert [(r.lower, r.upper, r.is_closed) for r in brackets(job)] == [(Fraction(1, 100), None, True)] * 3


def test_methods_that_contradict_each_other_are_an_error() -> None:
    """A method that verifies everything meets the witness of an attack."""
    x, y = digits()
    job = radii(verify.load("digits-dense-plain"), x[:2], y[:2].tolist(), "linf", "1", (0, 1))
    (found, _) = job.first([0, 1])
    liar = replace(found, lower=Fraction(3, 4), below="liar")
    point = x[0] if found.point is None else torch.from_numpy(found.point)
    again = job._falsified(replace(liar, upper=None), Fraction(1), ("pgd", None), point)
    assert again.error
    assert "liar verifies radius 3/4" in again.error


@given(st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=6), st.sampled_from(["linf", "l2", "l1"]))
def test_distances_are_rounded_up(values: list[float], norm: str) -> None:
    point = np.array(values, np.float32)
    exact = [abs(Fraction(float(v))) for v in point]
    found = Fraction(distance(np.zeros_like(point), point, norm))
    true = {"linf": max(exact), "l1": sum(exact), "l2": sum(d * d for d in exact)}[norm]
    assert (found**2 if norm == "l2" else found) >= true
    assert float(found) == pytest.approx(float(true) ** (0.5 if norm == "l2" else 1), rel=1e-12)


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_grid_search_ends(robust: int, fragile: int) -> None:
    """Verified up to one place, falsified from another on, nothing said between: all is found in few questions."""
    grid = [Fraction(k) for k in range(32)]
    last, first = min(robust, fragile), max(robust, fragile) + 1
    radius, asked = Radius(0, 0, 0), 0
    while (place := _next_place(radius, grid)) is not None:
        asked += 1
        if place <= last:
            radius = replace(radius, lower=grid[place])
        elif place >= first:
            radius = replace(radius, upper=float(grid[place]))
        else:
            low, high = radius.unknown or (place, place)
            radius = replace(radius, unknown=(min(low, place), max(high, place)))
        assert asked <= 12
    assert radius.lower == last
    assert radius.upper == (first if first < 32 else None)


def test_the_command_and_its_continuation(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["radius", "net.onnx", "--data", "data.npz", "--json", "--out", "run"]
    assert run(call) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["samples"], found["clean"], found["errors"]) == (4, 3, 0)
    # by hand, of sample 2: 0.75 + relu(0.1) = 0.9 - 2 r at r = 0.025, both inputs lowered
    sample = found["results"][2]
    assert float(Fraction(sample["lower"])) == pytest.approx(0.025, rel=0.011)
    assert sample["upper"] == pytest.approx(0.025, rel=0.011)
    assert found["results"][3]["upper"] == 0
    assert run([*call, "--resume"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["results"] == found["results"]
    assert run(call) == 2
    assert "run holds a run already" in error_of(capsys)
    assert run([*call, "--resume", "--tolerance", "2%"]) == 2
    assert "tolerance was 1/100, now 1/50" in error_of(capsys)
    with Store.read("run") as store:
        assert summarize_radii(store).closed == 4


@pytest.mark.parametrize(("more", "message"), [
    (["--clip", "none"], "give the largest one to look at with --most"), (["--most", "0"], "the largest radius is 0"),
    (["--tolerance", "0"], "must be positive"), (["--methods", "nothing"], "unknown method 'nothing'"),
    (["--norm", "l3"], "unknown norm 'l3'"), (["--most", "-1"], "at least 0"), (["--resume"], "name it with --out"),
])
def test_bad_options(here: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["radius", "net.onnx", "--data", "data.npz", *more]) == 2
    assert message in error_of(capsys)


def test_the_default_radius_reaches_the_whole_clip(tmp_path: Path) -> None:
    onnx_file(tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    texts = str(tmp_path / "net.onnx"), str(tmp_path / "data.npz")
    most = {norm: prepare_radius(RadiusRequest(*texts, norm=norm, clip="-1,1")).job.most for norm in DUAL}
    assert most == {"linf": 2, "l2": 4, "l1": 4}


@pytest.mark.usefixtures("here")
def test_the_factor_of_a_perturbation_is_bracketed(capsys: pytest.CaptureFixture[str]) -> None:
    """Beside a dense grid of factors: none below the lower end fools, and the nearest lies below the upper one."""
    text = "brightness:0.5"
    assert run(["radius", "digits-dense-interval", "--data", "digits", "--limit", "4", "--set", text, "--tolerance",
                "20%", "--methods", "pgd,crown,bab", "--out", "run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["title"].startswith(f"digits-dense-interval on 4 samples of digits, {text} times eps up to 1")
    (x, y), network = digits(), verify.load("digits-dense-interval")
    kept = Store.read(Path("run"))
    for r in found["results"]:
        i = r["index"]
        whole = verify.perturbed(network, x[i : i + 1], y[i : i + 1], text)
        shares = torch.linspace(0, 1, 501)
        points = torch.cat([x[i].flatten().expand(1002, -1), torch.cat([shares / 2, -shares / 2])[:, None]], 1)
        fools = whole.select(torch.zeros(1002, dtype=torch.long)).violation(points) >= 0
        least = min(torch.cat([shares, shares])[fools].tolist(), default=None)
        assert r["verdict"] == "closed"
        assert least is None or Fraction(r["lower"]) < least
        if r["upper"] is None:
            assert (least, Fraction(r["lower"])) == (None, 1)
            continue
        assert least is not None
        assert least <= r["upper"] * 1.01 <= float(Fraction(r["lower"])) * 1.22
        stored = kept.array(f"sample/{i}", "witness")
        assert stored is not None
        image = torch.from_numpy(stored.copy())
        assert int(network(image[None]).argmax()) != int(y[i])
        assert whole.front is not None
        made = whole.front(torch.cat([x[i].flatten(), torch.tensor(r["parameters"])])[None])[0]
        torch.testing.assert_close(made, image, atol=1e-5, rtol=0)
    assert any(r["upper"] is not None for r in found["results"])


def test_a_box_has_the_radii_of_a_ball(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for more in ([], ["--set", "box:-1,1"]):
        assert run(["radius", "net.onnx", "--data", "data.npz", "--tolerance", "2%", "--json", *more]) == 0
        results = json.loads(capsys.readouterr().out)["results"]
        found.append([(float(Fraction(r["lower"])), r["upper"]) for r in results])
    for ball, box in zip(*found, strict=True):
        assert ball[0] <= (box[1] or 1)
        assert box[0] <= (ball[1] or 1)
