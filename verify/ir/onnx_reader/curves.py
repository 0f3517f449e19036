"""Functions of one varying tensor that have attributes, or a constant beside it."""

from __future__ import annotations

from fractions import Fraction

from verify.ir.compose import Composer
from verify.ir.onnx_reader.elementwise import float32
from verify.ir.onnx_reader.reader import NUMPY, Call, Reader, handles
from verify.ir.onnx_reader.values import Value
from verify.ops.smooth import ELU, GELU, Power, TanhGELU


@handles("Gelu")
def gelu(r: Reader, c: Call) -> Value:
    approximate = c.attribute("approximate", "none")
    if approximate not in ("none", "tanh"):
        c.refuse(f"approximates in a way called {approximate}")
    return r.like(c, TanhGELU() if approximate == "tanh" else GELU(), c.value())


@handles("Elu", "Selu", "Celu")
def elu(r: Reader, c: Call) -> Value:
    alpha = float32(c.attribute("alpha", 1.6732631921768188 if c.op == "Selu" else 1.0))
    scale = float32(c.attribute("gamma", 1.0507010221481323)) if c.op == "Selu" else Fraction(1)
    if not alpha or not scale or (c.op == "Celu" and alpha < 0):
        c.refuse(f"has alpha {float(alpha)} and gamma {float(scale)}", "use Relu, or another scale")
    return r.like(c, ELU(alpha, scale, 1 / alpha if c.op == "Celu" else Fraction(1)), c.value())


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


@handles("Sinh", "Cosh", "Tan")
def composed(r: Reader, c: Call) -> Value:
    """Sums of exponentials, or sine over cosine."""
    x = r.finite(c, c.value())

    def made(w: Composer) -> str:
        return w.tangent(x.name) if c.op == "Tan" else w.hyperbolic(x.name, c.op == "Cosh")

    return r.write(c, made, x.shape, x.batch)
