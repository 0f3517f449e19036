"""Perturbations as the command line names them: `--set NAME:ARGUMENT`, several with a plus between them."""

from __future__ import annotations

from verify.errors import InputError
from verify.fronts.base import Composition, Perturbation
from verify.registry import FRONTS


def is_perturbation(text: str) -> bool:
    """Whether the text begins with the name of a perturbation."""
    return text.partition("+")[0].partition(":")[0].strip() in FRONTS


def perturbation_of(text: str) -> Perturbation:
    """ "brightness:0.1+linf:1/255" and the like. Raises InputError for what is not understood."""
    parts: list[Perturbation] = []
    for part in text.split("+"):
        kind, _, argument = part.strip().partition(":")
        if kind not in FRONTS:
            forms = ", ".join(entry.help for entry in FRONTS.values())
            raise InputError(f"unknown perturbation {part.strip()!r}; write one of {forms}, or several with a plus "
                             "between them")
        parts.append(FRONTS[kind].load().read(argument))
    return parts[0] if len(parts) == 1 else Composition(tuple(parts))
