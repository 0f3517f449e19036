"""The table of a comparison of gaps, drawn with Rich, and its plots, drawn with Matplotlib (extra `plot`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from verify.errors import InputError
from verify.report.table import BRACKET, headed, line
from verify.runs.studies.gap import Figures, Gaps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUMBERS = ("median", "mean", "max", "verified", "falsified", "s/sample")
LEAST = 1e-4  # gaps below it lie on a linear part of the axis, 0 included


def gap_tables(title: str, found: Mapping[str, Gaps]) -> Group:
    """For each eps the figures of every method, and why methods did not answer in full."""
    parts: list[RenderableType] = [line(title, "bold")]
    for eps, compared in found.items():
        parts += [Text(), line(f"eps {eps}, gaps of {BRACKET}"), _figures(compared.figures)]
        parts += [
            line(f"{name}: {count} of {figures.samples}: {why}")
            for name, figures in compared.figures.items() for why, count in figures.notes.items()
        ]
    remark = "gap: certificate - best attack, or best certificate - attack; verified, falsified: by the method alone"
    return Group(*parts, Text(), line(remark, "italic"))


def _figures(figures: Mapping[str, Figures]) -> Table:
    table = headed("method")
    for name in NUMBERS:
        table.add_column(name, justify="right", no_wrap=True)
    for name, f in figures.items():
        gaps = ["-" if math.isnan(value) else f"{value:.3g}" for value in (f.median, f.mean, f.largest)]
        shares = [f"{100 * count / f.samples:.1f} %" for count in (f.verified, f.falsified)]
        table.add_row(name, *gaps, *shares, f"{f.seconds:.2g}")
    return table


def plot_gaps(folder: Path, title: str, found: Mapping[str, Gaps]) -> list[Path]:
    """Writes gaps.png (a bar from attack to certificate for each sample and method), gaps-time.png (median gap
    against seconds for a sample) and, of several eps, gaps-eps.png (median gap against eps); returns their paths.

    Raises InputError where Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("plots need Matplotlib, which is not installed; pip install 'verify-nn[plot]'") from None
    pages = {
        "gaps": Figure(figsize=(9, 0.8 + 3.6 * len(found)), layout="constrained"),
        "gaps-time": Figure(figsize=(7, 4.5), layout="constrained"),
    }
    panels = pages["gaps"].subplots(len(found), squeeze=False)[:, 0]
    for axes, (eps, compared) in zip(panels, found.items(), strict=True):
        _draw_brackets(axes, eps, compared)
    _draw_times(pages["gaps-time"].subplots(), found)
    if len(found) > 1:
        pages["gaps-eps"] = Figure(figsize=(7, 4.5), layout="constrained")
        _draw_radii(pages["gaps-eps"].subplots(), found)
    paths = []
    for name, page in pages.items():
        page.suptitle(title, fontsize="medium")
        paths.append(folder / f"{name}.png")
        try:
            page.savefig(paths[-1], dpi=150)
        except OSError as problem:
            raise InputError(f"cannot write {paths[-1]}: {problem.strerror}; name another folder") from None
    return paths


def _draw_brackets(axes: Axes, eps: str, compared: Gaps) -> None:
    """A bar for each sample and method with two finite ends, and the line v* = 0 between robust and not."""
    from matplotlib.ticker import MaxNLocator

    for place, name in enumerate(compared.methods):
        rows = compared.of(name)
        shown = [row for row in rows if math.isfinite(row.attack) and math.isfinite(row.certificate)]
        at = [row.index + 0.7 * ((place + 0.5) / len(compared.methods) - 0.5) for row in shown]
        missing = f" ({len(rows) - len(shown)} unbounded)" if len(shown) < len(rows) else ""
        tops = [row.certificate for row in shown]
        color = f"C{place}"
        axes.vlines(at, [row.attack for row in shown], tops, color, linewidth=3, label=name + missing)
        axes.plot(at, tops, "_", color=color, markersize=6)  # a closed bracket stays visible
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_yscale("symlog", linthresh=1.0)
    axes.set(xlabel="sample", ylabel=BRACKET, title=f"eps {eps}")
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))


def _draw_times(axes: Axes, found: Mapping[str, Gaps]) -> None:
    """A point for each method and eps, of one method joined."""
    for name in _names(found):
        points = [(compared.figures[name].seconds, compared.figures[name].median) for compared in found.values()]
        _draw_line(axes, name, points)
    axes.set_xscale("log")
    axes.set(xlabel="seconds for a sample", ylabel="median gap")
    _finish(axes)


def _draw_radii(axes: Axes, found: Mapping[str, Gaps]) -> None:
    """A line for each method, from the smallest eps on."""
    from verify.rationals import rational

    radii = sorted((float(rational(eps, "eps")), eps) for eps in found)
    for name in _names(found):
        _draw_line(axes, name, [(value, found[eps].figures[name].median) for value, eps in radii])
    axes.set(xlabel="eps", ylabel="median gap")
    _finish(axes)


def _draw_line(axes: Axes, name: str, points: list[tuple[float, float]]) -> None:
    finite = [(x, max(y, 0.0)) for x, y in points if math.isfinite(y)]
    axes.plot([x for x, _ in finite], [y for _, y in finite], "o-", linewidth=1, label=name)


def _finish(axes: Axes) -> None:
    axes.set_yscale("symlog", linthresh=LEAST)
    axes.set_ylim(0, 2 * axes.get_ylim()[1])
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _names(found: Mapping[str, Gaps]) -> list[str]:
    """The methods, which are the same for every eps."""
    return list(next(iter(found.values())).methods)
