"""`verify attack` as a user meets it: table, points and images that fool, continued runs, one line for bad input."""

from __future__ import annotations

import json
import re
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from verify.models import digits

import verify
from tests.support.cli_cases import error_of
from verify.cli.main import run


def attack(*more: str, eps: str = "1/10", attacks: str = "pgd,apgd") -> int:
    return run(["attack", "net.onnx", "--data", "data.npz", "--eps", eps, "--attack", attacks, *more])


def grey(path: Path) -> np.ndarray:
    """The bytes of a grey PNG whose lines have no filter."""
    data = path.read_bytes()
    start = data.index(b"IDAT") + 4
    length = int.from_bytes(data[start - 8 : start - 4], "big")
    width, height = (int.from_bytes(data[k : k + 4], "big") for k in (16, 20))
    return np.frombuffer(zlib.decompress(data[start : start + length]), np.uint8).reshape(height, width + 1)[:, 1:]


def test_the_table_the_points_and_a_continued_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand: sample 3 is wrong as it is, sample 2 has a margin of 0.05, the others of 0.55 and more."""
    assert attack("--out", "run") == 0
    out, err = capsys.readouterr()
    assert "net.onnx on 4 samples of data.npz, linf eps 1/10, clip [0,1]" in out
    assert re.search(r"^clean accuracy +75.0 % +3 of 4", out, re.MULTILINE)
    assert re.search(r"^robust accuracy +50.0 % +2 of 4 +at most", out, re.MULTILINE)
    assert re.search(r"^PGD-40 +1 +\d", out, re.MULTILINE)
    assert re.search(r"^APGD-smooth-100 +0 +\d", out, re.MULTILINE)
    assert "points in run/points.npz" in err
    kept, network = np.load("run/points.npz"), verify.load("net.onnx")
    assert kept["index"].tolist() == [2, 3]
    assert kept["y"].tolist() == [0, 1]
    assert network(torch.from_numpy(kept["point"])).argmax(1).tolist() != kept["y"].tolist()
    for x, point in zip(kept["x"].ravel().tolist(), kept["point"].ravel().tolist(), strict=True):
        assert abs(Fraction(x) - Fraction(point)) <= Fraction(1, 10)
    assert attack("--out", "run", "--resume", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["samples"], found["clean"], found["robust"], found["errors"]) == (4, 3, 2, 0)
    assert found["fooled"] == {"PGD-40": 1, "APGD-smooth-100": 0}
    low, high = found["population"]
    assert low < 0.5 < high
    assert found["config"]["eps"] == "1/10"
    assert attack("--out", "run") == 2
    assert "holds a run already" in error_of(capsys)


def test_images_fool_and_lie_in_the_ball(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On samples whose pixels are levels / 255, all images of an Linf ball of 26 levels are members."""
    x, y = digits()
    x = (x * 255).round() / 255
    np.savez("digits.npz", x=x[:12], y=y[:12])
    for norm, eps in (("linf", "26/255"), ("l2", "1/2")):
        assert run(["attack", "digits-dense-adversarial", "--data", "digits.npz", "--eps", eps, "--norm", norm,
                    "--attack", "apgd", "--out", norm, "--json"]) == 0
        found, kept = json.loads(capsys.readouterr().out), np.load(f"{norm}/points.npz")
        network, state = verify.load("digits-dense-adversarial"), {"still fool": 0, "no longer fool": 0}
        assert len(kept["index"]) >= 2
        for k, index in enumerate(kept["index"].tolist()):
            level = grey(Path(norm, "points", f"{index:05}.png"))
            assert np.array_equal(level, kept["levels"][k, 0])
            image = torch.from_numpy(level.astype(np.float32) / 255)[None, None]
            delta = [Fraction(a) - Fraction(b) for a, b in zip(image.ravel().tolist(), x[index].ravel().tolist(),
                                                               strict=True)]
            assert max(map(abs, delta)) <= Fraction(26, 255) if norm == "linf" else sum(d * d for d in delta) <= 1 / 4
            fools = int(network(image).argmax()) != int(y[index])
            state["still fool" if fools else "no longer fool"] += 1
        assert found["images"] == {what: count for what, count in state.items() if count}
        assert state["still fool"] >= 1


def test_of_perturbations_the_executed_images_and_their_parameters_are_kept(
        here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = digits()
    network = verify.load("digits-dense-interval")
    asked = ["attack", "digits-dense-interval", "--data", "digits", "--limit", "8", "--attack", "pgd", "--eps", "1"]
    assert run([*asked, "--set", "translation:1,0", "--out", "moved", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "points in moved/points.npz, as images in moved/points; run kept in moved" in err
    kept, images = np.load("moved/points.npz"), json.loads(out)["images"]
    assert len(kept["index"]) >= 2
    assert sorted(path.name for path in Path("moved/points").iterdir()) == [f"{k:05}.png" for k in kept["index"]]
    assert kept["point"].shape == kept["x"].shape == (len(kept["index"]), 1, 8, 8)
    assert kept["variables"].shape == (len(kept["index"]), 66)
    points, labels = torch.from_numpy(kept["point"]), torch.from_numpy(kept["y"])
    assert bool((network(points).argmax(1) != labels).all())
    assert np.array_equal(kept["variables"][:, :64], x[kept["index"]].flatten(1).numpy())
    assert np.abs(kept["variables"][:, 64:]).max(0).tolist() <= [1, 0]
    for k, index in enumerate(kept["index"]):
        level = grey(Path("moved/points", f"{index:05}.png"))
        assert np.abs(level / 255 - kept["point"][k, 0]).max() <= 0.5 / 255 + 1e-6
    fooling = int((network(torch.from_numpy(kept["levels"].astype(np.float32) / 255)).argmax(1) != labels).sum())
    assert images["still fool"] == fooling
    assert set(images) <= {"still fool", "no longer fool"}
    assert y[kept["index"]].tolist() == kept["y"].tolist()


def test_nothing_is_announced_where_nothing_is_left(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sample 0 has a margin of 0.55; points of flat inputs are no pictures."""
    assert attack("--limit", "1", "--out", "run") == 0
    assert "no sample was fooled; run kept in run" in capsys.readouterr().err
    assert sorted(path.name for path in Path("run").iterdir() if path.suffix != ".sqlite") == []
    np.savez("two.npz", x=np.array([[0.5, 0.25], [0.5, 0.1]], np.float32), y=np.array([1, 1]))
    assert run(["attack", "tests.support.opaque_models:branching", "--data", "two.npz", "--eps", "1/10", "--attack",
                "random", "--out", "flat"]) == 0
    assert "points in flat/points.npz; run kept in flat" in capsys.readouterr().err
    assert not Path("flat/points").exists()


def test_models_that_are_only_executed_are_attacked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("two.npz", x=np.array([[0.5, 0.25], [0.5, 0.1]], np.float32), y=np.array([1, 1]))
    assert run(["attack", "tests.support.opaque_models:branching", "--data", "two.npz", "--eps", "1/10", "--attack",
                "random", "--json", "--out", "run"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out)["clean"], json.loads(out)["robust"]) == (2, 0)
    assert "torch.export cannot follow Branching" in err


@pytest.mark.parametrize(("more", "told"), [
    (("--attack", "crown"), "crown is no attack"), (("--attack", "none"), "unknown method 'none'"),
    (("--attack", "square,autoattack"), "Square-5000 is asked for twice"), (("--eps", "-1"), "must be at least 0"),
    (("--data", "absent.npz"), "absent.npz"), (("--timeout", "0"), "timeout is 0"),
])
def test_what_is_wrong_is_one_line(here: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...],
                                   told: str) -> None:
    assert attack(*more) == 2
    assert told in error_of(capsys)
