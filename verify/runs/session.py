"""A certification from the user's texts to its store: everything is read and checked before anything is written."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import Tensor

from verify.errors import InputError
from verify.ir.graph import Network
from verify.ir.load import load
from verify.ir.normalize import normalized
from verify.ir.rewrite import simplify
from verify.method import Method
from verify.problem import Problem, robustness
from verify.proof.prover import source_of
from verify.rationals import rational
from verify.runs.certify import certify
from verify.runs.data import Dataset, load_data
from verify.runs.options import clip_of, device_of, homes_of, normalization_of, proof_config, proof_level
from verify.runs.proving import Proving, check_certificates
from verify.runs.replay import Original
from verify.runs.store import Store
from verify.runs.summary import Summary, summarize

METHODS = "interval,pgd,crown,bab"  # by default, cheapest first


@dataclass(frozen=True)
class Request:
    """What a user asks of `verify certify`, as texts; README and `--help` say what they mean."""

    model: str
    data: str
    eps: str
    weights: str | None = None
    norm: str = "linf"
    clip: str = "0,1"
    normalize: str | None = None
    limit: int | None = 100
    methods: str | None = None
    timeout: float = 10.0
    device: str = "cpu"
    level: str | None = None
    proofs: Path | None = None


@dataclass(frozen=True)
class Session:
    """A request that has been read and checked."""

    request: Request
    problem: Problem
    data: Dataset
    x: Tensor
    methods: dict[str, Method]
    dear: set[str]

    @property
    def title(self) -> str:
        """One line that says what is asked."""
        ball = f"{self.request.norm} eps {self.request.eps}"
        clip = "no clip" if self.request.clip == "none" else f"clip [{self.request.clip}]"
        level = f", proved at level {self.proving.level}" if self.proving is not None else ""
        return f"{self.request.model} on {len(self.x)} samples of {self.data.name}, {ball}, {clip}{level}"

    @property
    def config(self) -> dict[str, Any]:
        """What fixes the results: digests, rationals as texts, and every setting of every method."""
        clip = clip_of(self.request.clip)
        return {
            "command": "certify",
            "model": self.problem.network.digest,
            "data": self.data.digest,
            "samples": len(self.x),
            "eps": str(exact_eps(self.request.eps)),
            "norm": self.request.norm,
            "clip": None if clip is None else [str(end) for end in clip],
            "methods": {name: repr(method) for name, method in self.methods.items()},
            "device": self.request.device,
            **proof_config(self.proving and self.proving.level, self.request.proofs),
        }

    @property
    def proving(self) -> Proving | None:
        """How verified samples are proved, if that is asked for."""
        level, file = proof_level(self.request.level, self.request.proofs), Path(self.request.model)
        if level is None:
            return None
        source = source_of(file) if file.is_file() else None
        return Proving(level, self.request.proofs, source, self.request.timeout)

    @property
    def _replay(self) -> Original | None:
        """The model file in onnxruntime, where it is an ONNX file that is used as it is."""
        name = self.request.model
        return Original(Path(name)) if name.endswith((".onnx", ".onnx.gz")) and not self.request.normalize else None

    def run(self, out: Path | None, advance: Callable[[int], None] = lambda count: None) -> tuple[Summary, Path]:
        """Certifies what the run folder lacks; the summary of the whole run and its folder."""
        folder = out or fresh_folder(self.request.model)
        with Store.open(folder, self.config, versions()) as store:
            check_certificates(self.request.proofs, store)
            labels = self.data.y.tolist()
            certify(self.problem, self.x, labels, self.methods, self.dear, store, advance, self._replay, self.proving)
            return summarize(store, list(self.methods)), folder


def prepare(request: Request) -> Session:
    """Reads model and data and checks that all fits. Raises VerifyError with one sentence where it does not."""
    names = request.methods or METHODS
    proof_level(request.level, request.proofs)
    homes, clip, device = homes_of(names), clip_of(request.clip), device_of(request.device)
    eps = exact_eps(request.eps)
    network = simplify(network_of(request.model, request.weights, request.normalize))
    data = load_data(request.data, request.limit)
    x = fitted(data.x, network.input_shape)
    problem = robustness(network.to(device), x, data.y, eps, request.norm, clip)
    methods = {name: home.make(request.timeout) for name, home in homes.items()}
    return Session(request, problem, data, x, methods, {name for name, home in homes.items() if home.dear})


def network_of(model: str, weights: str | None, normalize: str | None) -> Network:
    """The network of a model, with the normalisation of its data in front if one is given."""
    front = None if normalize is None else normalization_of(normalize)
    network = load(model, weights)
    return network if front is None else normalized(network, *front)


def exact_eps(text: str) -> Fraction:
    """eps as a rational >= 0."""
    eps = rational(text, "eps")
    if eps < 0:
        raise InputError(f"eps is {text} but must be at least 0")
    return eps


def fitted(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x (batch, *any) as (batch, *shape) where only axes of length 1 differ, or where the network takes flat vectors.

    Another reshape would guess at the meaning of the axes; the problem refuses it.
    """
    given = tuple(x.shape[1:])
    same = [n for n in given if n != 1] == [n for n in shape if n != 1]
    flat = len(shape) == 1 and x[0].numel() == shape[0]
    return x.reshape(len(x), *shape) if same or flat else x


def versions() -> dict[str, str]:
    """Of what computed the results, as far as it is installed: training needs no solver."""
    found = {"python": platform.python_version()}
    for name in ("verify-nn", "torch", "numpy", "highspy", "onnx"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def fresh_folder(model: str) -> Path:
    """A run folder that does not exist, named after the model and the time."""
    stem = Path(model.split(":")[-1]).stem or "run"
    base = Path("runs") / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    count, folder = 1, base
    while folder.exists():
        count += 1
        folder = base.with_name(f"{base.name}-{count}")
    return folder
