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


def refuse_overwriting(path: Path, *inputs: Path) -> None:
    """Raises InputError where a file to be written is one of those that are read."""
    if any(path.resolve() == given.resolve() for given in inputs):
        raise InputError(f"{path} is an input of this command and would be overwritten; name another file")


def writable_folder(path: Path) -> None:
    """Makes a folder where there is none. Raises InputError if files cannot be written in it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InputError(f"cannot make the folder {path}: {problem.strerror}; name another one") from None
    check_writable(path / "file")


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file beside `path` and moves it there, so that no reader sees a part of it. Raises InputError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        beside.replace(path)
    except OSError as problem:
        beside.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {problem.strerror}; name another file") from None
