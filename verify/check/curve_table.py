"""The closed list of functions that a "curve" node may name, with the rationals that each takes."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

from verify.check import curves, gated, jumps
from verify.check.curves import Curve
from verify.check.numbers import Rejected

MOST = 64  # of parameters and their reciprocals
MOST_PLACES = 16
_TABLE: dict[str, tuple[int, Callable[..., Curve]]] = {
    "exp": (0, curves.Exp), "log": (0, curves.Log), "power": (1, curves.Power), "sigmoid": (0, curves.Sigmoid),
    "tanh": (0, curves.Tanh), "softplus": (0, curves.Softplus), "softsign": (0, curves.Softsign),
    "erf": (0, curves.Erf), "atan": (0, curves.Atan), "sin": (0, lambda: curves.Wave(0)),
    "cos": (0, lambda: curves.Wave(1)), "gelu": (0, gated.Gelu), "erf_gate": (1, gated.Gelu),
    "gelu_tanh": (0, gated.GeluTanh), "swish": (1, gated.Swish), "mish": (0, gated.Mish),
    "hardswish": (0, gated.HardSwish), "elu": (3, gated.Elu),
}
NAMES = tuple(_TABLE)  # of those that do not jump
_TABLE |= {"floor": (0, jumps.Floor), "ceil": (0, jumps.Ceil), "round": (0, jumps.Round)}


def curve_of(function: str, parameters: list[Fraction]) -> Curve:
    """The function of this name. Rejects one that is not in the list, and parameters that it does not take."""
    if function == "lines":
        return _lines(parameters)
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


def _lines(parameters: list[Fraction]) -> jumps.Lines:
    """Of n places: these, n + 1 pairs of slope and intercept, n values at the places."""
    n = (len(parameters) - 2) // 4
    places, pairs, values = parameters[:n], parameters[n : 3 * n + 2], parameters[3 * n + 2 :]
    ascending = all(a < b for a, b in pairwise(places)) and all(Fraction(float(place)) == place for place in places)
    if not 1 <= n <= MOST_PLACES or len(values) != n or not ascending or any(abs(p) > 2**40 for p in parameters):
        raise Rejected("lines that jump have 1 to 16 ascending places, which float64 holds, two numbers for each piece "
                       "and one for each place, none beyond 2^40")
    return jumps.Lines(places, list(zip(pairs[::2], pairs[1::2], strict=True)), values)
