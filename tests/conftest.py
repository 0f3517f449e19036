"""Fixtures of several test files, and what is said of skipped tests at the end of a run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.support.cli_cases import X, Y, onnx_file


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model and data."""
    onnx_file(tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the tests that did not run, by their reasons: a run that is green has not run these."""
    skipped: dict[str, Counter[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        skipped.setdefault(reason.removeprefix("Skipped: "), Counter())[report.nodeid.split("[")[0]] += 1
    if not skipped:
        return
    terminalreporter.section(f"not run: {sum(map(Counter.total, skipped.values()))} skipped tests")
    for reason, names in sorted(skipped.items()):
        terminalreporter.line(f"{names.total()} because: {reason}")
        for name, count in sorted(names.items()):
            terminalreporter.line(f"    {name}" + (f" ({count} cases)" if count > 1 else ""))
