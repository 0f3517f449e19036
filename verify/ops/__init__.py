"""Operators: an op states facts, its family states semantics, a method walks the graph."""

from verify.ops.affine import Affine
from verify.ops.base import (
    REGISTRY,
    Encoder,
    Example,
    IntervalBounds,
    Lines,
    Nonlinear,
    Op,
    Parameters,
    Relaxation,
    register,
)
from verify.ops.curve import Curvature, Curve
from verify.ops.domain import Domain
from verify.ops.linear_ops import AvgPool, BatchNorm, Conv, ConvTranspose, Linear
from verify.ops.maximum import Max, axis_groups, pool_groups, pool_length
from verify.ops.multiply import MatMul, Multiply
from verify.ops.piecewise import Abs, Clip, HardSigmoid, LeakyReLU, Piecewise, ReLU
from verify.ops.product import Product
from verify.ops.shape_ops import Add, Concat, Divide, Entrywise, Permute, Reshape, Scale, Select, Shift, Sum
from verify.ops.smooth import Atan, Cos, Erf, Exp, Log, Power, Sigmoid, Sin, Softplus, Tanh

__all__ = [
    "REGISTRY",
    "Abs",
    "Add",
    "Affine",
    "Atan",
    "AvgPool",
    "BatchNorm",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Cos",
    "Curvature",
    "Curve",
    "Divide",
    "Domain",
    "Encoder",
    "Entrywise",
    "Erf",
    "Example",
    "Exp",
    "HardSigmoid",
    "IntervalBounds",
    "LeakyReLU",
    "Linear",
    "Lines",
    "Log",
    "MatMul",
    "Max",
    "Multiply",
    "Nonlinear",
    "Op",
    "Parameters",
    "Permute",
    "Piecewise",
    "Power",
    "Product",
    "ReLU",
    "Relaxation",
    "Reshape",
    "Scale",
    "Select",
    "Shift",
    "Sigmoid",
    "Sin",
    "Softplus",
    "Sum",
    "Tanh",
    "axis_groups",
    "pool_groups",
    "pool_length",
    "register",
]
