"""Attacks one after another, each on the samples that those before it left open."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from verify.bracket import Bracket
from verify.lower.auto_attack import AutoAttack
from verify.method import Method
from verify.problem import Problem
from verify.solving import solve


class Searched(NamedTuple):
    """What attacks found together: for each problem a bracket, and the name of the attack that falsified it, None where
    none did; seconds by attack."""

    bracket: Bracket
    by: tuple[str | None, ...]
    seconds: dict[str, float]


def parts_of(method: Method) -> tuple[Method, ...]:
    """The attacks that a method consists of."""
    return method.attacks if isinstance(method, AutoAttack) else (method,)


def search(problem: Problem, methods: Sequence[Method], time_limit: float | None = None) -> Searched:
    """Asks every attack about the problems, of one case each, that are still open, by `verify.solve`.

    time_limit: seconds for all of them together, or None.
    """
    start, spent = time.perf_counter(), dict[str, float]()
    found, names = None, list[str | None]([None] * problem.batch)
    places = torch.arange(problem.batch, device=problem.owner.device)
    for method in methods:
        if not len(places):
            break
        left = None if time_limit is None else max(0.0, time_limit - (time.perf_counter() - start))
        bracket = solve(problem.select(places), method, left)
        spent[method.name] = spent.get(method.name, 0.0) + float(str(bracket.notes["seconds"]))
        for place in places[bracket.lower >= 0].tolist():
            names[place] = method.name
        found = bracket if found is None else _met(found, bracket, places)
        places = places[bracket.lower < 0]
    assert found is not None
    notes = {**found.notes, "seconds": time.perf_counter() - start}
    return Searched(replace(found, notes=notes), tuple(names), spent)


def _met(whole: Bracket, part: Bracket, places: Tensor) -> Bracket:
    """The brackets of all problems, those at these places met with others of the same."""
    met, index = whole.select(places.tolist()).meet(part), places

    def put(old: Tensor | None, new: Tensor | None) -> Tensor | None:
        return new if old is None or new is None else old.index_copy(0, index, new)

    lower, witness, rounding = (put(getattr(whole, name), getattr(met, name))
                                for name in ("lower", "witness", "rounding"))
    assert lower is not None
    return replace(whole, lower=lower, witness=witness, rounding=rounding, below=met.below,
                   notes={**whole.notes, **part.notes})
