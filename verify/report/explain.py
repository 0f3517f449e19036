"""What `verify explain` prints."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from verify.report.table import BRACKET, bracket, headed, line
from verify.runs.certification.explain import Explanation

SHOWN = 5  # classes


def explanation(found: Explanation) -> Group:
    """Verdict, methods, classes, layers and advice."""
    record = found.record
    reason = f": {record['reason']}" if record["reason"] else ""
    parts: list[RenderableType] = [
        line(found.title, "bold"), Text(),
        line(f"{_sample(record)}{record['verdict']}"
             f"{' by ' + record['method'] if record['method'] else ''}{reason}"),
        Text(), _methods(found), Text(),
        line(f"the best attack comes to violation {found.attack:.4g}"
             + _reached(found)),
        line(f"the bound before any split is {found.root:.4g}, by {_kind(found)}:"), Text(), _classes(found), Text(),
        _layers(found), Text(),
    ]
    if (search := found.search) is not None:
        came = f"came to {search.upper:.4g} after {search.domains} domains"
        parts.append(line(f"a search of {search.seconds:.1f} s {came}"))
    return Group(*parts, *(line(f"next: {text}", "bold") for text in found.advice))


def _sample(record: dict[str, Any]) -> str:
    return "" if record["label"] is None else f"label {record['label']}, predicted {record['prediction']}; "


def _methods(found: Explanation) -> Table:
    table = headed("method")
    table.add_column("seconds", justify="right")
    table.add_column(BRACKET)
    for name, tried in found.record["methods"].items():
        table.add_row(name, f"{tried['seconds']:.3f}", bracket(tried["lower"], tried["upper"]))
    return table


def _reached(found: Explanation) -> str:
    """What the best attack brings about."""
    if found.attacked is None:
        return ", so an output leaves its range" if found.attack >= 0 else ", so no output leaves its range"
    return f", where class {found.attacked} is predicted" if found.attack >= 0 else ", so the class stays"


def _kind(found: Explanation) -> str:
    return "output" if found.record["label"] is None else "class"


def _classes(found: Explanation) -> Table:
    table = headed(_kind(found))
    table.add_column("bound", justify="right")
    table.add_column("")
    for name, bound in found.classes[:SHOWN]:
        table.add_row(str(name).removeprefix("output "), f"{bound:.4g}", "blocks" if bound >= 0 else "ruled out")
    if rest := found.classes[SHOWN:]:
        table.add_row("others", f"<= {rest[0][1]:.4g}", "")
    return table


def _layers(found: Explanation) -> Table:
    table = headed("layer")
    for name in ("neurons", "unstable", "share of the gap"):
        table.add_column(name, justify="right")
    for layer in found.layers:
        table.add_row(layer.name, str(layer.neurons), str(layer.unstable), f"{100 * layer.share:.0f} %")
    return table
