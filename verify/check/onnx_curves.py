"""ONNX operators of one varying argument that are curves, entry by entry."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from verify.check.onnx_graph import Call, Value, Writer


def _curve(function: str) -> Callable[[Writer, Call], Value]:
    return lambda w, c: _emitted(w, c, function)


def _power(exponent: str) -> Callable[[Writer, Call], Value]:
    return lambda w, c: _emitted(w, c, "power", Fraction(exponent))


def _emitted(w: Writer, c: Call, function: str, *parameters: Fraction) -> Value:
    x = c.value()
    return w.emit(c, "curve", [x], x.shape, function=function, parameters=[str(value) for value in parameters])


def _pow(w: Writer, c: Call) -> Value:
    """With one constant exponent for all entries; 1 is no power."""
    x, exponent = c.value(), c.const(1)
    if exponent.dtype.kind not in "if" or not np.isfinite(exponent).all() or exponent.size < 1:
        c.refuse(f"has exponents of {exponent.dtype}, or that are not finite")
    if (exponent != exponent.reshape(-1)[0]).any() or np.broadcast_shapes(x.shape, exponent.shape) != x.shape:
        c.refuse("has exponents that differ, or that make its argument wider")
    only = Fraction(exponent.reshape(-1)[0].item())
    if Fraction(float(w.kind.type(float(only)))) != only:
        c.refuse(f"has the exponent {float(only)}, which {w.kind} does not hold")
    return x if only == 1 else _emitted(w, c, "power", only)


def _elu(w: Writer, c: Call) -> Value:
    """ELU, and CELU with a rate of its own."""
    alpha = Fraction(c.number("alpha", 1.0))
    if alpha == 0 or (c.op == "Celu" and alpha < 0):
        c.refuse(f"has the alpha {float(alpha)}")
    return _emitted(w, c, "elu", alpha, Fraction(1), 1 / alpha if c.op == "Celu" else Fraction(1))


def _selu(w: Writer, c: Call) -> Value:
    defaults = {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}
    return _emitted(w, c, "elu", *(Fraction(c.number(name, value)) for name, value in defaults.items()), Fraction(1))


def _gelu(w: Writer, c: Call) -> Value:
    form = c.text("approximate", "none")
    if form not in ("none", "tanh"):
        c.refuse(f"has the approximation {form!r:.40}")
    return _emitted(w, c, "gelu" if form == "none" else "gelu_tanh")


def _lines(w: Writer, c: Call, places: list[Fraction], lines: list[Fraction], values: list[Fraction]) -> Value:
    """Lines that do not meet, by pairs of slope and intercept; places are numbers of the network's type."""
    return _emitted(w, c, "lines", *places, *lines, *values)


def _shrink(w: Writer, c: Call) -> Value:
    """x + bias below -lambd, x - bias above lambd, 0 between."""
    place, bias = (Fraction(c.number(name, value)) for name, value in (("lambd", 0.5), ("bias", 0.0)))
    if place <= 0 or place == bias:
        c.refuse(f"has the lambd {float(place)} and the bias {float(bias)}")
    one, none = Fraction(1), Fraction(0)
    return _lines(w, c, [-place, place], [one, bias, none, none, one, -bias], [none, none])


def _thresholded(w: Writer, c: Call) -> Value:
    """x above alpha, else 0."""
    place = Fraction(c.number("alpha", 1.0))
    if place == 0:
        x = c.value()
        return w.piecewise(c, x, [0], [0, 1], (0, 0))
    return _lines(w, c, [place], [Fraction(0), Fraction(0), Fraction(1), Fraction(0)], [Fraction(0)])


def _sign(w: Writer, c: Call) -> Value:
    minus, none, one = map(Fraction, (-1, 0, 1))
    return _lines(w, c, [none], [none, minus, none, one], [none])


CURVES: dict[str, Callable[[Writer, Call], Value]] = {
    "Sigmoid": _curve("sigmoid"), "Tanh": _curve("tanh"), "Softplus": _curve("softplus"), "Exp": _curve("exp"),
    "Log": _curve("log"), "Erf": _curve("erf"), "Sin": _curve("sin"), "Cos": _curve("cos"), "Atan": _curve("atan"),
    "Softsign": _curve("softsign"), "Mish": _curve("mish"), "HardSwish": _curve("hardswish"), "Sqrt": _power("1/2"),
    "Reciprocal": _power("-1"), "Pow": _pow, "Elu": _elu, "Celu": _elu, "Selu": _selu, "Gelu": _gelu,
    "Floor": _curve("floor"), "Ceil": _curve("ceil"), "Round": _curve("round"), "Sign": _sign, "Shrink": _shrink,
    "ThresholdedRelu": _thresholded,
}
