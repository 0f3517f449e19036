"""Tables for people, drawn with Rich."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from verify.proof.prover import AS_EXPORTED
from verify.rationals import shown
from verify.runs.certification.summary import Summary, measure, reached

SHOWN = 10  # undecided samples that are listed one by one
BRACKET = "attack <= v* <= certificate"


def certification(title: str, summaries: Mapping[str, Summary]) -> Group:
    """Accuracies, methods, what is undecided and why, and what the verdicts trust, for each radius; of several radii
    first the curve."""
    if len(summaries) == 1:
        return Group(line(title, "bold"), Text(), *_details(next(iter(summaries.values()))))
    parts: list[RenderableType] = [line(title, "bold"), Text(), _curve(summaries)]
    for eps, summary in summaries.items():
        parts += [Text(), line(f"eps {eps}", "bold"), Text(), *_details(summary)]
    return Group(*parts)


def shortfall(summary: Summary, eps: str, least: Fraction | None) -> str:
    """Why a run does not pass where this share of the samples has to be verified, if any; empty where it does."""
    if least is None or reached(summary, least) == 0:
        return ""
    still = f" and {_share(summary.undecided, summary)} undecided" if summary.undecided else ""
    return f"FAIL: {_share(summary.verified, summary)} verified{still} at eps {eps}, {shown(100 * least)} % required"


def _curve(summaries: Mapping[str, Summary]) -> Table:
    """The table of shares that are verified, may be robust, or are undecided, one row a radius."""
    table = headed("eps")
    for name in ("verified", "robust at most", "undecided", "population (95 %)"):
        table.add_column(name, justify="right")
    for eps, s in summaries.items():
        low, high = s.population
        table.add_row(eps, _share(s.verified, s), _share(s.clean - s.falsified, s), str(s.undecided + s.errors),
                      f"{100 * low:.1f} to {100 * high:.1f} %")
    return table


def _details(summary: Summary) -> list[RenderableType]:
    parts: list[RenderableType] = [_accuracies(summary), Text(), _methods(summary)]
    if summary.unsettled:
        parts += [Text(), _unsettled(summary)]
    remarks = [line(f"{count} verified, but {why}") for why, count in summary.uncertified.items()]
    remarks += [line(f"{count} falsified by a witness that {remark}") for remark, count in summary.remarks.items()]
    return [*parts, *([Text(), *remarks] if remarks else []), Text(), trust_line(summary)]


def _share(count: int, summary: Summary) -> str:
    return f"{100 * count / max(summary.samples, 1):.1f} %"


def _accuracies(summary: Summary) -> Table:
    what = measure(summary.has_classes)
    rows = [
        (f"clean {what}", summary.clean, ""),
        (f"{what} under attack", summary.clean - summary.falsified, f"the robust {what} is at most this"),
        (f"verified {what}", summary.verified, "and at least this"),
        ("undecided", summary.undecided, ""),
    ]
    if summary.certified:
        remark = "with a certificate that the checker accepted"
        remark += f", {summary.uncompared} {AS_EXPORTED}" if summary.uncompared else ""
        rows.insert(3, (f"certified {what}", summary.certified, remark))
    if summary.errors:
        rows.append(("errors", summary.errors, "see below; please report them"))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for justify in ("left", "right", "right", "left"):
        table.add_column(justify=justify)
    for name, count, remark in rows:
        table.add_row(name, _share(count, summary), f"{count} of {summary.samples}", Text(remark, style="dim"))
    low, high = summary.population
    interval = f"{100 * low:.1f} to {100 * high:.1f} %, with 95 % confidence"
    table.add_row("population", "", "", Text(interval, style="dim"))
    return table


def _methods(summary: Summary) -> Table:
    table = headed("method")
    for name in ("decided", "seconds", "peak MiB"):
        table.add_column(name, justify="right")
    for name, count in summary.decided.items():
        seconds, memory = summary.seconds.get(name, 0.0), summary.memory.get(name, 0.0)
        table.add_row(name, str(count), f"{seconds:.2f}", f"{memory:.0f}" if memory else "")
    return table


def _unsettled(summary: Summary) -> Group:
    """How many samples are open for which reason, and the brackets of the first ones."""
    reasons = [line(f"{count} undecided: {why}") for why, count in summary.reasons.items()]
    reasons += [line(f"{count} in error: {what}") for what, count in summary.failures.items()]
    table = headed("sample", "label", BRACKET)
    for result in summary.unsettled[:SHOWN]:
        table.add_row(str(result["index"]), named(result["label"]), bracket(result["lower"], result["upper"]))
    more = len(summary.unsettled) - SHOWN
    return Group(*reasons, Text(), table, *([line(f"and {more} more in the run's store")] if more > 0 else []))


def named(label: int | None) -> str:
    """A class in a table, nothing where there are none."""
    return "" if label is None else str(label)


def headed(*columns: str) -> Table:
    """A table with these first columns and a rule below its head."""
    return Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)


def line(text: str, style: str = "") -> Text:
    """One line, however narrow the terminal."""
    return Text(text, style=style, no_wrap=True, overflow="ignore")


def bracket(lower: float | None, upper: float | None) -> str:
    """One bracket; a side without a bound is infinite."""
    low, high = "-inf" if lower is None else f"{lower:.4g}", "inf" if upper is None else f"{upper:.4g}"
    return f"{low} <= v* <= {high}"


def trust_line(summary: Summary) -> Text:
    """What the verdicts trust, with the methods that it concerns."""
    sources = [f"{what} ({', '.join(methods)})" for what, methods in summary.trusts.items()]
    return line(f"the verdicts trust {', '.join(sources) or 'nothing, there are none'}", "italic")
