"""What each backend makes of every operator of the registry: the page docs/operators.md, whose words are measured."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from math import prod

import torch
from torch import Tensor

import verify
from tests.support.laws import is_partial
from verify.errors import UnsupportedMethod
from verify.ir.builder import GraphBuilder
from verify.ir.graph import Network
from verify.ops import REGISTRY, Affine, Curve, Example, IntervalBounds, Max, Op, Piecewise, Product, Select
from verify.problem import Problem
from verify.rows import Row
from verify.sets import Box
from verify.spec import from_rows
from verify.train.losses.base import margin_loss
from verify.upper.interval import interval_boxes
from verify.upper.linear_bounds.crown_ibp import affine_end_bounds, crown_ibp_bounds

HEAD = """# Operators, and what each backend makes of them

Every network is made of these records of `verify/ops`; [layers.md](layers.md) says which layers of torch become them.
The table is written by `python -m tests.support.operator_table` from the registry: each cell is what came out when the
backend was run on the first example of the operator over a box, and a test compares it.

- **attack**: whether `PGD` has a gradient to follow; without one, `RandomSearch` goes by values.
- **interval**, **CROWN**, **LP**: whether the bound is finite and above the values at 200 points.
- **optimised**: what `AlphaCROWN` and branch and bound are free to choose.
- **MILP**: whether there is an exact encoding; else it is refused by name.
- **branch and bound**: what is split; v* was closed to 1e-2 by it.
- **R**, **F**: whether the checker accepts a certificate at this level.
- **training**: whether interval and CROWN-IBP losses have finite gradients.

"""
COLUMNS = ("operator", "family", "attack", "interval", "CROWN", "optimised", "LP", "MILP", "branch and bound", "R", "F",
           "training")
RADIUS, POINTS = 0.3, 200


def sample_network(example: Example) -> tuple[Network, Box]:
    """The operator over its first argument, of which the others are made, and a box of inputs."""
    noise = torch.Generator().manual_seed(0)
    builder = GraphBuilder("x", example.shapes[0])
    names = ["x"]
    for k, shape in enumerate(example.shapes[1:]):
        places = torch.arange(prod(shape)).reshape(shape) % prod(example.shapes[0])
        names.append(builder.add(f"argument{k}", Select(), ("x",), (builder.parameter(f"places{k}", places),)))
    stored = tuple(builder.parameter(f"p{k}", t) for k, t in enumerate(example.parameters))
    network = builder.finish(builder.add("op", example.op, tuple(names), stored))
    center = torch.randn((1, *example.shapes[0]), generator=noise)
    center = center.abs() + 0.5 if is_partial(example.op) else center
    return network, Box(center - RADIUS, center + RADIUS)


def question(network: Network, box: Box, offset: Fraction) -> Problem:
    """Is a sum of the outputs with signs above a number?"""
    terms = tuple((j, Fraction(1 - 2 * (j % 2))) for j in range(network.outputs))
    spec = from_rows([((Row(terms, (), offset),),)], network.outputs, prod(network.input_shape), torch.float32)
    return Problem(network, box, spec, torch.tensor([0]), 1)


def family(op: Op) -> str:
    """The family's name, as GLOSSARY.md has it."""
    if isinstance(op, Curve):
        bends = "piecewise linear" if isinstance(op, Piecewise) else "curve"
        return bends if op.is_continuous else "curve with jumps"
    return next(name for kind, name in ((Affine, "affine"), (Max, "maximum"), (Product, "product"))
                if isinstance(op, kind))


def choices(op: Op) -> tuple[str, str]:
    """(what an optimised bound is free to choose, what branch and bound splits)."""
    if isinstance(op, Curve):
        if op.hinge is not None:
            return "slopes", "its argument"
        return "touching points" if op.curved else "nothing", "its argument"
    if isinstance(op, Product):
        return "shares", "its factors"
    return ("slopes", "unfolded into ReLUs") if isinstance(op, Max) else ("nothing", "")


def values_over(network: Network, box: Box) -> Tensor:
    """The largest violation of `question` with offset 0 at random points and corners, float64."""
    noise = torch.Generator().manual_seed(1)
    share = torch.rand((POINTS, *network.input_shape), generator=noise, dtype=torch.float64)
    share[::2] = share[::2].round()
    y = network.double()(box.low.double() + share * (box.high - box.low).double()).flatten(1)
    return (y * (1 - 2 * (torch.arange(y.shape[1]) % 2))).sum(1).max()


def bound_by(method: verify.Interval | verify.CROWN | verify.LP | verify.AlphaCROWN, problem: Problem, value: Tensor
             ) -> str:
    """"yes"; a bound below a value that the network has is no word but a failure."""
    upper = verify.solve(problem, method).upper[0].double()
    assert upper >= value - 1e-6 * (1 + value.abs()), f"{method.name} gives {upper}, below {value}"
    return "yes" if bool(upper.isfinite()) else "infinite"


def attacked(examples: Iterable[Example]) -> str:
    """Whether one of them has a slope at the middle of its box."""
    for network, box in map(sample_network, examples):
        x = ((box.low + box.high) / 2).requires_grad_()
        gradient = torch.autograd.grad(network(x).sum(), x)[0]
        if bool(gradient.any()):
            return "gradient"
    return "values"


def encoded(problem: Problem) -> str:
    try:
        verify.solve(problem, verify.MILP())
    except UnsupportedMethod:
        return "refused"
    return "exact"


def proved(network: Network, box: Box, level: str) -> str:
    """Whether there is a certificate that the bound of a first search, and a little, is not reached."""
    zero = question(network, box, Fraction(0))
    upper = min(float(verify.solve(zero, method).upper[0]) for method in (verify.Interval(), verify.CROWN()))
    asked = question(network, box, Fraction(upper + 1e-2 * (1 + abs(upper))))
    return "no" if verify.prove(asked, level=level, seconds=20).certificate is None else "yes"


def trained(network: Network, box: Box) -> str:
    """Whether the losses of bounds can be differentiated, by what is multiplied with all inputs."""
    scale = torch.ones((), requires_grad=True)
    rows = torch.eye(network.outputs).reshape(1, network.outputs, *network.output_shape)
    words = []
    for name in ("interval", "CROWN-IBP"):
        boxes = interval_boxes(network, IntervalBounds(box.low * scale, box.high * scale))
        bounds = (affine_end_bounds(network, boxes, rows) if name == "interval"
                  else crown_ibp_bounds(network, box, boxes, rows))
        gradient = torch.autograd.grad(margin_loss(bounds).sum(), scale, allow_unused=True)[0]
        words += [name] if gradient is not None and bool(gradient.isfinite()) else []
    return "yes" if len(words) == 2 else " ".join([*words, "alone"]) if words else "no gradient"


def row(name: str) -> str:
    """The line of one operator."""
    examples = REGISTRY[name][1]()
    example = examples[0]
    network, box = sample_network(example)
    value, problem = values_over(network, box), question(network, box, Fraction(0))
    free, split = choices(example.op)
    bounds = [bound_by(method, problem, value) for method in (verify.Interval(), verify.CROWN(), verify.LP())]
    bound_by(verify.AlphaCROWN(), problem, value)
    if split:
        gap = float(verify.solve(problem, verify.BranchAndBound(goal="optimum", gap=1e-2, time_limit=20)).gap[0])
        split = split if gap <= 2e-2 * (1 + float(value.abs())) else f"{split}; open"
    levels = [proved(network, box, level) for level in ("R", "F")]
    cells = [name, family(example.op), attacked(examples), *bounds[:2], free, bounds[2], encoded(problem),
             split or "nothing", *levels, trained(network, box)]
    return line(cells)


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """All operators of the registry, by family."""
    names = sorted(REGISTRY, key=lambda name: (family(REGISTRY[name][1]()[0].op), name))
    rows = [line(COLUMNS), f"|{'---|' * len(COLUMNS)}", *map(row, names)]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(HEAD + table(), end="")
