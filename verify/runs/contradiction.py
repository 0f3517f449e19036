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

from verify.errors import InputError
from verify.ir.graph import Network
from verify.problem import Problem
from verify.runs.files import writable_folder, write_whole
from verify.runs.keep import versions
from verify.sets import Ball, InputSet

NAME = "contradiction"
FLAGS = ("norm", "clip", "normalize", "timeout", "device")


def keep(bundle: Mapping[str, Any], place: Path) -> Path:
    """Writes the bundle of a crossing that `gaps` raised to a new folder `contradiction` in `place`, and returns it.

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
        "set": _set(problem.inputs),
        "asked": asked,
        "again": None if asked is None else _command(asked, bundle, file),
        "versions": versions(),
    }
    write_whole(folder / "contradiction.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    return folder


def _arrays(bundle: Mapping[str, Any], problem: Problem) -> dict[str, np.ndarray]:
    """The problem of one sample and its points."""
    spec, inputs = problem.spec, problem.inputs
    found: dict[str, Tensor | None] = {
        "nominal": inputs.nominal(), "low": inputs.low, "high": inputs.high,
        "output": spec.output, "offset": spec.offset, "disjunct": spec.disjunct, "mask": spec.mask, "input": spec.input,
        **{name: bundle.get(name) for name in ("witness", "x", "y")},
    }
    return {name: tensor.detach().cpu().numpy() for name, tensor in found.items() if tensor is not None}


def _set(inputs: InputSet) -> dict[str, Any]:
    """The kind of a set, and what makes a ball of its center."""
    if not isinstance(inputs, Ball):
        return {"kind": type(inputs).__name__}
    clip = None if inputs.clip is None else [str(end) for end in inputs.clip]
    return {"kind": "Ball", "norm": inputs.norm, "eps": str(inputs.eps), "clip": clip}


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
    """The command that compares the two methods on this sample again, to be run in the folder."""
    model = file if file is not None and Path(asked["model"]).name == file else asked["model"]
    methods = dict.fromkeys(bundle[side]["method"] for side in ("attack", "certificate"))
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
