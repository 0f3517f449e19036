"""A new operator is one record of facts: intervals, linear bounds, LP and MILP follow from them.

Soft shrinkage is x - w above w, x + w below -w and 0 in between: continuous, elementwise and piecewise linear, so it
belongs to the Piecewise family, which asks for breakpoints and slopes only. `register` names the op for the law suite,
together with instances on which the laws are to be tested.

    python examples/custom_op.py
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from fractions import Fraction

import torch

import verify
from verify.ir.builder import GraphBuilder
from verify.ops import Example, Linear, Piecewise, register


@register(lambda op: [Example(op(Fraction(1, 2)), (), ((5,),))])
@dataclass(frozen=True)
class SoftShrink(Piecewise):
    """sign(x) max(|x| - width, 0), width > 0."""

    width: Fraction

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return -self.width, self.width

    @property
    def slopes(self) -> tuple[Fraction, ...]:
        return Fraction(1), Fraction(0), Fraction(1)


def small_network(seed: int) -> verify.Network:
    """4-8-8-3 with soft shrinkage, random weights."""
    noise = torch.Generator().manual_seed(seed)
    builder, value = GraphBuilder("x", (4,)), "x"
    for layer, (n, m) in enumerate([(4, 8), (8, 8), (8, 3)]):
        weight = builder.parameter(f"weight{layer}", torch.randn(m, n, generator=noise) / n**0.5)
        value = builder.add(f"linear{layer}", Linear(), (value,), (weight,))
        if layer < 2:
            value = builder.add(f"shrink{layer}", SoftShrink(Fraction(1, 4)), (value,))
    return builder.finish(value)


def main() -> None:
    parser = argparse.ArgumentParser(description="Bounds of a network with an operator of our own.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=20_000)
    arguments = parser.parse_args()

    network = small_network(arguments.seed)
    noise = torch.Generator().manual_seed(arguments.seed + 1)
    center, eps = torch.rand(1, 4, generator=noise), 0.25
    label = network(center).argmax(1)
    problem = verify.robustness(network, center, label, eps, clip=None)

    points = center + eps * (2 * torch.rand(arguments.samples, 4, generator=noise) - 1)
    margins = network(points) - network(points)[:, label]
    best = float(margins[:, torch.arange(3) != label].max())
    print(f"samples    {best:9.5f} <= v*")
    attack = verify.PGD(stop_when_falsified=False)
    for method in (attack, verify.Interval(), verify.CROWN(), verify.LP(), verify.MILP()):
        bracket = verify.solve(problem, method)
        lower, upper = bracket.lower.item(), bracket.upper.item()
        if upper < best - 1e-5:
            raise SystemExit(f"{method.name} says v* <= {upper}, but a sample reaches {best}")
        print(f"{method.name:10} {lower:9.5f} <= v* <= {upper:.5f}")


if __name__ == "__main__":
    main()
