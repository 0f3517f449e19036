"""What several test files share."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

SHARED = Path(__file__).resolve().parents[3] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared benchmark folder is not beside the checkout")


def later(values: Iterable[object], dear: Collection[object]) -> list[ParameterSet]:
    """The values as parameters of a test, of which the dear ones run in `make conformance` only."""
    return [pytest.param(value, marks=pytest.mark.conformance if value in dear else ()) for value in values]
