"""Searches for a counterexample of a model that is only executed, for as long as there is time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf

from verify.deadline import Deadline
from verify.method import Method
from verify.registry import Entry


def attacks(entries: dict[str, Entry], limit: Deadline) -> Iterator[tuple[str, Method, Deadline]]:
    """(name, method, when its part of the time ends): the methods with their usual settings, and where there is a limit
    then once more until it comes, each in an equal part of what is left."""
    rounds = [entries] if limit.at == inf else [entries, {n: e for n, e in entries.items() if e.patient}]
    for number, chosen in enumerate(rounds):
        for k, (name, entry) in enumerate(chosen.items()):
            if limit.is_over:
                return
            method = entry.make(None)
            if number:
                method = replace(method, **entry.patient, seed=number)
            yield name, method, limit.part(1 / (len(chosen) - k))
