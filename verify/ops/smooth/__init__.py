"""Smooth curves: f and f' of the library, and the inflections between convex and concave pieces."""

from verify.ops.smooth.exponential import Erf, Exp, Log, Sigmoid, Softplus, Tanh
from verify.ops.smooth.power import Power
from verify.ops.smooth.trigonometric import Atan, Cos, Sin

__all__ = ["Atan", "Cos", "Erf", "Exp", "Log", "Power", "Sigmoid", "Sin", "Softplus", "Tanh"]
