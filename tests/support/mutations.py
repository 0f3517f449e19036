"""Random damage to certificates: to their trees and duals, to what they claim, to the form of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from tests.support.certificates import Parts

Place = tuple[Any, Any]  # a list or an object of the header, and a key of it
PROOF, CLAIM = ("layers", "boxes", "searches"), ("network", "cases")
JUNK: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 1 << 40, 10**30, -(10**30), 0.5, 1e300, float("nan"), float("inf"), -0.0, "",
    "0", "-1", "1/0", "nan", "1e9", "x", "\ud800", "é" * 2000, "9" * 1500, [], {}, [0], [[0, "1"]], {"x": 0}, [[[[]]]],
]


def places(value: Any) -> Iterator[Place]:
    """Everywhere in a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in pairs:
        yield value, key
        yield from places(part)


def pick(parts: Parts, fields: tuple[str, ...], rng: np.random.Generator, where: Callable[[Any], bool]) -> Place | None:
    """A random place of the header under these fields whose value is as asked."""
    found = [place for field in fields for place in places({field: parts.header[field]}) if where(place[0][place[1]])]
    return found[rng.integers(len(found))] if found else None


def network_arrays(parts: Parts) -> set[str]:
    texts = {v for node in parts.header["network"]["nodes"] for v in node.values() if isinstance(v, str)}
    return texts & parts.arrays.keys()


def numbers(parts: Parts, names: set[str], rng: np.random.Generator) -> None:
    """Other numbers in an array, type and shape kept."""
    usable = sorted(name for name in names if parts.arrays[name].size)
    if not usable:
        return
    name = usable[rng.integers(len(usable))]
    values, kind = parts.arrays[name].copy(), parts.arrays[name].dtype
    at = np.unravel_index(rng.integers(values.size), values.shape)
    how = int(rng.integers(9))
    with np.errstate(all="ignore"):
        if how == 0:
            values[at] = -values[at]
        elif how == 1:
            values[at] = values[at] + kind.type(1)
        elif how == 2:
            values[at] = np.array(rng.choice([0, 1, 127, 128, 200])).astype(kind)
        elif how == 3:
            values = rng.permutation(values.reshape(-1)).reshape(values.shape)
        elif how == 4:
            values = values[::-1].copy()
        elif how == 5 and kind.kind == "f":
            values[at] = values[at] * rng.choice([1.01, 0.5, 2, 100, -3])
        elif how == 6 and kind.kind == "f":
            values = (values + rng.normal(size=values.shape) * rng.choice([1e-3, 0.1, 10])).astype(kind)
        elif how == 7:
            bits = values.view(np.uint8).reshape(-1)
            bits[rng.integers(bits.size)] ^= 1 << rng.integers(8)
        else:
            values[...] = rng.integers(0, 130, values.shape).astype(kind)
    parts.arrays[name] = values


def shapes(parts: Parts, names: set[str], rng: np.random.Generator) -> None:
    """Another type or shape of an array, or no array."""
    name = sorted(names)[rng.integers(len(names))]
    values, how = parts.arrays[name], int(rng.integers(7))
    with np.errstate(all="ignore"):
        changed = [
            lambda: values.reshape(-1), lambda: values[None], lambda: values[:-1] if values.ndim else values,
            lambda: np.concatenate([values, values]) if values.ndim else values,
            lambda: values.astype(rng.choice(["<f4", "<f8", "<i4", "<i8", "<u2", "|u1", "|i1"])),
            lambda: values.T, lambda: values[:0] if values.ndim else values,
        ][how]()
    parts.arrays[name] = np.ascontiguousarray(changed)
    if rng.random() < 0.1:
        del parts.arrays[name]


def structure(parts: Parts, fields: tuple[str, ...], rng: np.random.Generator) -> None:
    """An entry of a list left out, twice, or elsewhere; a value that another place has."""
    place = pick(parts, fields, rng, lambda v: isinstance(v, list) and len(v) > 0)
    if place is None:
        return
    entries, how = place[0][place[1]], int(rng.integers(5))
    i, j = rng.integers(len(entries), size=2)
    if how == 0:
        del entries[i]
    elif how == 1:
        entries.insert(j, entries[i])
    elif how == 2:
        entries[i], entries[j] = entries[j], entries[i]
    elif how == 3:
        entries.reverse()
    else:
        texts = pick(parts, fields, rng, lambda v: isinstance(v, str))
        other = pick(parts, fields, rng, lambda v: isinstance(v, str))
        if texts and other:
            texts[0][texts[1]] = other[0][other[1]]


def junk(parts: Parts, fields: tuple[str, ...], rng: np.random.Generator) -> None:
    """Something else anywhere in the header, or a key more or less."""
    place = pick(parts, fields, rng, lambda v: True)
    assert place is not None
    where, key = place
    if isinstance(where, dict) and rng.random() < 0.1:
        where["more"] = where.pop(key) if rng.random() < 0.5 else 0
    else:
        where[key] = JUNK[rng.integers(len(JUNK))]


def claims(parts: Parts, rng: np.random.Generator) -> None:
    """Another number in the boxes and rows of the claim, often a little off."""
    place = pick(parts, CLAIM, rng, lambda v: isinstance(v, str) and v.lstrip("-").replace("/", "").isdigit())
    if place is None:  # an earlier change left no number
        return
    value = Fraction(place[0][place[1]])
    by = Fraction(int(rng.integers(-100, 101)), int(rng.choice([100, 1000, 10**5])))
    place[0][place[1]] = str([value + by, value * (1 + by), -value, by][rng.integers(4)])


def level(parts: Parts, rng: np.random.Generator) -> None:
    parts.header["level"] = str(rng.choice(["R", "F"]))


def of_proof(parts: Parts, rng: np.random.Generator) -> Parts:
    """One to three changes of trees, duals, lemmas and rules."""
    out = parts.copy()
    names = out.arrays.keys() - network_arrays(out)
    kinds = [lambda: numbers(out, names & out.arrays.keys(), rng)] * 4
    kinds += [lambda: shapes(out, names & out.arrays.keys(), rng)]
    kinds += [lambda: structure(out, PROOF, rng), lambda: level(out, rng)]
    for _ in range(rng.integers(1, 4)):
        kinds[rng.integers(len(kinds))]()
    return out


def of_claim(parts: Parts, rng: np.random.Generator) -> Parts:
    """One or two changes of the network or the cases; the digest stays."""
    out = parts.copy()
    kinds = [
        lambda: claims(out, rng), lambda: claims(out, rng), lambda: numbers(out, network_arrays(out), rng),
        lambda: structure(out, CLAIM, rng),
    ]
    for _ in range(rng.integers(1, 3)):
        kinds[rng.integers(len(kinds))]()
    return out


def of_form(parts: Parts, rng: np.random.Generator) -> Parts:
    """What may not fit the format at all."""
    out = parts.copy()
    kinds = [lambda: junk(out, (*PROOF, *CLAIM, "level", "format", "digest", "source"), rng),
             lambda: shapes(out, set(out.arrays), rng), lambda: numbers(out, set(out.arrays), rng)]
    for _ in range(rng.integers(1, 3)):
        kinds[rng.integers(len(kinds))]()
    return out
