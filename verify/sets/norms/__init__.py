"""The norms of balls, one file each; a file with `@NormEntry(...)` above its class is a norm of the package."""

from __future__ import annotations

from verify.errors import InputError
from verify.registry import NORMS
from verify.sets.norms.base import BoxNorm, Norm, RoundNorm

__all__ = ["BoxNorm", "Norm", "RoundNorm", "norm_of", "penalty_norm_of"]


def norm_of(name: str | Norm) -> Norm:
    """The norm of this name; a norm itself is returned. Raises InputError for other names."""
    if isinstance(name, Norm):
        return name
    if name not in NORMS:
        raise InputError(f"unknown norm {name!r}; choose one of {', '.join(NORMS)}")
    return NORMS[name].load()()


def penalty_norm_of(name: str) -> Norm:
    """The norm of this name for a penalty that gradients make smaller. Raises InputError for one that has none."""
    norm = norm_of(name)
    if norm.counts:
        raise InputError(f"a penalty cannot be {name}, which has no gradient; take l1")
    return norm
