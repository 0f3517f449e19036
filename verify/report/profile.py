"""The table of a profile."""

from __future__ import annotations

from rich.console import Group
from rich.text import Text

from verify.report.table import headed, line
from verify.runs.engine.profile import Profile

SHOWN = 15  # parts


def parts(profile: Profile) -> Group:
    """The parts that took the most time."""
    table = headed("where")
    for name in ("seconds", "share"):
        table.add_column(name, justify="right")
    for name, seconds in list(profile.parts.items())[:SHOWN]:
        table.add_row(name, f"{seconds:.2f}", f"{100 * seconds / max(profile.total, 1e-9):.0f} %")
    head = line(f"{profile.total:.2f} s, by file with the library calls that it makes", "bold")
    return Group(Text(), head, Text(), table)
