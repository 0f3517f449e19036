"""The table of a search for radii."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from verify.report.table import headed, line, named
from verify.runs.studies.radius_session import RadiusSummary

SHOWN = 10  # open samples that are listed one by one
BRACKET = "certificate <= radius <= attack"


def radii(title: str, summary: RadiusSummary) -> Group:
    """The two ends over all samples, how many brackets are closed, and the first ones that are not."""
    counts = f"{summary.closed} of {summary.samples} closed, {summary.open} open, {summary.errors} errors; "
    wrong = summary.samples - summary.errors - summary.clean
    why = "misclassified" if any(r["label"] is not None for r in summary.results) else "out of range"
    parts: list[RenderableType] = [
        line(title, "bold"), Text(), _ends(summary), Text(),
        line(f"{counts}{wrong} have radius 0, as they are {why}; {summary.seconds:.1f} s"),
    ]
    if summary.beyond:
        parts.append(line(f"{summary.beyond} have no attack up to the largest radius, and are not in the attack's row"))
    parts += [line(f"{count} open: {why}") for why, count in summary.reasons.items()]
    unsettled = [r for r in summary.results if r["verdict"] != "closed"]
    return Group(*parts, *([Text(), _samples(unsettled)] if unsettled else []))


def _ends(summary: RadiusSummary) -> Table:
    table = headed("radius")
    for name in ("mean", "median", "least", "largest"):
        table.add_column(name, justify="right")
    for name, end in (("certificate (at least)", summary.lower), ("attack (at most)", summary.upper)):
        table.add_row(name, *(f"{value:.5g}" for value in end.values()))
    return table


def _samples(unsettled: list[dict[str, Any]]) -> Group:
    table = headed("sample", "label", BRACKET)
    for r in unsettled[:SHOWN]:
        upper = "inf" if r["upper"] is None else f"{r['upper']:.5g}"
        table.add_row(str(r["index"]), named(r["label"]), f"{r['lower']} <= radius <= {upper}")
    more = len(unsettled) - SHOWN
    return Group(table, *([line(f"and {more} more in the run's store")] if more > 0 else []))
