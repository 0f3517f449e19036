"""Rows whose numbers floats do not hold, against exact maxima: what is said is true of the file's own numbers.

The networks have one input and dyadic weights, so that their floats are exact. A row of their outputs is piecewise
linear, and the largest violation over an interval is enumerated in rationals.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from fractions import Fraction
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from verify import CROWN, LP, AlphaCROWN, BranchAndBound, Interval, Verdict, from_vnnlib, read_vnnlib, solve, trace
from verify.errors import SolverError
from verify.ir.graph import Network
from verify.method import Method
from verify.rows import Disjuncts, Row, violation
from verify.sets import Box, Polytope
from verify.vnnlib import Property

PROPERTIES = int(os.environ.get("VERIFY_EXACT_ROWS", "24"))
HIDDEN = 3
ZERO = Fraction(0)


class Net:
    """y = second . relu(first x + bias) + shift, with its weights as rationals."""

    def __init__(self, source: random.Random):
        quarters = [Fraction(k, 4) for k in range(-8, 9) if k]
        self.first, self.bias = source.choices(quarters, k=HIDDEN), source.choices(quarters, k=HIDDEN)
        self.second = [source.choices(quarters, k=HIDDEN) for _ in range(2)]
        self.shift = source.choices(quarters, k=2)

    def value(self, x: Fraction) -> list[Fraction]:
        hidden = [max(w * x + b, ZERO) for w, b in zip(self.first, self.bias, strict=True)]
        return [sum((w * h for w, h in zip(row, hidden, strict=True)), s)
                for row, s in zip(self.second, self.shift, strict=True)]

    def network(self, kind: torch.dtype) -> Network:
        layers = nn.Linear(1, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2)
        sides = ((layers[0], [[w] for w in self.first], self.bias), (layers[2], self.second, self.shift))
        for layer, weight, bias in sides:
            layer.weight.data = torch.tensor([[float(v) for v in row] for row in weight])
            layer.bias.data = torch.tensor([float(v) for v in bias])
        return trace(nn.Sequential(*layers).to(kind), torch.zeros(1, 1, dtype=kind))

    def maximum(self, disjuncts: Disjuncts, low: Fraction, high: Fraction) -> Fraction:
        """The largest violation over [low, high]: at an end, at a neuron's breakpoint, or where two rows cross."""
        points = {low, high}
        points |= {x for w, b in zip(self.first, self.bias, strict=True) if w and low < (x := -b / w) < high}
        for left, right in pairwise(sorted(points)):
            ends = [[row.value([x], self.value(x)) for d in disjuncts for row in d] for x in (left, right)]
            for i, j in combinations(range(len(ends[0])), 2):
                here, there = ends[0][i] - ends[0][j], ends[1][i] - ends[1][j]
                if here * there < 0:
                    points.add(left + (right - left) * here / (here - there))
        return max(self.violation(disjuncts, x) for x in points)

    def violation(self, disjuncts: Disjuncts, x: Fraction) -> Fraction:
        y = self.value(x)
        return violation(disjuncts, [x], y, y)[0]


def coefficient(source: random.Random) -> str:
    """A number that float32, or float64 too, rounds; now and then one that they hold."""
    sign, kind = source.choice(["", "-"]), source.randrange(6)
    if kind == 0:
        return f"{sign}{(1 << 24) + source.choice([-1, 1, 2, 3])}"
    if kind == 1:
        return f"{sign}{(1 << 53) + source.choice([-1, 1, 3])}"
    if kind == 2:
        return f"{sign}0.{source.randrange(1, 10**20):020d}"
    if kind == 3:
        return f"{sign}{source.randrange(1, 10)}.{source.randrange(10**9):09d}e{source.choice([-40, -9, 0, 8, 20])}"
    return sign + source.choice(["0.1", "0.7", "1.3", "1", "16777217", "3.3333333"])


def decimal(value: Fraction, digits: int) -> str:
    """The value rounded to so many decimals."""
    scaled = round(value * 10**digits)
    whole, rest = divmod(abs(scaled), 10**digits)
    return f"{'-' if scaled < 0 else ''}{whole}.{rest:0{digits}d}"


def rows_near(source: random.Random, net: Net, low: Fraction, high: Fraction) -> tuple[str, list[list[Row]]]:
    """(formula, rows) of one or two disjuncts whose largest violation is hardly above or below 0, or 0 but for 60
    decimals."""
    texts, disjuncts = [], []
    for _ in range(source.choice([1, 1, 2])):
        comparisons, rows = [], []
        for _ in range(source.choice([1, 1, 2])):
            first, second, third = (coefficient(source) for _ in range(3))
            if source.random() < 0.3 and first.lstrip("-").isdigit():  # two large numbers that nearly cancel
                second = str(-int(first) + source.choice([-1, 0, 1]))
            third = third if source.random() < 0.4 else "0"
            output = tuple((i, Fraction(c)) for i, c in enumerate((first, second)))
            given = ((0, Fraction(third)),) if Fraction(third) else ()
            most = net.maximum([[Row(output, given, ZERO)]], low, high)
            size = max(abs(Fraction(c)) for c in (first, second, third))
            offset = decimal(most + source.choice([-1, 0, 1]) * size / 10 ** source.randrange(1, 25), 60)
            comparisons.append(f"(>= (+ (* {first} Y_0) (* {second} Y_1) (* {third} X_0)) {offset})")
            rows.append(Row(output, given, Fraction(offset)))
        texts.append(f"(and {' '.join(comparisons)})")
        disjuncts.append(rows)
    return f"(or {' '.join(texts)})", disjuncts


def asked(folder: Path, source: random.Random, net: Net, kind: torch.dtype) -> tuple[Property, Fraction, Fraction]:
    """A property of the network, its largest violation, and that over the floats too to which members round."""
    low, width = source.choice(["-1", "0", "0.1", "-0.7"]), source.choice(["0.3", "1", "2"])
    high = decimal(Fraction(low) + Fraction(width), 1)
    formula, disjuncts = rows_near(source, net, Fraction(low), Fraction(high))
    names = "".join(f"(declare-const {name} Real)" for name in ("X_0", "Y_0", "Y_1"))
    file = folder / "p.vnnlib"
    file.write_text(f"{names}(assert (>= X_0 {low}))(assert (<= X_0 {high}))(assert {formula})")
    ends = Fraction(low), Fraction(high)
    rounded = [Fraction(torch.tensor(float(end), dtype=kind).item()) for end in ends]
    wider = net.maximum(disjuncts, min(ends[0], rounded[0]), max(ends[1], rounded[1]))
    return read_vnnlib(file), net.maximum(disjuncts, *ends), wider


def test_a_polytope_for_a_solver_holds_the_exact_one() -> None:
    """The only point of the set is a corner of the box; rows rounded to the nearest float64 exclude it."""
    rows = np.array([[[Fraction((1 << 53) + 1), Fraction(-(1 << 53))], [Fraction(1, 3), Fraction(1, 7)]]], dtype=object)
    point = np.array([Fraction(3), Fraction(3)], dtype=object)
    bounds = (rows[0] @ point)[None]
    low, high = np.array([[Fraction(0)] * 2], dtype=object), point[None]
    sets = Polytope(Box(low, high, torch.float64), rows, bounds)
    a, b = sets.linear_rows(0)
    assert all(sum(Fraction(c) * x for c, x in zip(row, point, strict=True)) <= Fraction(most)
               for row, most in zip(a.tolist(), b.tolist(), strict=True))
    assert float(sets.support(torch.ones(1, 1, 2, dtype=torch.float64))) >= 6


METHODS: dict[str, Method] = {
    "interval": Interval(), "crown": CROWN(), "alpha": AlphaCROWN(), "lp": LP(), "bab": BranchAndBound(domains=40)
}


@pytest.mark.parametrize("seed", range(2))
def test_what_is_said_is_true_of_the_numbers_in_the_file(seed: int, tmp_path: Path) -> None:
    source, said = random.Random(seed), Counter[str]()
    net, networks = Net(source), list[Network]()
    for k in range(PROPERTIES // 2):
        if k % 20 == 0:  # tracing takes longer than deciding
            net = Net(source)
            networks = [net.network(kind) for kind in (torch.float32, torch.float64)]
        network = networks[k % 4 == 3]
        prop, most, reached = asked(tmp_path, source, net, network.dtype)
        problem, text = from_vnnlib(network, prop), (tmp_path / "p.vnnlib").read_text()
        for name, method in METHODS.items():
            try:
                bracket = solve(problem, method)
            except SolverError:  # HiGHS takes no coefficients beyond 1e15
                assert name == "lp"
                continue
            verdict = bracket.verdicts[0]
            assert verdict is not Verdict.VERIFIED or most < 0, f"{name} verifies, v* = {float(most)}: {text}"
            assert verdict is not Verdict.FALSIFIED or reached >= 0, f"{name} falsifies, v* = {float(reached)}: {text}"
            said[f"{name} {verdict}"] += 1
    assert said["bab verified"] > 0
    assert said["bab falsified"] > 0
