"""Losses by name, as recipes write them; a file with `@LossEntry(...)` above its class is a loss of the package."""

from verify.registry import LossEntry, declared
from verify.train.losses.adversarial import Adversarial, Linearised, Mixed, Noisy, Plain, Trades
from verify.train.losses.base import Loss, Threat, cross_entropy, weight_penalty
from verify.train.losses.certified import CC, MTL, SABR, CrownIBP, ExpIBP, FusedCrownIBP, IntervalLoss
from verify.train.losses.projected import DualLoss
from verify.train.losses.regularizer import Regularizer
from verify.train.losses.universal import UniversalAdversarial

LOSSES: dict[str, type[Loss]] = {entry.name: entry.load() for entry in declared(LossEntry, "train/losses")}

__all__ = [
    "CC", "LOSSES", "MTL", "SABR", "Adversarial", "CrownIBP", "DualLoss", "ExpIBP", "FusedCrownIBP", "IntervalLoss",
    "Linearised", "Loss", "Mixed", "Noisy", "Plain", "Regularizer", "Threat", "Trades",
    "UniversalAdversarial", "cross_entropy", "weight_penalty",
]
