"""Fixtures of several test files."""

from __future__ import annotations

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
