"""The page of operators is what the backends say of the registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.operator_table import COLUMNS, HEAD, line, row, table
from verify.ops import REGISTRY

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operators.md"
STALE = "run python -m tests.support.operator_table > docs/operators.md"


def rows() -> dict[str, str]:
    """The lines of the table on the page, by operator."""
    text = PAGE.read_text()
    assert text.startswith(HEAD + line(COLUMNS)), STALE
    lines = text.removeprefix(HEAD).splitlines()[2:]
    return {told.split(" | ")[0].removeprefix("| "): told for told in lines}


def test_the_page_lists_the_registry() -> None:
    assert rows().keys() == REGISTRY.keys(), STALE


@pytest.mark.parametrize("name", ["Linear", "LeakyReLU", "Floor", "Max"])
def test_the_page_says_what_the_backends_say(name: str) -> None:
    assert rows()[name] == row(name), STALE


@pytest.mark.conformance
def test_the_page_is_current() -> None:
    assert PAGE.read_text() == HEAD + table(), STALE
