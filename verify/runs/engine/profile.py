"""Where the time of a run goes: by file of the package, each with the library calls that it makes."""

from __future__ import annotations

import cProfile
import pstats
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

PACKAGE = Path(__file__).resolve().parents[2]
FILE = "profile.pstats"
T = TypeVar("T")


@dataclass(frozen=True)
class Profile:
    """Seconds by file of the package, and by library where another library called it; `total` of all."""

    total: float
    parts: dict[str, float]


def profiled(work: Callable[[], T]) -> tuple[T, cProfile.Profile]:
    """The result of some work, and its profile."""
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        return work(), profiler
    finally:
        profiler.disable()


def by_file(profiler: cProfile.Profile) -> Profile:
    """Time of the package's own functions, and of the functions of libraries that they call directly, by file."""
    stats = pstats.Stats(profiler)
    parts: Counter[str] = Counter()
    for (file, _, _), (_, _, own, _, callers) in stats.stats.items():  # type: ignore[attr-defined]
        name = _name(file)
        if name.startswith(f"{PACKAGE.name}/"):
            parts[name] += own
            continue
        for (caller, _, _), (_, _, share, _) in callers.items():
            source = _name(caller)
            parts[source if source.startswith(f"{PACKAGE.name}/") else name] += share
    total = float(stats.total_tt)  # type: ignore[attr-defined]
    return Profile(total, {name: seconds for name, seconds in parts.most_common() if seconds > 0})


def _name(file: str) -> str:
    """A file of the package relative to it; of another library its name."""
    path = Path(file)
    if path.is_relative_to(PACKAGE):
        return str(path.relative_to(PACKAGE.parent))
    if "site-packages" in path.parts:
        return path.parts[path.parts.index("site-packages") + 1].removesuffix(".py")
    return "built in" if file.startswith(("~", "<")) else "python"
