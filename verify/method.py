"""What a method is: a frozen value with settings that answers the cases of a problem; and how methods multiply."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from verify.bracket import Rigour
from verify.problem import Problem

if TYPE_CHECKING:
    from verify.upper.duals.proof_log import ProofLog


@dataclass(frozen=True)
class Answer:
    """What a method returns for the cases of a problem, before `solve` has looked at it.

    Args:
        upper: (cases,) upper bounds on each case's maximum, or None.
        points: (cases, *shape) or (cases, tries, *shape) candidate inputs, or None.
        rigour: how the upper bounds were established, and `trusts` on whose word.
        notes: counts and reasons for tables.
    """

    upper: Tensor | None = None
    points: Tensor | None = None
    rigour: Rigour = Rigour.FLOAT
    trusts: str = "float rounding"
    notes: dict[str, object] = field(default_factory=dict)


@runtime_checkable
class Method(Protocol):
    """A frozen dataclass of settings that answers problems; `name` heads its column in tables."""

    @property
    def name(self) -> str: ...

    def answer(self, problem: Problem) -> Answer:
        """Bounds and candidate points for every case of the problem."""
        ...


class Logged(Method, Protocol):
    """A method whose entry says `proof_log`."""

    def answer(self, problem: Problem, proof_log: ProofLog | None = None) -> Answer:
        """The same; the proof log is told what a proof of the answer needs."""
        ...


@contextmanager
def full_float32() -> Iterator[None]:
    """Products of float32 numbers are of float32 inside: by default cuDNN's convolutions round their factors to ten
    bits (TF32), and a bound that is off by a thousandth bounds nothing."""
    convolutions = getattr(torch.backends.cudnn, "conv", None)  # since torch 2.9
    off = ("allow_tf32", False) if convolutions is None else ("fp32_precision", "ieee")
    parts = (convolutions or torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [getattr(part, off[0]) for part in parts]
    try:
        for part in parts:
            setattr(part, *off)
        yield
    finally:
        for part, value in zip(parts, before, strict=True):
            setattr(part, off[0], value)
