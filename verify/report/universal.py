"""The table of `verify universal`, drawn with Rich."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from verify.report.table import headed, line
from verify.uap.solving import Universal

COLUMNS = ("one fools", "at most", "own fool", "rigour", "s")


def universal_table(title: str, found: Mapping[str, Universal]) -> Group:
    """For each eps what each method's perturbation fools, the bracket, and what perturbations of the samples' own fool.
    """
    attacks = [name for one in found.values() for name, method in one.methods.items() if method.upper is None]
    names = list(dict.fromkeys(attacks))
    table = headed("eps")
    for name in (*names, *COLUMNS):
        table.add_column(name, justify="right", no_wrap=True)
    for eps, one in found.items():
        counts = [str(one.methods[name].count) if name in one.methods else "-" for name in names]
        low, high = one.single
        own = str(low) if low == high else f"{low} to {high}"
        seconds = sum(method.seconds for method in one.methods.values())
        table.add_row(eps, *counts, str(one.lower), str(one.upper), own, str(one.rigour), f"{seconds:.2g}")
    parts: list[RenderableType] = [line(title, "bold"), Text(), table]
    parts += [line(f"eps {eps}: {method.notes['stopped']}") for eps, one in found.items() if not one.closed
              for method in one.methods.values() if method.upper is not None and "stopped" in method.notes]
    remark = "samples whose class changes; own: where each sample has a perturbation of its own"
    return Group(*parts, Text(), line(remark, "italic"))
