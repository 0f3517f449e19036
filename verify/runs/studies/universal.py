"""`verify universal` from the user's texts to what is found: one perturbation of all samples for each radius."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.runs.engine.files import writable_folder, write_whole
from verify.runs.options import typed_radii
from verify.runs.request import UniversalRequest
from verify.runs.subject import Subject, read
from verify.sets.norms import norm_of
from verify.uap.bound import UAPBound
from verify.uap.iterative import UAP
from verify.uap.solving import Universal, universal
from verify.uap.stochastic import StochasticUAP

TABLE, DELTAS = "universal.json", "deltas.npz"
BOUNDING = 0.7  # of the time of a radius, what the bound may take


@dataclass(frozen=True)
class UniversalPlan:
    """A request that has been read and checked, with its radii by their texts."""

    asked: UniversalRequest
    subject: Subject
    radii: dict[str, Fraction]

    @property
    def title(self) -> str:
        """One line that says what is asked."""
        return self.subject.title(f"one perturbation, {self.asked.norm} eps {self.asked.eps}")

    @property
    def warnings(self) -> list[str]:
        """What the user may not have meant."""
        return self.subject.warnings(self.radii.values())

    def run(self, advance: Callable[[int], None] = lambda count: None) -> dict[str, Universal]:
        """What is found for each radius; with a folder, its files are written after each."""
        found: dict[str, Universal] = {}
        methods = (UAP(), StochasticUAP(), UAPBound(BOUNDING * self.asked.timeout))
        for text, eps in self.radii.items():
            found[text] = universal(
                self.subject.network, self.subject.data.x, eps=eps, norm=self.asked.norm, clip=self.asked.clip_ends,
                methods=methods, time_limit=self.asked.timeout,
            )
            advance(1)
            if self.asked.out is not None:
                deltas = io.BytesIO()
                arrays: dict[str, Any] = {name: one.delta.cpu().numpy() for name, one in found.items()}
                np.savez_compressed(deltas, **arrays)
                write_whole(self.asked.out / DELTAS, deltas.getvalue())
                write_whole(self.asked.out / TABLE, json.dumps(self.as_json(found), indent=2, allow_nan=False))
        return found

    def as_json(self, found: dict[str, Universal]) -> dict[str, Any]:
        """What the command prints as JSON and keeps."""
        config = {**self.subject.config, "eps": {text: str(eps) for text, eps in self.radii.items()}}
        return {"title": self.title, "config": config, "eps": {text: json_of(one) for text, one in found.items()}}


def plan_universal(asked: UniversalRequest) -> UniversalPlan:
    """Reads model and data and checks that all fits. Raises VerifyError with one sentence where it does not."""
    if not (asked.timeout > 0 and math.isfinite(asked.timeout)):
        raise InputError(f"timeout is {asked.timeout:g} but must be a positive number of seconds; write for example 60")
    radii = typed_radii(asked.eps)
    norm_of(asked.norm)
    subject = read(asked, simplified=False)
    if asked.out is not None:
        if (asked.out / TABLE).exists():
            raise InputError(f"{asked.out} holds {TABLE} already; name another folder with --out")
        writable_folder(asked.out)
    return UniversalPlan(asked, subject, radii)


def json_of(found: Universal) -> dict[str, Any]:
    """The bracket of one radius, how it was established, and what each method found."""
    methods = {name: {"fooled": one.count, "upper": one.upper, "seconds": one.seconds,
                      "notes": {key: str(value) for key, value in one.notes.items()}}
               for name, one in found.methods.items()}
    return {
        "samples": found.problem.count, "lower": found.lower, "upper": found.upper, "closed": found.closed,
        "rigour": str(found.rigour), "trusts": found.trusts, "single": [*found.single],
        "fooled": found.fooled.nonzero().flatten().tolist(), "methods": methods,
    }
