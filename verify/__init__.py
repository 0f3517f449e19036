"""verify: the inner maximum of adversarial robustness, from below, exactly, and from above.

Names are imported on first use, so that `import verify` and `verify --help` stay quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:  # type checkers read this; what is exported, Python finds below and in the registry
    from verify.bracket import Bracket as Bracket
    from verify.bracket import Rigour as Rigour
    from verify.bracket import Verdict as Verdict
    from verify.errors import Contradiction as Contradiction
    from verify.errors import InputError as InputError
    from verify.errors import UnsupportedMethod as UnsupportedMethod
    from verify.errors import UnsupportedOp as UnsupportedOp
    from verify.errors import VerifyError as VerifyError
    from verify.exact.branch_and_bound import BranchAndBound as BranchAndBound
    from verify.exact.milp import MILP as MILP
    from verify.exact.pulp_milp import PulpMILP as PulpMILP
    from verify.exact.search.spread import Spread as Spread
    from verify.fronts.perturbed import perturbed as perturbed
    from verify.ir.graph import Graph as Graph
    from verify.ir.graph import Network as Network
    from verify.ir.load import load as load
    from verify.ir.opaque.averaged import Averaged as Averaged
    from verify.ir.opaque.entry import opaque as opaque
    from verify.ir.symbolic import concatenate as concatenate
    from verify.ir.symbolic import variable as variable
    from verify.ir.torch_export import trace as trace
    from verify.lower.apgd import APGD as APGD
    from verify.lower.auto_attack import AutoAttack as AutoAttack
    from verify.lower.bisection import Bisection as Bisection
    from verify.lower.carlini_wagner import CarliniWagner as CarliniWagner
    from verify.lower.ddn import DDN as DDN
    from verify.lower.deepfool import DeepFool as DeepFool
    from verify.lower.ead import EAD as EAD
    from verify.lower.fab import FAB as FAB
    from verify.lower.fgsm import FGSM as FGSM
    from verify.lower.fmn import FMN as FMN
    from verify.lower.hop_skip_jump import HopSkipJump as HopSkipJump
    from verify.lower.pgd import PGD as PGD
    from verify.lower.random_search import RandomSearch as RandomSearch
    from verify.lower.sigma_zero import SigmaZero as SigmaZero
    from verify.lower.square import Square as Square
    from verify.lower.targeted_apgd import TargetedAPGD as TargetedAPGD
    from verify.problem import Problem as Problem
    from verify.problem import from_vnnlib as from_vnnlib
    from verify.problem import robustness as robustness
    from verify.proof.prover import Proof as Proof
    from verify.proof.prover import prove as prove
    from verify.runs.attack.attack import attack as attack
    from verify.runs.attack.distance import DistanceResult as DistanceResult
    from verify.runs.attack.distance import distance as distance
    from verify.runs.attack.result import AttackResult as AttackResult
    from verify.runs.studies.gap import Gaps as Gaps
    from verify.runs.studies.gaps import gaps as gaps
    from verify.sets import ConvexSet as ConvexSet
    from verify.smoothing.smoothing import Smoothing as Smoothing
    from verify.solving import solve as solve
    from verify.uap.bound import UAPBound as UAPBound
    from verify.uap.iterative import UAP as UAP
    from verify.uap.rates import fooling_rate as fooling_rate
    from verify.uap.rates import transfer as transfer
    from verify.uap.solving import Universal as Universal
    from verify.uap.solving import universal as universal
    from verify.uap.stochastic import StochasticUAP as StochasticUAP
    from verify.upper.alpha_crown import AlphaCROWN as AlphaCROWN
    from verify.upper.convex_lp import ConvexLP as ConvexLP
    from verify.upper.crown import CROWN as CROWN
    from verify.upper.interval import Interval as Interval
    from verify.upper.lp import LP as LP
    from verify.upper.sdp import SDP as SDP
    from verify.vnnlib import read_vnnlib as read_vnnlib

_HOMES = {  # of all names but those of the registry's methods
    "Bracket": "bracket", "Rigour": "bracket", "Verdict": "bracket",
    "Contradiction": "errors", "InputError": "errors", "UnsupportedMethod": "errors", "UnsupportedOp": "errors",
    "VerifyError": "errors",
    "Graph": "ir.graph", "Network": "ir.graph", "load": "ir.load", "trace": "ir.torch_export",
    "opaque": "ir.opaque.entry", "Averaged": "ir.opaque.averaged",
    "variable": "ir.symbolic", "concatenate": "ir.symbolic",
    "Problem": "problem", "robustness": "problem", "from_vnnlib": "problem",
    "perturbed": "fronts.perturbed",
    "Proof": "proof.prover", "prove": "proof.prover", "read_vnnlib": "vnnlib", "solve": "solving",
    "Gaps": "runs.studies.gap", "gaps": "runs.studies.gaps", "ConvexSet": "sets", "Smoothing": "smoothing.smoothing",
    "Spread": "exact.search.spread",
    "UAP": "uap.iterative", "UAPBound": "uap.bound", "StochasticUAP": "uap.stochastic",
    "Universal": "uap.solving", "universal": "uap.solving",
    "fooling_rate": "uap.rates", "transfer": "uap.rates",
    "attack": "runs.attack.attack", "AttackResult": "runs.attack.result",
    "distance": "runs.attack.distance", "DistanceResult": "runs.attack.distance",
}


def __getattr__(name: str) -> object:
    if name == "__all__":
        return __dir__()
    module = f"verify.{_HOMES[name]}" if name in _HOMES else _registered().get(name)
    if module is None:
        raise AttributeError(f"module 'verify' has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted(["__version__", *_HOMES, *_registered()])


def _registered() -> dict[str, str]:
    """The modules of the methods' classes."""
    from verify.registry import EXPORTS

    return EXPORTS
