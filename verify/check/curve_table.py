"""The closed list of functions that a "curve" node may name, with the rationals that each takes."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from verify.check import curves, gated
from verify.check.curves import Curve
from verify.check.numbers import Rejected

MOST = 64  # of parameters and their reciprocals
_TABLE: dict[str, tuple[int, Callable[..., Curve]]] = {
    "exp": (0, curves.Exp), "log": (0, curves.Log), "power": (1, curves.Power), "sigmoid": (0, curves.Sigmoid),
    "tanh": (0, curves.Tanh), "softplus": (0, curves.Softplus), "softsign": (0, curves.Softsign),
    "erf": (0, curves.Erf), "atan": (0, curves.Atan), "sin": (0, lambda: curves.Wave(0)),
    "cos": (0, lambda: curves.Wave(1)), "gelu": (0, gated.Gelu), "erf_gate": (1, gated.Gelu),
    "gelu_tanh": (0, gated.GeluTanh), "swish": (1, gated.Swish), "mish": (0, gated.Mish),
    "hardswish": (0, gated.HardSwish), "elu": (3, gated.Elu),
}
NAMES = tuple(_TABLE)


def curve_of(function: str, parameters: list[Fraction]) -> Curve:
    """The function of this name. Rejects one that is not in the list, and parameters that it does not take."""
    if function not in _TABLE:
        raise Rejected(f"{function!r:.40} is no function that this checker knows")
    count, make = _TABLE[function]
    if len(parameters) != count:
        raise Rejected(f"the function {function} takes {count} parameters and is given {len(parameters)}")
    if function == "power":
        exponent = parameters[0]
        if exponent in (0, 1) or not Fraction(1, MOST) <= abs(exponent) <= MOST:
            raise Rejected(f"the exponent {exponent!s:.40} is 0, 1 or not between 1/{MOST} and {MOST} in size")
        return make(*parameters)
    sizes = [*map(abs, parameters[:2]), *parameters[2:]] if function == "elu" else parameters
    if not all(Fraction(1, MOST) <= size <= MOST for size in sizes):
        raise Rejected(f"a parameter of the function {function} is not between 1/{MOST} and {MOST}")
    return make(*parameters)
