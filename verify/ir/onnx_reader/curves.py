"""Functions of one varying tensor that have attributes, or a constant beside it."""

from __future__ import annotations

from fractions import Fraction

from verify.ir.onnx_reader.reader import NUMPY, Call, Reader, handles
from verify.ir.onnx_reader.values import Value
from verify.ops.smooth import Power


@handles("Pow")
def pow_(r: Reader, c: Call) -> Value:
    """With one constant exponent for all entries, as the type of the base holds it."""
    x, exponents = c.value(), r.constant(c, c.const(1))
    if exponents.size == 0 or not (exponents == exponents.ravel()[0]).all() or exponents.ndim > x.rank:
        c.refuse("has several exponents", "use a node for each exponent")
    exponent = exponents.ravel()[0].astype(NUMPY[r.builder.dtype]).item()
    if exponent == 0 or exponent - exponent != 0:
        c.refuse(f"has the exponent {exponent}, so its output is constant or no number")
    return x if exponent == 1 else r.like(c, Power(Fraction(exponent)), x)
