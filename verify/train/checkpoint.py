"""The state of a training between two epochs, in one file that is there whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from verify.errors import InputError
from verify.runs.engine.files import write_whole

FILE = "checkpoint.pt"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Replaces the checkpoint in a run folder. `state` holds tensors, numbers, texts, lists and dictionaries."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(folder / FILE, buffer.getvalue())


def load(folder: Path) -> dict[str, Any] | None:
    """The checkpoint of a run folder, None where there is none. Raises InputError for a damaged one."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # a damaged archive fails in many ways
        first = next(iter(str(problem).strip().splitlines()), type(problem).__name__)
        raise InputError(f"the checkpoint {path} cannot be read ({first}); start again in another folder") from None
