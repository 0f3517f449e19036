"""`verify doctor`: what is installed here."""

from __future__ import annotations

import typer


def doctor() -> None:
    """Show versions and devices, what is missing and how to add it.

    The exit code is 2 if something is missing that the toolkit needs.
    """
    from verify.report.doctor import report

    lines, healthy = report()
    print("\n".join(lines))
    raise typer.Exit(0 if healthy else 2)
