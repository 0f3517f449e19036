"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from verify.errors import InputError


def check_writable(path: Path) -> None:
    """Raises InputError if a file cannot be written there; called before long work."""
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        why = "it is a folder" if path.is_dir() else "its folder is absent or read-only"
        raise InputError(f"cannot write {path}: {why}; name another file")


def write_whole(path: Path, text: str) -> None:
    """Writes a text beside `path` and moves it there, so that no reader sees a part of it. Raises InputError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text)
        beside.replace(path)
    except OSError as problem:
        beside.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {problem.strerror}; name another file") from None
