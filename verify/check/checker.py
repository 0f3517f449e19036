"""Checks a certificate: format, network, claim, proof; accepted, or rejected with the first reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from verify.check.bounds import Level
from verify.check.claim import Case, read_cases
from verify.check.container import digest, header_of, read
from verify.check.curves import Curve
from verify.check.front import behind, words
from verify.check.grid import read_levels
from verify.check.network import Arrays, Network, build
from verify.check.numbers import Arithmetic, Rejected
from verify.check.onnx import Unreadable, difference
from verify.check.onnx import read as read_onnx
from verify.check.product import Product
from verify.check.proof import Proof, read_layers
from verify.check.strict import integer

LEVELS = ("R", "F")
CASES = 3  # that are told in words


@dataclass(frozen=True)
class Report:
    """What the checker says.

    Args:
        accepted: whether the claim is proved; reason: why not, else empty.
        level: at which level.
        margins: by level, the largest bound of a leaf; only levels that were checked and hold.
        network: sha256 of the certificate's network; cases: how many.
        claim: the claim in words, one line for each of the first cases.
        front: what stands between the variables of the cases and the network of a model file, in words; else nothing.
        uncompared: why the model that was given could not be compared with the network, else empty.
    """

    accepted: bool
    reason: str = ""
    level: str = "R"
    margins: dict[str, float] = field(default_factory=dict)
    network: str = ""
    cases: int = 0
    claim: tuple[str, ...] = ()
    front: tuple[str, ...] = ()
    uncompared: str = ""


def check(
    data: bytes, level: str | None = None, exact: bool = False, model: bytes | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Report:
    """Checks the bytes of a certificate, at its own level unless another is given.

    Args:
        level: "R" or "F"; level F also reports the margin at level R.
        exact: in rationals instead of outward-rounded float64, for small networks.
        model: bytes of the ONNX file that the certificate should speak of; rejected where this reader finds another
            network in it than the one behind the front.
        tick: see `Level`; what it raises ends the checking without acceptance.

    Never raises for a bad certificate; memory is bounded by what its header declares.
    """
    report = Report(False, level=level or "R")
    try:
        _arithmetic_is_sound()
        with np.errstate(all="ignore"):
            certificate = Certificate.read(data, Arithmetic(exact))
            report = replace(
                report, level=level or certificate.level, network=certificate.digest, cases=len(certificate.cases),
                claim=tuple(map(str, certificate.cases[:CASES])),
                front=words(certificate.header["network"], certificate.arrays, certificate.front,
                            level or certificate.level),
            )
            if model is not None:
                report = replace(report, uncompared=certificate.compare(model, report.level))
            for each in ("F", "R") if report.level == "F" else ("R",):
                margin = certificate.proof.margin(Level(Arithmetic(exact), each == "F", tick))
                report = replace(report, margins={**report.margins, each: margin})
    except Rejected as why:
        return replace(report, reason=str(why))
    except Exception as why:  # whatever a damaged file makes of this code, it is no proof
        return replace(report, reason=f"it cannot be followed ({type(why).__name__}: {why})")
    return replace(report, accepted=True)


@dataclass(frozen=True)
class Certificate:
    """A certificate whose format is valid; `proof` is not followed yet. `front` is how many nodes the front has, and
    `network` is the whole, front included."""

    level: str
    header: dict
    arrays: Arrays
    network: Network
    front: int
    cases: tuple[Case, ...]
    digest: str
    proof: Proof

    @classmethod
    def read(cls, data: bytes, number: Arithmetic) -> Certificate:
        """Rejects what does not fit the format, and a network that is not the one of the digest."""
        header, arrays = read(data)
        header = header_of(header)
        if header["level"] not in LEVELS:
            raise Rejected("the certificate is of no known level")
        network = build(number, header["network"], arrays)
        new = next((node.name for node in network.nodes if isinstance(node.op, Curve | Product)), None)
        if header["format"] == 1 and new is not None:
            raise Rejected(f"version 1 of the format has no curves and no products, and {new!r} is one")
        front = integer(header["front"], "front", 1) if "front" in header else 0
        behind(header["network"], front)
        found = digest(header["network"], arrays)
        if found != header["digest"]:
            raise Rejected("the network is not the one whose digest the certificate states")
        levels = read_levels(header["grid"]) if "grid" in header else None
        cases = read_cases(header["cases"], network.entries(network.input), network.nodes[-1].entries, levels)
        layers = read_layers(header["layers"], network)
        proof = Proof(network, cases, layers, arrays, header["boxes"], header["searches"])
        return cls(header["level"], header, arrays, network, front, cases, found, proof)

    def compare(self, model: bytes, level: str) -> str:
        """Why a model file cannot be compared with what is behind the front, or "". Rejects one that holds another
        network, and one that ends in a softmax where the claim asks for more than the order of its inputs (see
        FORMAT.md)."""
        try:
            *other, head = read_onnx(model)
        except Unreadable as why:
            return str(why)
        found = difference(behind(self.header["network"], self.front), self.arrays, *other)
        if found is not None:
            raise Rejected(f"the model is another network: {found}")
        if head and level == "F":
            raise Rejected(f"the model ends in a {head}, whose float32 values may be equal where its inputs are not")
        if head and not all(rows.compares for case in self.cases for rows in case.disjuncts):
            raise Rejected(f"the model ends in a {head}, which keeps no more than the order of its inputs, and the "
                           "claim has a row that is no comparison of two outputs")
        return ""


def _arithmetic_is_sound() -> None:
    """Rejects a machine that flushes subnormals to zero, on which the error bounds were not tested."""
    least = np.array([2.0**-1022])
    if not bool((least / 4 > 0).all()):
        raise Rejected("this process flushes subnormal numbers to zero; run the checker in one that does not")
