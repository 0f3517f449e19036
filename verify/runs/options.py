"""What the command line's texts mean. Numbers stay rationals; what is not understood is an InputError."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from verify.errors import InputError
from verify.rationals import rational
from verify.registry import ALIASES, METHODS, Entry, default_methods, entry_of

if TYPE_CHECKING:
    import torch

    from verify.goals import Goal
    from verify.ir.graph import BoundGraph, Network
    from verify.method import Method
    from verify.upper.duals.proof_log import ProofLog

BATCH = 128  # samples of a batch, at most,
NEURONS = 1 << 20  # and their neurons, on a CPU


def proof_log_for(method: Method, margin: Callable[[], float] | None) -> ProofLog | None:
    """A proof log of this margin for a proof, if one is wanted (margin given) and the method keeps one."""
    from verify.upper.duals.proof_log import ProofLog

    entry = entry_of(method)
    return ProofLog(margin()) if margin is not None and entry is not None and entry.proof_log else None


def proof_level(level: str | None, place: Path | None) -> str | None:
    """The level of proofs that --level and --proof ask for; None for no proof."""
    if level not in (None, "R", "F"):
        raise InputError(f"unknown level {level!r}; choose R (real arithmetic) or F (execution in float32)")
    if level == "R" and place is None:
        return None  # verdicts are of real arithmetic anyway
    return level or (None if place is None else "R")


def proof_config(level: str | None, folder: Path | None) -> dict[str, str | None]:
    """What a run's configuration says of its proofs: nothing where there are none."""
    return {} if level is None else {"level": level, "proofs": None if folder is None else str(folder.resolve())}


def entries_of(text: str) -> dict[str, Entry]:
    """The methods of a comma list such as "pgd,crown", in its order. Raises InputError for unknown or repeated ones."""
    names = [ALIASES.get(name.strip(), name.strip()) for name in text.split(",")]
    for name in names:
        if name not in METHODS:
            raise InputError(f"unknown method {name!r}; choose among {', '.join(METHODS)}")
        if names.count(name) > 1:
            raise InputError(f"method {name!r} is named twice; name each method once")
    return {name: METHODS[name] for name in names}


def usable(entries: dict[str, Entry], network: Network) -> dict[str, Entry]:
    """The methods that have something to say of the network: of one that is only executed those that look for points,
    with the usual ones of these in place of all others."""
    if not network.refusal:
        return entries
    chosen = {name: entry for name, entry in entries.items() if entry.family == "lower"}
    return chosen if len(chosen) == len(entries) else {**chosen, **entries_of(default_methods("opaque"))}


def shared(entries: dict[str, Entry], workers: int | None, level: str | None) -> dict[str, Entry]:
    """The methods, those whose search can be spread spread over so many processes, if any are named; level is that of
    proofs."""
    if workers is None:
        return entries
    if workers < 1:
        raise InputError(f"--workers is {workers}; give at least 1")
    if level is not None:
        raise InputError("--workers spreads a search over processes, but only one process can write its proof; "
                         "leave out --workers, or --proof and --level F")
    if not any(entry.spread for entry in entries.values()):
        able = ", ".join(name for name, entry in METHODS.items() if entry.spread)
        raise InputError(f"--workers spreads the search of {able}, which is not among the methods; add it to --methods")
    return {name: replace(entry, workers=workers) if entry.spread else entry for name, entry in entries.items()}


def shard_of(text: str) -> tuple[int, int]:
    """"I/N" -> (I, N) with 1 <= I <= N."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise InputError(f"shard {text!r} is not I/N with I from 1 to N; write for example 1/4")
    return int(part), int(parts)


def clip_of(text: str) -> tuple[Fraction, Fraction] | None:
    """ "0,1" -> (0, 1); "none" -> None."""
    if text == "none":
        return None
    ends = text.split(",")
    if len(ends) != 2:
        raise InputError(f"clip {text!r} is not LOW,HIGH; write for example 0,1 or none")
    low, high = (rational(end.strip(), "clip") for end in ends)
    if low > high:
        raise InputError(f"clip {text!r} is empty; write the lower end first")
    return low, high


def radii_of(text: str) -> list[Fraction]:
    """The radii of a comma list, ascending. Raises InputError for one that is named twice, and for what may be a number
    with a decimal comma."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 2 and parts[0] == "0" and parts[1].isdecimal():
        raise InputError(f"eps {text!r} may be 0.{parts[1]} or two radii; write 0.{parts[1]}, or the larger radius "
                         f"first: {int(parts[1])},0")
    zeros = next((part for part in parts if part.isdecimal() and len(part) > 1 and part[0] == "0"), None)
    if zeros is not None:
        raise InputError(f"eps {text!r} names the radius {zeros}; decimals have a point, radii no leading zeros")
    radii = [exact_eps(part) for part in parts]
    again = next((part for k, part in enumerate(parts) if radii[k] in radii[:k]), None)
    if again is not None:
        raise InputError(f"eps {again} is named twice; {text!r} names a radius twice, name each once")
    return sorted(radii)


def typed_radii(text: str) -> dict[str, Fraction]:
    """The same radii by the texts that name them, as they stand there."""
    radii_of(text)
    return {part.strip(): exact_eps(part.strip()) for part in text.split(",")}


def exact_eps(text: str, name: str = "eps") -> Fraction:
    """eps, or the largest one, as a rational >= 0."""
    eps = rational(text, name)
    if eps < 0:
        raise InputError(f"{name} is {text} but must be at least 0")
    return eps


def bounds_of(text: str) -> tuple[Fraction | None, Fraction | None]:
    """ "0,5" -> (0, 5); an end that is left out, as in ",5", is None."""
    ends = [end.strip() for end in text.split(",")]
    if len(ends) != 2:
        raise InputError(f"bounds {text!r} are not LOW,HIGH; write for example 0,5, or ,5 for no low end")
    low, high = (rational(end, "bound") if end else None for end in ends)
    return low, high


def asked_goal(network: Network, threshold: str | None, within: str | None, bounds: str | None) -> Goal:
    """What --threshold, --within and --bounds ask of the outputs."""
    from verify.goals import goal_of

    return goal_of(network, threshold=threshold, tolerance=within, bounds=None if bounds is None else bounds_of(bounds))


def normalization_of(text: str) -> tuple[list[Fraction], list[Fraction]]:
    """ "MEAN:STD", each a number or a comma list with one number a channel, as two lists of rationals."""
    parts = text.split(":")
    if len(parts) != 2:
        raise InputError(f"normalize {text!r} is not MEAN:STD; write for example 0.1307:0.3081 or 0.5,0.4:0.2,0.3")
    mean, std = ([rational(v.strip(), "normalize") for v in part.split(",")] for part in parts)
    return mean, std


def share_of(text: str) -> Fraction:
    """A share of the samples, "90%" or "0.9", between 0 and 1."""
    value = rational(text.removesuffix("%"), "share") / (100 if text.endswith("%") else 1)
    if not 0 <= value <= 1:
        raise InputError(f"the share {text!r} is not between 0 and 1; write for example 90% or 0.9")
    return value


def batch_of(asked: int | None, network: BoundGraph) -> int:
    """Samples of a batch: as asked, by default fewer on a large network, so that a batch ends within a minute or so.

    Raises InputError for less than 1.
    """
    from verify.upper.crown import neurons

    if asked is None:
        return BATCH if network.device.type != "cpu" else min(BATCH, max(1, NEURONS // max(1, neurons(network))))
    if asked < 1:
        raise InputError(f"a batch has {asked} samples; give 1 or more")
    return asked


def device_of(name: str) -> torch.device:
    """The device "cpu" or "cuda". Raises InputError for another name and where there is no CUDA device."""
    import torch

    if name not in ("cpu", "cuda"):
        raise InputError(f"unknown device {name!r}; choose cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device is available here; run with --device cpu, or see `verify doctor`")
    return torch.device(name)
