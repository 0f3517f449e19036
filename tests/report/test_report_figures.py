"""The numbers and pictures of reports: counts by hand, limits by their definition, PNG files by another decoder."""

from __future__ import annotations

import base64
import io
import math
from itertools import pairwise
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import binom

from tests.support.report_runs import kinds, many, payload, put
from verify.report import figures, svg
from verify.report.images import LISTED, Panels, changes, data_uri, panels, pixels
from verify.report.plots import brackets, pareto, robustness_curve
from verify.report.rows import SHOWN, rows_of
from verify.runs.certification.confidence import clopper_pearson
from verify.runs.certification.records import read_run


def test_counts_by_hand(tmp_path: Path) -> None:
    with read_run(put(tmp_path, [*kinds(), payload(6, "1/20"), payload(7, "1/20", implied="1/10", methods={})])) as run:
        small, large = figures.levels(run)
        costs = {cost.method: cost for cost in figures.costs(run)}
        assert figures.implied(run) == 1
        assert figures.reasons(run)[0][0] == "unknown"
    assert (small.eps, small.samples, small.clean, small.attacked, small.verified) == ("1/20", 2, 2, 2, 2)
    assert (large.eps, large.samples, large.clean, large.attacked, large.verified) == ("1/10", 6, 5, 4, 2)
    assert (large.undecided, large.radius) == (2, 0.1)  # the error among them
    assert large.counts == dict.fromkeys(figures.KINDS, 1)
    assert (costs["interval"].tried, costs["interval"].decided, costs["interval"].seconds) == (2, 2, 0.5)
    assert (costs["clean"].tried, costs["clean"].decided) == (7, 1)
    assert costs["crown"].decided == 1  # an error decides nothing
    assert sum(cost.share for cost in costs.values()) == pytest.approx(1)
    assert costs["pgd"].memory == 512.0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n))))
def test_limits_of_clopper_and_pearson(counts: tuple[int, int, int]) -> None:
    low, high, n = min(counts[:2]), max(counts[:2]), counts[2]
    least, most = clopper_pearson(low, high, n)
    assert 0 <= least <= low / n <= high / n <= most <= 1
    # by definition: so many successes or more, or so few or less, have a probability of 2.5 % there
    assert binom.sf(low - 1, n, least) == pytest.approx(0.025 if low else 1.0)
    assert binom.cdf(high, n, most) == pytest.approx(0.025 if high < n else 1.0)


def decoded(uri: str) -> np.ndarray:
    """(height, width) or (height, width, 3) bytes, by matplotlib's decoder."""
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.rint(matplotlib.image.imread(io.BytesIO(content), format="png") * 255).astype(np.uint8)


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))))
def test_png_files_are_read_back(levels: np.ndarray) -> None:
    found = decoded(data_uri(levels / 255))
    assert np.array_equal(found.reshape(levels.shape), levels)


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (3, 5, 7), (5, 7, 3), (6, 9, 1)])
def test_panels_show_sample_witness_and_change(shape: tuple[int, ...]) -> None:
    noise = np.random.default_rng(0)
    sample = noise.random(shape, np.float32) * 0.8 + 0.1
    sign = noise.choice([-1.0, 0.0, 1.0], shape).astype(np.float32)
    found = panels(sample, sample + 0.09 * sign, (0.0, 1.0))
    assert found is not None
    assert found.sample is not None
    assert found.change is not None
    first = pixels(sample)
    assert first is not None
    assert np.array_equal(decoded(found.sample).reshape(first.shape), np.rint(first * 255))
    assert found.size == first.shape[:2]
    change, moved = decoded(found.change).astype(int), pixels(sign)
    assert moved is not None
    if found.is_grey:  # white where nothing moves, blue down, orange up
        assert found.factor == 10
        assert (change[moved[..., 0] == 0] == 255).all()
        assert (change[moved[..., 0] < 0][:, 2] > change[moved[..., 0] < 0][:, 0]).all()
        assert (change[moved[..., 0] > 0][:, 0] > change[moved[..., 0] > 0][:, 2]).all()
    else:
        assert found.factor == 5
        assert np.abs(change - (127.5 + 255 * 5 * 0.09 * moved)).max() <= 1.5


@pytest.mark.parametrize("shape", [(784,), (2, 8, 8), (1, 1, 8), (1, 2, 3, 4), ()])
def test_what_is_no_picture_has_no_panels(shape: tuple[int, ...]) -> None:
    assert panels(np.zeros(shape), np.zeros(shape), None) is None


def test_a_picture_without_its_sample_or_without_a_change() -> None:
    alone = panels(None, np.full((4, 4), 0.5), (0.0, 1.0))
    assert alone is not None
    assert (alone.sample, alone.change) == (None, None)
    still = panels(np.ones((4, 4)), np.ones((4, 4)), None)
    assert isinstance(still, Panels)
    assert still.factor == 1
    assert panels(None, np.full((4, 4), np.nan), None) is None


def test_the_largest_changes_come_first() -> None:
    sample = np.zeros((4, 5), np.float32)
    witness = sample.copy()
    witness[1, 2], witness[3, 4] = 0.25, -0.5
    assert [(c.place, c.before, c.after) for c in changes(sample, witness)] == [("3, 4", 0, -0.5), ("1, 2", 0, 0.25)]
    assert len(changes(sample, sample + 1)) == LISTED
    assert changes(None, witness) == []


def test_pictures_stop_where_there_is_no_room(tmp_path: Path) -> None:
    with read_run(put(tmp_path, many(60, ["1/10"]))) as run:
        whole, gallery = rows_of(run, (0.0, 1.0), 10**6)
        few, less = rows_of(run, (0.0, 1.0), gallery.picture_size)
        none, empty = rows_of(run, (0.0, 1.0), 0)
    assert len(gallery.items) == SHOWN
    assert len(whole.pictures) == gallery.of - SHOWN > 0
    assert whole.left_out == 0
    assert (len(less.items), few.pictures, few.left_out) == (SHOWN, {}, len(whole.pictures))
    assert (empty.items, none.left_out) == ([], gallery.of)


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.floats(0.001, 10))
def test_ticks_lie_on_their_axis_and_apart(low: float, span: float, bend: float) -> None:
    plain = svg.across(low, low + span)
    assert 2 <= len(plain.ticks()) <= 8
    slack = 1e-6 * span + 4 * math.ulp(max(abs(low), abs(low + span)))  # ticks are floats too
    assert all(low - slack <= tick <= low + span + slack for tick in plain.ticks())
    bent = svg.upward(min(low, 0.0), max(low + span, 0.0), bend)
    places = [bent(tick) for tick in bent.ticks()]
    assert all(a - b >= 23 for a, b in pairwise(places))
    assert 0.0 in bent.ticks()


@given(st.floats(-100, 100), st.floats(-100, 100))
def test_axes_keep_the_order(a: float, b: float) -> None:
    for axis in (svg.across(-50, 50), svg.across(-50, 50.0)):
        assert (axis(a) <= axis(b)) or a > b
        assert axis.start <= axis(a) <= axis.end
    bent = svg.upward(-100, 100, 0.5)
    assert (bent(a) >= bent(b)) or a > b  # upwards on the screen


def test_every_sample_has_its_bar(tmp_path: Path) -> None:
    with read_run(put(tmp_path, kinds())) as run:
        plot = brackets(run, "1/10")
        levels = figures.levels(run)
    assert plot is not None
    drawing = str(plot.drawing)
    for kind in ("certified", "verified", "unknown", "falsified", "misclassified"):
        assert f'class="bar {kind}"' in drawing
    assert 'class="bar error"' not in drawing
    assert "5 samples" in drawing
    assert "eps 1/10" in str(pareto([("a", levels), ("b", levels)]).drawing)
    assert 'class="band"' in str(robustness_curve([*levels, *levels]).drawing)


def test_of_many_samples_some_bars_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verify.report.plots.MOST_BARS", 20)
    with read_run(put(tmp_path, many(90, ["1/10"]))) as run:
        plot = brackets(run, "1/10")
    assert plot is not None
    assert "18 of 90 samples are drawn" in plot.caption
