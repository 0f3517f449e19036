"""verify: the inner maximum of adversarial robustness, from below, exactly, and from above.

Names are imported on first use, so that `import verify` and `verify --help` stay quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from verify.bracket import Bracket, Rigour, Verdict
    from verify.errors import Contradiction, InputError, UnsupportedMethod, UnsupportedOp, VerifyError
    from verify.exact.branch_and_bound import BranchAndBound
    from verify.exact.milp import MILP
    from verify.exact.pulp_milp import PulpMILP
    from verify.exact.spread import Spread
    from verify.ir.graph import Graph, Network
    from verify.ir.load import load
    from verify.ir.torch_export import trace
    from verify.lower.gradient import FGSM, PGD
    from verify.problem import Problem, from_vnnlib, robustness
    from verify.proof.prover import Proof, prove
    from verify.runs.gap import Gaps
    from verify.runs.gaps import gaps
    from verify.sets import ConvexSet
    from verify.solving import solve
    from verify.upper.alpha import AlphaCROWN
    from verify.upper.convex_lp import ConvexLP
    from verify.upper.interval import Interval
    from verify.upper.linear import CROWN
    from verify.upper.lp import LP
    from verify.upper.sdp import SDP
    from verify.vnnlib import read_vnnlib

_HOMES = {
    "Bracket": "bracket", "Rigour": "bracket", "Verdict": "bracket",
    "Contradiction": "errors", "InputError": "errors", "UnsupportedMethod": "errors", "UnsupportedOp": "errors",
    "VerifyError": "errors",
    "Graph": "ir.graph", "Network": "ir.graph", "load": "ir.load", "trace": "ir.torch_export",
    "Problem": "problem", "robustness": "problem", "from_vnnlib": "problem",
    "Proof": "proof.prover", "prove": "proof.prover", "read_vnnlib": "vnnlib", "solve": "solving",
    "Gaps": "runs.gap", "gaps": "runs.gaps",
    "FGSM": "lower.gradient", "PGD": "lower.gradient",
    "Interval": "upper.interval", "CROWN": "upper.linear", "AlphaCROWN": "upper.alpha", "LP": "upper.lp",
    "ConvexLP": "upper.convex_lp", "SDP": "upper.sdp", "ConvexSet": "sets",
    "BranchAndBound": "exact.branch_and_bound", "MILP": "exact.milp", "PulpMILP": "exact.pulp_milp",
    "Spread": "exact.spread",
}

__all__ = [
    "CROWN", "FGSM", "LP", "MILP", "PGD", "SDP", "AlphaCROWN", "Bracket", "BranchAndBound", "Contradiction", "ConvexLP",
    "ConvexSet", "Gaps", "Graph", "InputError", "Interval", "Network", "Problem", "Proof", "PulpMILP", "Rigour",
    "Spread", "UnsupportedMethod", "UnsupportedOp", "Verdict", "VerifyError", "__version__", "from_vnnlib", "gaps",
    "load", "prove", "read_vnnlib", "robustness", "solve", "trace",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'verify' has no attribute {name!r}")
    return getattr(importlib.import_module(f"verify.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
