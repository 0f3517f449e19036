"""What a linear model of a network is maximised for: the disjuncts of one case's specification."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
import torch

from verify.ir.graph import Network
from verify.problem import Problem
from verify.rationals import exact_array
from verify.sets import Box, InputSet, Polytope
from verify.solvers.encoding import Boxes, encode_network
from verify.solvers.model import Arrays, LinearModel
from verify.spec import Specification

ROOM = 1e-6  # how much farther than needed the column of a conjunction reaches, relative


@dataclass(frozen=True)
class CaseModel:
    """One case as a linear model with an objective for each disjunct: violation_k = costs[k] . x - offsets[k].

    Args:
        arrays: the model.
        inputs: (*shape) columns of the network's input.
        costs: (disjuncts, columns).
        offsets: (disjuncts,).
    """

    arrays: Arrays
    inputs: np.ndarray
    costs: sp.csr_matrix
    offsets: np.ndarray

    def cost(self, k: int) -> np.ndarray:
        """Objective k, dense (columns,)."""
        return self.costs[[k]].toarray().ravel()

    def point(self, x: np.ndarray, like: torch.Tensor) -> torch.Tensor:
        """The input of a solution, (*shape), with the type of `like`."""
        return torch.from_numpy(x[self.inputs]).to(like)


@dataclass(frozen=True)
class SolverCase:
    """One case of a problem on the CPU in float64, so that nothing is rounded before the solver sees it.

    Args:
        network, inputs, spec: the parts, batch of 1; `inputs` is a Box or a Polytope where LP and MILP
            are to take it.
        middle: (*shape) a point of the hull in the problem's own type and on its device.
    """

    network: Network
    inputs: InputSet
    spec: Specification
    middle: torch.Tensor

    def model(self, boxes: Boxes) -> CaseModel:
        """The linear model over these boxes; a conjunction k adds a column t <= row for each of its rows."""
        model, columns = encode_network(self.network, self.inputs, boxes)
        inputs, outputs = (columns[name].ravel() for name in (self.network.graph.input, self.network.graph.output))
        if self.inputs.levels is not None:
            _on_grid(model, inputs, self.inputs, self.inputs.levels)
        rows = _over(self.spec.output[0], outputs, model.columns)
        if self.spec.input is not None:
            rows = rows + _over(self.spec.input[0], inputs, model.columns)
        offset = self.spec.offset[0].numpy()
        reach = _reach(model.arrays(), rows, offset)
        parts, offsets = [], []
        for members in self.disjuncts:
            if len(members) == 1:
                parts.append(sp.csr_matrix(rows[members]))
                offsets.append(offset[members[0]])
            else:
                parts.append(_least(model, rows[members], offset[members], *(ends[members].min() for ends in reach)))
                offsets.append(0.0)
        for part in parts:
            part.resize((1, model.columns))
        costs = sp.csr_matrix(sp.vstack(parts)) if parts else sp.csr_matrix((0, model.columns))
        return CaseModel(model.arrays(), columns[self.network.graph.input], costs, np.array(offsets))

    @property
    def disjuncts(self) -> list[np.ndarray]:
        """Row numbers of each disjunct that has any."""
        owner, mask = self.spec.disjunct[0].numpy(), self.spec.mask[0].numpy()
        return [np.flatnonzero(mask & (owner == k)) for k in np.unique(owner[mask])]

    def least(self, rows: torch.Tensor) -> np.ndarray:
        """Smallest of the row values (1, rows) in each disjunct, (disjuncts,); NaN counts as inf."""
        values = torch.where(rows.isnan(), torch.inf, rows)[0].numpy()
        return np.array([values[members].min() for members in self.disjuncts])


def float64_case(problem: Problem, index: int) -> SolverCase:
    """One case with everything in float64 on the CPU, over the set as it is and the network as it was read."""
    wide, place = problem.in_float64.merged, torch.tensor([index], device=problem.owner.device)
    middle = ((problem.inputs.low[index] + problem.inputs.high[index]) / 2).detach()
    inputs, spec = wide.inputs.select(place).to("cpu"), wide.spec.select(place).to("cpu")
    return SolverCase(wide.network.to("cpu"), inputs, spec, middle)


def case_of(problem: Problem, index: int) -> SolverCase:
    """The same over the hull of the set and its rows, or over a grid. Raises UnsupportedMethod for a set that is
    neither."""
    case = float64_case(problem, index)
    if case.inputs.levels is not None:
        return case
    inputs: InputSet = Box(case.inputs.low, case.inputs.high)
    rows, bounds = (exact_array(torch.from_numpy(v))[None] for v in case.inputs.linear_rows(0))
    return replace(case, inputs=Polytope(inputs, rows, bounds) if bounds.size else inputs)


def _on_grid(model: LinearModel, columns: np.ndarray, inputs: InputSet, levels: int) -> None:
    """Integer columns k with levels x = k for these columns x of the input."""
    ends = (end[0].ravel() * levels for end in inputs.exact_box())
    whole = model.add_columns(*(end.astype(np.float64) for end in ends), integer=True)
    zero = np.zeros(len(columns))
    model.add_rows([(np.full(len(columns), float(levels)), columns), (-np.ones(len(columns)), whole)], zero, zero)


def _over(coefficients: torch.Tensor, columns: np.ndarray, total: int) -> sp.csr_matrix:
    """Rows (rows, n) over n of the model's columns as (rows, total)."""
    values = coefficients.numpy()
    row, place = values.nonzero()
    return sp.csr_matrix((values[row, place], (row, columns[place])), shape=(len(values), total))


def _reach(a: Arrays, rows: sp.csr_matrix, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) of rows x - offset over the columns' bounds, widened by more than their rounding; (rows,) each."""
    center = rows @ ((a.low + a.high) / 2) - offset
    radius = abs(rows) @ ((a.high - a.low) / 2)
    radius = radius + ROOM * (1 + np.abs(center) + radius)
    return center - radius, center + radius


def _least(model: LinearModel, rows: sp.csr_matrix, offset: np.ndarray, low: float, high: float) -> sp.csr_matrix:
    """A column t in [low, high] with t <= rows x - offset; returns its unit cost, (1, columns)."""
    t = model.add_columns(np.array([low]), np.array([high]))
    count = len(offset)
    terms = [(sp.csr_matrix(np.ones((count, 1))), t), (-rows, np.arange(rows.get_shape()[1]))]
    model.add_rows(terms, np.full(count, -np.inf), -offset)
    return sp.csr_matrix((np.ones(1), (np.zeros(1, int), t)), shape=(1, model.columns))
