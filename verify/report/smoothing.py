"""The table of a smoothed data set."""

from __future__ import annotations

from rich.console import Group
from rich.text import Text

from verify.report.table import headed, line
from verify.runs.smoothing.session import SmoothingSummary


def smoothed(title: str, summary: SmoothingSummary) -> Group:
    """The accuracy of the smoothed classifier by radius, in words that tell it from a proof."""
    table = headed("within l2")
    for name in ("robust accuracy", "samples"):
        table.add_column(name, justify="right")
    for text, count in (summary.robust or {}).items():
        table.add_row(text, f"{100 * count / max(1, summary.samples):.1f} %", f"{count} of {summary.samples}")
    told = (f"statistical, of the smoothed classifier: each answer is right with probability {summary.confidence}, "
            f"{summary.draws} draws; no proof")
    parts = [line(title, "bold"), Text()]
    parts += [table, Text()] if summary.robust is not None else []
    parts += [line(f"abstains on {summary.abstained} of {summary.samples}; mean radius {summary.mean_radius:.4g}; "
                   f"{summary.seconds:.1f} s"), line(told, "dim")]
    return Group(*parts)
