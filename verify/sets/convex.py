"""Convex sets that the user describes by CVXPY constraints: mixed norms, budgets, ellipsoids."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verify.errors import InputError, UnsupportedMethod
from verify.registry import SetEntry
from verify.sets.base import InputSet
from verify.sets.box import Box
from verify.sets.halfspaces import Halfspaces
from verify.sets.program import Program
from verify.sets.samples import Samples

ROUNDS = 10  # of cutting planes for one value of the support function
CUTS = 100  # at most so many cuts for the corners of the constraints at the maximiser
TOUCH = 1e-4  # how far beside the maximiser they are taken, relative to the box
CLOSE = 1e-4  # gap at which the value is good enough, relative to 1 + its size
SHARES = [0.0, *(4.0**k for k in range(-13, 0)), 1.0]  # of the way to the inner point, for a point that is not inside


@dataclass(frozen=True)
class _Moved:
    """The constraints of a change d at x = center + eps d; centers (batch, size) float64."""

    constrain: Callable[[Any], Sequence[Any]]
    centers: np.ndarray
    eps: float

    def __call__(self, x: Any, case: int) -> Sequence[Any]:
        return self.constrain((x - self.centers[case]) / self.eps)


@SetEntry(name="convex", place=40, help="convex:package.module:function (CVXPY inequalities of the change)")
class ConvexSet(InputSet):
    """{x in box : constrain(x, case)}, one convex set for each case.

    Args:
        box: the hull, a batch of boxes.
        constrain: takes a CVXPY vector, the flattened input, and the number of a case, and returns CVXPY inequalities
            between expressions, such as `lambda x, case: [cvxpy.norm(x - center[case], 2) <= 0.3]`.
        cases: the numbers of the cases, by default 0 .. batch - 1.

    Equalities have no inside and are refused: fix coordinates by the box. Raises InputError for them, for constraints
    that CVXPY cannot see to be convex and, once a point is asked for, for a set without an inside.
    """

    trusts = ", CVXPY's values and subgradients of the set's constraints"

    def __init__(
        self, box: Box, constrain: Callable[[Any, int], Sequence[Any]], cases: Sequence[int] | None = None
    ):
        self.box, self.constrain = box, constrain
        self.low, self.high = box.low, box.high
        self.cases = tuple(range(box.batch)) if cases is None else tuple(cases)
        if len(self.cases) != box.batch:
            raise InputError(f"a convex set has {box.batch} boxes but {len(self.cases)} case numbers; give one each")
        self._programs: dict[int, Program] = {}  # filled on first use: CVXPY takes its time to compile a problem
        self._inner: dict[int, np.ndarray] = {}

    @classmethod
    def around(cls, argument: str, samples: Samples) -> ConvexSet:
        """Changes between -eps and eps whose quotient by eps meets what the function of a CVXPY vector returns."""
        place, _, name = argument.partition(":")
        try:
            function = getattr(importlib.import_module(place), name)
        except (ImportError, AttributeError, ValueError) as problem:
            raise InputError(f"convex:{argument} names no function ({problem}); write convex:package.module:function, "
                             "with its folder on PYTHONPATH") from None
        if not samples.eps > 0:
            raise InputError("a convex set needs eps > 0, by which its constraints are stretched")
        one = np.array(Fraction(1), dtype=object)
        centers = samples.x.flatten(1).cpu().double().numpy()
        return cls(Box.moved(-one, one, samples), _Moved(function, centers, float(samples.eps)))

    @property
    def facts(self) -> tuple[Any, ...]:
        return self.constrain, torch.tensor(self.cases)

    def support(self, a: Tensor) -> Tensor:
        """max of a . x over the set; a (batch, rows, *shape) -> (batch, rows).

        Kelley's cutting planes (1960): an LP over the halfspaces that the constraints' subgradients give at the
        solver's maximiser, then beside it, and where a gap is left, at points where the way from an inner point to the
        LP's maximiser leaves the set.
        Sound because each cut holds on the set and the LP's value is rebuilt from its multipliers (`Halfspaces`);
        trusts CVXPY's values and subgradients of the constraints, and float64 rounding.
        """
        flat = a.detach().flatten(2).cpu().double().numpy()
        sizes = np.abs(flat).max(2, initial=0)
        sizes[sizes == 0] = 1
        flat = flat / sizes[..., None]
        values = np.array([[self._maximum(case, row) for row in rows] for case, rows in enumerate(flat)])
        return torch.from_numpy(values.reshape(sizes.shape) * sizes).to(a)

    def _maximum(self, case: int, a: np.ndarray) -> float:
        program = self._program(case)
        pieces = Halfspaces(program.low, program.high, np.zeros((0, len(a))), np.zeros(0))
        best = pieces.upper(a, np.zeros(0))
        peak = program.maximiser(a)
        if peak is None:
            return best
        reached, at, beside = float(a @ peak), [peak], _beside(program, peak, program.pull(a))
        for tried in range(ROUNDS):
            rows, bounds = (np.concatenate(part) for part in zip(*map(program.cuts, at), strict=True))
            rows, bounds = np.concatenate([pieces.rows, rows]), np.concatenate([pieces.bounds, bounds])
            pieces = pieces._replace(rows=rows, bounds=bounds)
            beyond, multipliers = pieces.propose(a)
            best = min(best, pieces.upper(a, multipliers))
            if best - reached <= CLOSE * (1 + abs(reached)):
                break
            at = beside if tried == 0 else [self._crossing(case, beyond)]
        return best

    def _crossing(self, case: int, beyond: np.ndarray) -> np.ndarray:
        """Where the way from the inner point to a point leaves the set, by bisection."""
        program, inner, low, high = self._program(case), self._inner_point(case), 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            inside = program.excess(inner + middle * (beyond - inner)) <= 0
            low, high = (middle, high) if inside else (low, middle)
        return inner + high * (beyond - inner)

    def maximiser(self, a: Tensor) -> Tensor:
        """CVXPY's maximiser, projected."""
        points = [self._program(case).maximiser(row) for case, row in enumerate(_rows(a))]
        middles = _rows((self.low + self.high) / 2)
        found = [middle if point is None else point for point, middle in zip(points, middles, strict=True)]
        return self.project(torch.from_numpy(np.stack(found)).to(a).reshape(a.shape))

    def project(self, x: Tensor) -> Tensor:
        """CVXPY's nearest point, moved toward an inner point until floats can tell that it is a member."""
        out = self.box.project(x)
        inside = self.contains(x)
        for case in (~inside).nonzero().flatten().tolist():
            point = self._program(case).nearest(_rows(x[case : case + 1].nan_to_num())[0])
            out[case] = self._pulled_inside(case, self._inner_point(case) if point is None else point, x)
        spread = inside.reshape(-1, *[1] * (x.dim() - 1))
        return torch.where(spread, x, out)

    def _pulled_inside(self, case: int, point: np.ndarray, like: Tensor) -> Tensor:
        """The first of the SHARES on the way to the inner point that is a member as a float; (*shape)."""
        inner, alone = self._inner_point(case), self.select(torch.tensor([case]))
        near = like[case : case + 1]
        for share in SHARES:
            moved = torch.from_numpy(point + share * (inner - point)).to(like).reshape(near.shape)
            near = alone.box.project(moved)
            if self._meets(case, alone.box, near):
                break
        return near[0]

    def contains(self, x: Tensor) -> Tensor:
        """Whether floats can tell that x is a member: the box exactly, every constraint by a margin of 1e-9 of its
        sides. So points on the boundary are none, and members need not be exact; trusts CVXPY's values to the margin.
        """
        inside = self.box.contains(x)
        for case in inside.nonzero().flatten().tolist():
            alone = torch.tensor([case])
            inside[case] = self._meets(case, self.box.select(alone), x[case : case + 1])
        return inside

    def _meets(self, case: int, box: Box, x: Tensor) -> bool:
        """Whether x (1, *shape), a point of the box, meets the constraints of a case."""
        point = np.asarray(box.preimage(x)).astype(np.float64).ravel()
        return self._program(case).excess(point) <= 0

    def origins(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.box.origins(x)

    def select(self, index: Tensor) -> ConvexSet:
        return ConvexSet(self.box.select(index), self.constrain, [self.cases[i] for i in index.tolist()])

    def to(self, device: torch.device | str) -> ConvexSet:
        return ConvexSet(self.box.to(device), self.constrain, self.cases)

    def double(self) -> ConvexSet:
        return ConvexSet(self.box.double(), self.constrain, self.cases)

    def linear_rows(self, case: int) -> tuple[np.ndarray, np.ndarray]:
        raise UnsupportedMethod("LP and MILP take boxes and polytopes, not convex sets; use ConvexLP, CROWN or PGD")

    def constraint(self, x: Any, case: int) -> list[Any]:
        return [*self._hull_constraint(x, case), *self.constrain(x, self.cases[case])]

    def _program(self, case: int) -> Program:
        if case not in self._programs:
            low, high = (_rows(end[case : case + 1])[0] for end in (self.low, self.high))
            number = self.cases[case]
            self._programs[case] = Program(low, high, lambda x: self.constrain(x, number))
        return self._programs[case]

    def _inner_point(self, case: int) -> np.ndarray:
        if case not in self._inner:
            self._inner[case] = self._program(case).inner()
        return self._inner[case]


def _beside(program: Program, peak: np.ndarray, pull: np.ndarray) -> list[np.ndarray]:
    """Points around a maximiser at a corner, whose subgradients have the one that the maximiser needs in their hull.

    For a sum of |x_i| that one is `pull` (up to scale), which is the mean over thresholds of the vectors of signs of
    pull - threshold: so one point in the direction of each of these.
    """
    levels = np.unique(pull)
    between = np.concatenate([[levels[0] - 1], (levels[1:] + levels[:-1]) / 2, [levels[-1] + 1]])
    chosen = between[np.unique(np.linspace(0, len(between) - 1, CUTS).round().astype(int))]
    return [peak + TOUCH * (program.high - program.low) * np.sign(pull - level) for level in chosen]


def _rows(x: Tensor) -> np.ndarray:
    """(batch, *shape) as float64 (batch, size)."""
    return x.detach().flatten(1).cpu().double().numpy()
