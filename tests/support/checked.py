"""The checker's networks, evaluated forward."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from verify.check.curves import Curve
from verify.check.network import Network as Checked
from verify.check.network import build
from verify.check.numbers import Arithmetic
from verify.check.ops import Affine, Piecewise
from verify.check.product import Product
from verify.check.spans import Span
from verify.ir.graph import Network
from verify.proof.export import exported

FLOATS, RATIONALS = Arithmetic(False), Arithmetic(True)


def checked(network: Network, number: Arithmetic = FLOATS) -> Checked:
    return build(number, *exported(network))


def evaluated(
    network: Checked, number: Arithmetic, x: np.ndarray, stored: Callable[[np.ndarray], np.ndarray] = lambda v: v
) -> np.ndarray:
    """Outputs (batch, entries) of flat inputs (batch, entries); values of curves, which the checker encloses, are taken
    in the middle and `stored` so, as an enclosure's middle may lie beyond a jump."""
    values = {network.input: x}
    for node in network.nodes:
        given = [values[name] for name in node.inputs]
        if isinstance(node.op, Affine):
            out = sum((node.op.linear(k, v) for k, v in enumerate(given)), number.zeros((len(x), node.entries)))
            out = out if node.op.bias is None else out + node.op.bias
        elif isinstance(node.op, Curve):
            with np.errstate(all="ignore"):  # as the checker does, to which infinity is no bound
                out = stored(node.op.value(Span.at(number, given[0])).middle)
        elif isinstance(node.op, Product):
            out = node.op.times(*given)
        elif isinstance(node.op, Piecewise):
            lines = [(number.nearest(np.array([s], object)), number.nearest(np.array([c], object)))
                     for s, c in zip(node.op.slopes, node.op.intercepts, strict=True)]
            piece = sum((given[0] > b).astype(int) for b in node.op.breakpoints)
            out = np.choose(piece, [s * given[0] + c for s, c in lines])
        else:
            out = given[0][:, node.op.groups].max(2)
        assert out.shape == (len(x), node.entries)
        values[node.name] = out
    return values[network.output]
