"""A small cascade for the tests of runs, workers and clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from verify.models import digits

import verify
from verify.ir.rewrite import simplify
from verify.runs.certification.cascade import Cascade
from verify.runs.engine.store import Store

EPS = ("1/50", "1/20", "1/10")
METHODS = {
    "interval": verify.Interval(), "pgd": verify.PGD(steps=10), "crown": verify.CROWN(),
    "bab": verify.BranchAndBound(domains=40),
}


def cascade(eps: Sequence[str] = EPS, samples: int = 15) -> Cascade:
    """Digits on a network that leaves all kinds of verdicts, by methods that do not look at the clock."""
    network, (x, y) = simplify(verify.load("digits-conv-adversarial")), digits()
    problems = {radius: verify.robustness(network, x[:samples], y[:samples], radius) for radius in eps}
    return Cascade(problems, x[:samples], y[:samples].tolist(), METHODS, {"bab"})


def table_of(store: Store) -> dict[str, tuple[Any, ...]]:
    """Of every result the verdict, what decided it and the method's name; no seconds."""
    found = {key: payload for key, payload in store.items() if key.startswith("sample/")}
    return {key: (p["verdict"], p["method"], p.get("implied")) for key, p in sorted(found.items())}
