"""Smooth curves: f and f' of the library, and the inflections between convex and concave pieces."""

from verify.ops.smooth.exponential import Erf, Exp, Log, Sigmoid, Softplus, Tanh
from verify.ops.smooth.gated import ELU, GELU, HardSwish, Mish, Softsign, Swish, TanhGELU
from verify.ops.smooth.power import Power
from verify.ops.smooth.trigonometric import Atan, Cos, Sin

__all__ = [
    "ELU", "GELU", "Atan", "Cos", "Erf", "Exp", "HardSwish", "Log", "Mish", "Power", "Sigmoid", "Sin",
    "Softplus", "Softsign", "Swish", "Tanh", "TanhGELU",
]
