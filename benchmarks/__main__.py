"""Runs every benchmark in turn, whether others fail or not, and says at the end how long each took: `make bench`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent


def run_all(scripts: Sequence[Path], console: Console) -> int:
    """Runs the scripts with this interpreter and prints a row for each; 1 if any failed, else 0."""
    table, failed = Table("script", "seconds", "result"), 0
    for script in scripts:
        console.rule(script.name)
        start = time.perf_counter()
        code = subprocess.run([sys.executable, str(script)], check=False).returncode
        table.add_row(script.name, f"{time.perf_counter() - start:.0f}", "ok" if code == 0 else f"failed ({code})")
        failed += code != 0
    console.print(table)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(run_all([path for path in sorted(HERE.glob("*.py")) if path != Path(__file__)], Console()))
