"""The output of a network at one rational point in real arithmetic: exactly, or within a bound on float64 rounding.

Both evaluations speak of the network given; pass the one that was read, not a rewritten one.
"""

from __future__ import annotations

from fractions import Fraction
from math import prod

import numpy as np
import torch
from torch import Tensor

from verify.errors import UnsupportedMethod
from verify.ir.graph import Network
from verify.ops import (
    Affine,
    Nonlinear,
    Op,
    Parameters,
)
from verify.rationals import exact_array, round_up

UNIT = 2.0**-53
CONSTANTS = 16  # roundings of an op beside those of its sums: the bias, a quotient, batch norm's factor
INFLATE = 1.01  # far more than the rounding of the error bounds themselves, which are sums of non-negative numbers
LARGEST = Fraction(2) ** 1000
TINY = 2.0**-900  # far more than what all underflows of an op add up to

Rounded = tuple[Tensor, Tensor]  # value and a bound on its error, (1, *shape) float64


def exact_work(network: Network) -> int:
    """Entries of all matrices that `exact_value` goes through."""
    shapes = network.graph.shape_of
    affine = [node for node in network.graph.nodes if isinstance(node.op, Affine)]
    return sum(prod(shapes(name)) * prod(node.shape) for node in affine for name in node.inputs)


def exact_value(network: Network, point: np.ndarray) -> np.ndarray:
    """The output at a point, both object arrays of rationals, (*input_shape) -> (*output_shape).

    Raises UnsupportedMethod, naming the node, where an op has no rational values, or values beyond all floats.
    """
    _check_bare(network)
    values = {network.graph.input: point}
    for node, p in network.walk():
        low, high = node.op.enclose(p, *(values[name] for name in node.inputs))
        if low is not high and (low != high).any():
            raise UnsupportedMethod(f"node {node.name} ({type(node.op).__name__}) has irrational values")
        if max(map(abs, low.flat), default=0) > LARGEST:
            raise UnsupportedMethod(f"node {node.name} has values beyond the largest float64")
        values[node.name] = low
    return values[network.graph.output]


def bounded_value(network: Network, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) around the output at a point, object arrays of rationals, (*input_shape) -> (*output_shape).

    A running error analysis (Higham 2002, section 3.3): each float64 value comes with a bound on its distance to the
    exact one. Raises UnsupportedMethod, naming the node, for a family without a bound and where numbers overflow.

    Sound because each op's error is bounded as its function here says; trusts that the library's float64 products
    are direct sums that keep subnormals, and its smooth functions to a few ulps.
    """
    _check_bare(network)
    network = network.double().to("cpu")
    near = torch.from_numpy(point.astype(np.float64))
    values = {network.graph.input: (near[None], round_up(abs(point - exact_array(near)), torch.float64)[None])}
    with torch.no_grad():
        for node, p in network.walk():
            found = _apply(node.name, node.op, p, [values[name] for name in node.inputs])
            if not all(bool(torch.isfinite(part).all()) for part in found):
                raise UnsupportedMethod(f"node {node.name} overflows in float64")
            values[node.name] = found
    value, error = (exact_array(part[0]) for part in values[network.graph.output])
    return value - error, value + error


def _check_bare(network: Network) -> None:
    if network.logits is not network:
        raise UnsupportedMethod(f"the {network.head} at the end of the network has irrational values")


def _apply(name: str, op: Op, p: Parameters, xs: list[Rounded]) -> Rounded:
    if isinstance(op, Affine):
        return _affine(op, p, xs)
    if isinstance(op, Nonlinear):
        value, error = op.perturbed(p, *xs[0], UNIT)
        return value, INFLATE * error + TINY
    raise UnsupportedMethod(f"node {name} ({type(op).__name__}) has no bound on its rounding")


def _affine(op: Affine, p: Parameters, xs: list[Rounded]) -> Rounded:
    """|A| e is passed on, and gamma_n (|A| |v| + |b|) is new for sums of n terms in any order, with or without fused
    products (Higham 2002, eq. 3.5)."""
    value = op.forward(p, *(v for v, _ in xs))
    if op.is_move:
        return value, op.forward(p, *(e for _, e in xs))
    n = op.terms(p, [v[0].numel() for v, _ in xs], value[0].numel()) + CONSTANTS
    gamma = n * UNIT / (1 - n * UNIT)
    error = torch.zeros_like(value) if (bias := op.bias_size(p)) is None else gamma * bias.expand_as(value)
    for k, (v, e) in enumerate(xs):
        error = error + op.absolute(p, k, e) + gamma * op.absolute(p, k, v.abs())
    return value, INFLATE * error + TINY


