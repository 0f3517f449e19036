"""Losses by name, as recipes write them."""

from verify.train.losses.adversarial import Adversarial, Linearised, Mixed, Noisy, Plain, Trades
from verify.train.losses.base import Loss, Threat, cross_entropy, weight_penalty
from verify.train.losses.certified import CC, MTL, SABR, CrownIBP, ExpIBP, FusedCrownIBP, IntervalLoss
from verify.train.losses.projected import DualLoss
from verify.train.losses.regularizer import Regularizer

LOSSES: dict[str, type[Loss]] = {
    "plain": Plain, "noisy": Noisy, "mixed": Mixed, "linearised": Linearised, "adversarial": Adversarial,
    "trades": Trades, "interval": IntervalLoss, "crown-ibp": CrownIBP, "fused-crown-ibp": FusedCrownIBP,
    "dual": DualLoss, "sabr": SABR, "mtl-ibp": MTL, "cc-ibp": CC, "exp-ibp": ExpIBP,
}

__all__ = [
    "CC", "LOSSES", "MTL", "SABR", "Adversarial", "CrownIBP", "DualLoss", "ExpIBP", "FusedCrownIBP", "IntervalLoss",
    "Linearised", "Loss", "Mixed", "Noisy", "Plain", "Regularizer", "Threat", "Trades", "cross_entropy",
    "weight_penalty",
]
