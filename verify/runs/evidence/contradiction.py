"""A crossing of two answers, written down: what anyone needs to see it again."""

from __future__ import annotations

import io
import json
import math
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from verify.bracket import Bracket
from verify.errors import Contradiction, InputError
from verify.ir.graph import Network
from verify.method import Method
from verify.problem import Problem
from verify.registry import METHODS
from verify.runs.engine.files import writable_folder, write_whole
from verify.runs.engine.run_folder import versions

NAME = "contradiction"
FLAGS = ("set", "norm", "clip", "normalize", "timeout", "device", "threshold", "within", "bounds")
MOST = 10  # folders that one run writes: a wrong method is wrong of many samples, and each folder holds the network
Holder = tuple[str, Bracket | None]  # the method that gives one side, and its bracket where there is one


def crossed(
    sample: int, problem: Problem, attack: Holder, certificate: Holder, methods: Mapping[str, Method], reason: str,
) -> Contradiction:
    """The error that the answers of two methods to one sample cross, with its bundle (see `keep`).

    Args:
        problem: of this sample alone.
        attack, certificate: who holds the two sides; brackets of batch 1.
        methods: by name; what else is named there is none of them and has no settings.
        reason: what is said where a bracket is missing.
    """
    def side(holder: Holder, end: str) -> dict[str, Any]:
        name, bracket = holder
        value = None if bracket is None else float(getattr(bracket, end)[0])
        settings = repr(methods[name]) if name in methods else ""
        return {"method": name, "settings": settings, "value": value, "bracket": bracket}

    low, high = side(attack, "lower"), side(certificate, "upper")
    if low["value"] is not None and high["value"] is not None:
        own = "its own upper bound" if attack[0] == certificate[0] else "the upper bound"
        whose = "" if attack[0] == certificate[0] else f" of {certificate[0]}"
        reason = (f"{attack[0]} found a point of value {low['value']:.9g} above {own} {high['value']:.9g}{whose}; "
                  "one of them is wrong, please report the bundle")
    witness = None if attack[1] is None else attack[1].witness
    bundle = {"sample": sample, "problem": problem, "attack": low, "certificate": high, "witness": witness}
    return Contradiction(f"sample {sample}: {reason}", bundle)


def of_property(crossing: Contradiction, problem: Problem, model: Path, prop: Path, place: Path) -> Contradiction:
    """The error that the answers to a property cross, once its bundle is kept."""
    bracket = crossing.bundle.get("bracket")
    sides = (None, None) if bracket is None else (bracket.below, bracket.above)
    low, high = ((side.method if side else "a method", bracket) for side in sides)
    bundle = crossed(0, problem, low, high, {}, str(crossing)).bundle
    asked = {"model": str(model), "property": str(prop.resolve())}
    return Contradiction(f"{crossing}, {where_kept({**bundle, 'asked': asked}, place)}", bundle)


def where_kept(bundle: Mapping[str, Any], place: Path) -> str:
    """Keeps a bundle and says where, or why not: a failure must not hide the crossing."""
    if (place / f"{NAME}-{MOST}").exists():
        return f"like the {MOST} that are kept in {place / NAME}*"
    try:
        return f"kept in {keep(bundle, place)}"
    except InputError as refusal:
        return f"which could not be kept: {refusal}"


def keep(bundle: Mapping[str, Any], place: Path) -> Path:
    """Writes the bundle of a crossing (see `crossed`) to a new folder `contradiction` in `place`, and returns it.

    The folder gets
        sample.npz         the set's nominal point (a ball's center) and box hull (low, high), the specification, and
                           where they are known witness, x and y: with x and y it is a data set for `--data`
        network.safetensors, or a copy of the model's file
        contradiction.json the kind of set, a ball's numbers as rationals, methods, their settings and numbers, the
                           network's digest and nodes, versions, and with bundle["asked"] (the texts of the command
                           line) the command that asks the same again

    What cannot be written of the network is said in the JSON. Raises InputError where the folder cannot be written.
    """
    folder, count = place / NAME, 1
    while folder.exists():
        count += 1
        folder = place / f"{NAME}-{count}"
    writable_folder(folder)
    problem: Problem = bundle["problem"]
    write_whole(folder / "sample.npz", _npz(_arrays(bundle, problem)))
    asked: dict[str, str] | None = bundle.get("asked")
    network = problem.network.unmerged or problem.network
    file, reason = _write_network(network, None if asked is None else asked["model"], folder)
    record = {
        "sample": bundle["sample"],
        **{side: _side(bundle[side]) for side in ("attack", "certificate")},
        "network": {
            "digest": network.digest, "file": file, "reason": reason, "nodes": [repr(n) for n in network.graph.nodes],
        },
        "set": problem.inputs.record(),
        "asked": asked,
        "again": None if asked is None else _command(asked, bundle, file),
        "versions": versions(),
    }
    write_whole(folder / "contradiction.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    return folder


def asked_of(request: Mapping[str, Any], eps: str) -> dict[str, str] | None:
    """The texts of a run's command at one radius, as a bundle has them; None where no command asked."""
    return {**{name: str(value) for name, value in request.items()}, "eps": eps} if "model" in request else None


def _arrays(bundle: Mapping[str, Any], problem: Problem) -> dict[str, np.ndarray]:
    """The problem of one sample and its points."""
    spec, inputs = problem.spec, problem.inputs
    found: dict[str, Tensor | None] = {
        "nominal": inputs.nominal(), "low": inputs.low, "high": inputs.high,
        "output": spec.output, "offset": spec.offset, "disjunct": spec.disjunct, "mask": spec.mask, "input": spec.input,
        **{name: bundle.get(name) for name in ("witness", "x", "y")},
    }
    return {name: tensor.detach().cpu().numpy() for name, tensor in found.items() if tensor is not None}


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    """The bytes of an .npz file."""
    buffer, named = io.BytesIO(), dict[str, Any](arrays)
    np.savez(buffer, **named)
    return buffer.getvalue()


def _write_network(network: Network, model: str | None, folder: Path) -> tuple[str | None, str]:
    """(name of the file in the folder or None, why there is none)."""
    try:
        if model is not None and Path(model).is_file():
            return Path(shutil.copy(model, folder)).name, ""
        from safetensors.torch import save

        # copies, since layers that share a tensor would share it in the file
        weights = {name: t.detach().cpu().clone().contiguous() for name, t in network.parameters.items()}
        write_whole(folder / "network.safetensors", save(weights))
    except (OSError, ValueError, RuntimeError, InputError) as problem:
        return None, " ".join(f"{type(problem).__name__}: {problem}".split())
    return "network.safetensors", ""


def _command(asked: dict[str, str], bundle: Mapping[str, Any], file: str | None) -> str:
    """The command that compares the two methods on this sample, or decides the property, again; to be run in the
    folder."""
    model = file if file is not None and Path(asked["model"]).name == file else asked["model"]
    named = (bundle[side]["method"] for side in ("attack", "certificate"))
    methods = dict.fromkeys(name if name in METHODS else "pgd" for name in named)  # what is no method met a point
    if "property" in asked:
        return shlex.join(["verify", "vnnlib", model, asked["property"]])
    words = ["verify", "gaps", model, "--data", "sample.npz", "--eps", asked["eps"], "--methods", ",".join(methods)]
    if "weights" in asked:
        words += ["--weights", str(Path(asked["weights"]).resolve())]
    for name in FLAGS:
        words += [f"--{name}", asked[name]] if name in asked else []
    return shlex.join(words)


def _side(side: Mapping[str, Any]) -> dict[str, Any]:
    """One side as JSON; what its bracket says in full as texts, since floats that are not finite are no JSON."""
    bracket, value = side["bracket"], side["value"]
    ends = None if bracket is None else {"lower": repr(float(bracket.lower[0])), "upper": repr(float(bracket.upper[0]))}
    trusts = {} if bracket is None else {
        name: None if s is None else f"{s.rigour}, level {s.level}, trusts {s.trusts}"
        for name, s in (("below", bracket.below), ("above", bracket.above))
    }
    known = None if value is None or not math.isfinite(value) else value
    return {"method": side["method"], "settings": side["settings"], "value": known, "bracket": ends, **trusts}
