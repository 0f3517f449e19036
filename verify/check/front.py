"""The front of a claim: the first nodes of its network, which make the input of the model of the cases' variables.

What follows them reads the last of them and nothing else of theirs, so it is a network of its own: the one that is
compared with a model file. The front is part of the claim, and told in words as the nodes compute it.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from verify.check.claim import SHOWN, brief
from verify.check.network import Arrays
from verify.check.numbers import Rejected

ENTRYWISE = {"scale": "factor", "divide": "divisor", "shift": "offset"}
Form = tuple[np.ndarray, np.ndarray, np.ndarray]  # of each entry a x_j + b: (entries,) j, and rationals a and b


def behind(header: dict[str, Any], count: int) -> dict[str, Any]:
    """The network after so many nodes of front. Rejects a front that leaves nothing, or is read but for its last
    node."""
    if not count:
        return header
    nodes = header["nodes"]
    if count >= len(nodes):
        raise Rejected(f"the front has {count} nodes, which leaves no network behind it")
    last, rest = nodes[count - 1], nodes[count:]
    known = {last["name"], *(node["name"] for node in rest)}
    wrong = next((name for node in rest for name in node["inputs"] if name not in known), None)
    if wrong is not None:
        raise Rejected(f"the network behind the front reads {wrong!r}, which is not the front's result")
    return {"input": last["name"], "shape": last["shape"], "nodes": rest}


def words(header: dict[str, Any], arrays: Arrays, count: int, level: str) -> tuple[str, ...]:
    """What the first nodes make of the variables x, in lines: entry by entry where each is made of one variable, else
    the nodes; and in which arithmetic. The header is that of a network that has been built."""
    if not count:
        return ()
    front, size = header["nodes"][:count], int(np.prod(header["shape"]))
    form = _form(header["input"], size, front, arrays)
    how = "in real arithmetic" if level == "R" else "in float32 node by node, or in float64 and rounded once"
    if form is not None:
        return (f"the network's input u is made of x, {how}:", *_first(list(_runs(form, size))))
    told = [f"{node['name']!r:.60} is {node['op']} of {', '.join(f'{name!r:.60}' for name in node['inputs'])}"
            for node in front]
    return (f"the network's input {front[-1]['name']!r:.60} is made of x = {header['input']!r:.60}, {how}:",
            *_first(told))


def _first(lines: list[str]) -> list[str]:
    return [*lines[:SHOWN], *([f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else [])]


def _form(name: str, size: int, nodes: list[dict[str, Any]], arrays: Arrays) -> Form | None:
    """What the last of the nodes is of x; None where one of them does more than to move entries and to multiply and add
    constants."""
    ones, zeros = (_rationals(np.full(size, value)) for value in (1.0, 0.0))
    forms: dict[str, Form] = {name: (np.arange(size), ones, zeros)}
    for node in nodes:
        given = [np.concatenate(parts) for parts in zip(*(forms[source] for source in node["inputs"]), strict=True)]
        place, factor, offset = given
        if node["op"] in ENTRYWISE:
            spread = np.broadcast_to(arrays[node[ENTRYWISE[node["op"]]]], node["shape"]).reshape(-1)
            constant = _rationals(spread.astype(np.float64))
            if node["op"] == "shift":
                offset = offset + constant
            elif node["op"] == "scale":
                factor, offset = factor * constant, offset * constant
            else:
                factor, offset = factor / constant, offset / constant
        elif node["op"] == "gather" and arrays[node["index"]].shape[1] == 1:
            index = arrays[node["index"]][:, 0]
            share = _rationals(np.where(index < 0, 0.0, 1.0)) / _rationals(arrays[node["divisor"]].astype(np.float64))
            place, factor, offset = place[index], factor[index] * share, offset[index] * share
        else:
            return None
        forms[node["name"]] = place, factor, offset
    return forms[nodes[-1]["name"]]


def _rationals(values: np.ndarray) -> np.ndarray:
    """Floats as rationals, an object array of the same length."""
    found, places = np.unique(values, return_inverse=True)
    exact = np.empty(len(found), object)
    exact[:] = [Fraction(value) for value in found.tolist()]
    return exact[places]


def _runs(form: Form, size: int) -> Iterator[str]:
    """Each run of entries that do the same to variables in a row, in words."""
    place, factor, offset = form
    entries = np.arange(len(place))
    same = (place - entries)[1:] == (place - entries)[:-1]
    same &= ((factor[1:] == factor[:-1]) & (offset[1:] == offset[:-1])).astype(bool)
    starts = [0, *(np.flatnonzero(~same) + 1).tolist(), len(place)]
    for start, end in pairwise(starts):
        whole = start == 0 and end == len(place) == size
        left = "u" if whole else _span("u", start, end)
        right = "x" if whole and place[0] == 0 else _span("x", place[start], place[start] + end - start)
        yield f"{left} = {_affine(factor[start], offset[start], right)}"


def _span(letter: str, start: int, end: int) -> str:
    return f"{letter}_{start}" + (f"..{end - 1}" if end - start > 1 else "")


def _affine(factor: Fraction, offset: Fraction, x: str) -> str:
    """a x + b, as (x - m) / s where it is more than a shift."""
    if factor == 0:
        return _exact(offset)
    mean, deviation = -offset / factor, 1 / factor
    moved = x if mean == 0 else f"{x} {'-' if mean > 0 else '+'} {_exact(abs(mean))}"
    if deviation == 1:
        return moved
    return f"{moved if mean == 0 else f'({moved})'} / ({_exact(deviation)})"


def _exact(number: Fraction) -> str:
    """The fraction itself, unless it is far longer than a float's."""
    return brief(number, 80)
