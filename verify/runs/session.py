"""A certification from the user's texts to its store: everything is read and checked before anything is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from verify.errors import InputError
from verify.ir.graph import Network
from verify.ir.load import load
from verify.ir.normalize import normalized
from verify.ir.original import original
from verify.ir.rewrite import simplify
from verify.problem import robustness
from verify.proof.prover import Source
from verify.rationals import rational
from verify.runs.cascade import Cascade
from verify.runs.certify import Tell
from verify.runs.data import Dataset, load_data
from verify.runs.keep import ALONE, Help, Keep, folder_of
from verify.runs.options import batch_of, clip_of, device_of, homes_of, normalization_of, proof_config, proof_level
from verify.runs.proving import Proving, check_certificates
from verify.runs.summary import Summary, summarize

METHODS = "interval,pgd,crown,alpha,bab"  # by default, cheapest first


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
    batch: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The texts by name; what stands here by default is left out."""
        values = {**asdict(self), "proofs": None if self.proofs is None else str(self.proofs)}
        plain = asdict(Request("", "", ""))
        return {name: value for name, value in values.items() if value != plain[name]}


@dataclass(frozen=True)
class Session:
    """A request that has been read and checked."""

    request: Request
    data: Dataset
    cascade: Cascade
    batch: int

    @property
    def title(self) -> str:
        """One line that says what is asked."""
        ball = f"{self.request.norm} eps {self.request.eps}"
        clip = "no clip" if self.request.clip == "none" else f"clip [{self.request.clip}]"
        level = f", proved at level {self.cascade.proving.level}" if self.cascade.proving is not None else ""
        return f"{self.request.model} on {len(self.cascade.x)} samples of {self.data.name}, {ball}, {clip}{level}"

    @property
    def config(self) -> dict[str, Any]:
        """What fixes the results: digests, rationals as texts, and every setting of every method."""
        clip = clip_of(self.request.clip)
        return {
            "command": "certify",
            "model": self.network.digest,
            "data": self.data.digest,
            "samples": len(self.cascade.x),
            "eps": list(self.cascade.problems),
            "norm": self.request.norm,
            "clip": None if clip is None else [str(end) for end in clip],
            "methods": {name: repr(method) for name, method in self.cascade.methods.items()},
            "timeout": self.request.timeout,
            "device": self.request.device,
            "batch": self.batch,
            **proof_config(self.cascade.proving and self.cascade.proving.level, self.request.proofs),
        }

    @property
    def total(self) -> int:
        """How many outcomes there will be."""
        return len(self.cascade.x) * len(self.cascade.problems)

    @property
    def network(self) -> Network:
        """The network that is certified."""
        return next(iter(self.cascade.problems.values())).network

    def run(
        self, out: Path | None, tell: Tell = lambda verdicts: None, *, resume: bool = False, help: Help = ALONE
    ) -> tuple[Path, dict[str, Summary]]:
        """Certifies what the run folder lacks; the folder and the summaries of the whole run by radius.

        Args:
            out: the run folder, by default a new one in runs/; one that holds a run is continued with `resume`, and
                refused without.
            tell: is told the verdicts that have become final.
            help: who shares the work.
        """
        keep = Keep(folder_of(out, self.request.model, resume), self.config, self.request.as_json(), self.batch)
        check = partial(check_certificates, self.request.proofs)
        summaries = keep.carry_out(self.cascade, help, tell, summarize, check)
        return keep.folder, summaries


def prepare(request: Request) -> Session:
    """Reads model and data and checks that all fits. Raises VerifyError with one sentence where it does not."""
    names = request.methods or METHODS
    homes, clip, device = homes_of(names), clip_of(request.clip), device_of(request.device)
    level, radii = proof_level(request.level, request.proofs), radii_of(request.eps)
    network = simplify(network_of(request.model, request.weights, request.normalize)).to(device)
    data = load_data(request.data, request.limit)
    x = fitted(data.x, network.input_shape)
    problems = {str(eps): robustness(network, x, data.y, eps, request.norm, clip) for eps in radii}
    methods = {name: home.make(request.timeout) for name, home in homes.items()}
    dear, file = {name for name, home in homes.items() if home.dear}, Path(request.model)
    source = Source(file, whole=not request.normalize) if file.is_file() else None
    proving = None if level is None else Proving(level, request.proofs, source, request.timeout)
    is_onnx = request.model.endswith((".onnx", ".onnx.gz")) and not request.normalize
    replay = original(file) if is_onnx else None  # where the model is an ONNX file that is used as it is
    cascade = Cascade(problems, x, data.y.tolist(), methods, dear, replay, proving, request.timeout)
    return Session(request, data, cascade, batch_of(request.batch, network))


def network_of(model: str, weights: str | None, normalize: str | None) -> Network:
    """The network of a model, with the normalisation of its data in front if one is given."""
    front = None if normalize is None else normalization_of(normalize)
    network = load(model, weights)
    return network if front is None else normalized(network, *front)


def radii_of(text: str) -> list[Fraction]:
    """The radii of a comma list, ascending. Raises InputError for one that is named twice."""
    radii = [exact_eps(part.strip()) for part in text.split(",")]
    if len(set(radii)) < len(radii):
        raise InputError(f"eps {text!r} names a radius twice; name each once")
    return sorted(radii)


def exact_eps(text: str, name: str = "eps") -> Fraction:
    """eps, or the largest one, as a rational >= 0."""
    eps = rational(text, name)
    if eps < 0:
        raise InputError(f"{name} is {text} but must be at least 0")
    return eps


def fitted(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x (batch, *any) as (batch, *shape) where only axes of length 1 differ, or where the network takes flat vectors.

    Another reshape would guess at the meaning of the axes; the problem refuses it.
    """
    given = tuple(x.shape[1:])
    same = [n for n in given if n != 1] == [n for n in shape if n != 1]
    flat = len(shape) == 1 and x[0].numel() == shape[0]
    return x.reshape(len(x), *shape) if same or flat else x
