"""The table of an attack on a data set."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from verify.report.table import headed, line
from verify.runs.attack.session import AttackSummary
from verify.runs.certification.summary import measure


def attacked(title: str, summary: AttackSummary) -> Group:
    """Accuracies with the interval of the population, and what each attack fooled."""
    what = measure(summary.has_classes)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for justify in ("left", "right", "right", "left"):
        table.add_column(justify=justify)
    for name, count, remark in (
        (f"clean {what}", summary.clean, ""),
        (f"robust {what}", summary.robust, "at most; a stronger attack may find less"),
    ):
        table.add_row(name, f"{100 * count / max(1, summary.samples):.1f} %", f"{count} of {summary.samples}",
                      Text(remark, style="dim"))
    low, high = summary.population
    table.add_row("population", "", "", Text(f"{100 * low:.1f} to {100 * high:.1f} % under these attacks, with 95 % "
                                             "confidence", style="dim"))
    parts: list[RenderableType] = [line(title, "bold"), Text(), table, Text(), _attacks(summary)]
    if summary.distance is not None:
        parts += [Text(), line(f"median distance of the points {summary.distance:.4g}")]
    if summary.images:
        told = ", ".join(f"{count} {what}" for what, count in sorted(summary.images.items()))
        parts.append(line(f"images of 8 bits: {told}"))
    return Group(*parts)


def _attacks(summary: AttackSummary) -> Table:
    table = headed("attack")
    for name in ("fooled", "seconds"):
        table.add_column(name, justify="right")
    for name, count in summary.fooled.items():
        table.add_row(name, str(count), f"{summary.seconds[name]:.2f}")
    return table
