"""The exact maximum of a small piecewise linear network, by enumerating its phases: one LP (scipy) for each that the
box of the inputs does not rule out."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from verify.ir.graph import Network
from verify.ops import Affine, Max, Piecewise
from verify.problem import Problem


def exact_maximum(problem: Problem, case: int = 0) -> float:
    """v* of one case. Values are affine forms (1 + inputs, *shape): a constant, then a coefficient for each input."""
    network = problem.network.double()
    size = int(np.prod(network.input_shape))
    start = torch.cat([torch.zeros(1, size), torch.eye(size)]).double().reshape(1 + size, *network.input_shape)
    best = -np.inf
    for form, halfspaces in _phases(network, start):
        best = max(best, _maximum(problem, case, form.flatten(1).numpy(), halfspaces, best))
    return best


def _most(forms: np.ndarray, box: list[np.ndarray]) -> np.ndarray:
    """Largest values of affine forms, of shape (n, 1 + inputs), over a box of the inputs."""
    return forms[:, 0] + np.maximum(forms[:, 1:] * box[0], forms[:, 1:] * box[1]).sum(1)


def _phases(network: Network, start: Tensor):
    """(output form, forms that are >= 0 there) of each choice of pieces and members."""
    found = [({network.graph.input: start}, [])]
    for node, p in network.walk():
        found = [
            ({**forms, node.name: form}, [*halfspaces, *more])
            for forms, halfspaces in found
            for form, more in _pieces(node.op, p, [forms[name] for name in node.inputs])
        ]
    return [(forms[network.graph.output], halfspaces) for forms, halfspaces in found]


def _pieces(op, p, forms: list[Tensor]):
    if isinstance(op, Affine):
        linear = torch.stack([op.linear(p, k, form[1:]) for k, form in enumerate(forms)]).sum(0)
        return [(torch.cat([op.forward(p, *(form[:1] for form in forms)), linear]), [])]
    (form,) = forms
    flat = form.flatten(1)
    if isinstance(op, Max):
        groups = p[0].reshape(-1, p[0].shape[-1])
        choices = product(*(torch.unique(group).tolist() for group in groups))
        return [
            (flat[:, list(choice)].reshape(-1, *p[0].shape[:-1]),
             [(flat[:, [m]] - flat[:, group]) for m, group in zip(choice, groups, strict=True)])
            for choice in choices
        ]
    assert isinstance(op, Piecewise)
    return [_piece(op, flat, choice, form.shape) for choice in product(range(len(op.slopes)), repeat=flat.shape[1])]


def _piece(op: Piecewise, flat: Tensor, choice: tuple[int, ...], shape) -> tuple[Tensor, list[Tensor]]:
    slopes, intercepts, breaks = ([float(v) for v in facts] for facts in (op.slopes, op.intercepts, op.breakpoints))
    out = flat * torch.tensor([slopes[i] for i in choice]).double()
    out[0] += torch.tensor([intercepts[i] for i in choice]).double()
    constant = torch.eye(len(flat), 1).double()
    above = [flat[:, [n]] - breaks[i - 1] * constant for n, i in enumerate(choice) if i > 0]
    below = [breaks[i] * constant - flat[:, [n]] for n, i in enumerate(choice) if i < len(breaks)]
    return out.reshape(shape), above + below


def _maximum(problem: Problem, case: int, output: np.ndarray, halfspaces: list[Tensor], best: float) -> float:
    """Largest violation of one phase, or `best` if that is larger: for each disjunct, max t with t <= every row."""
    spec, size = problem.spec, len(output) - 1
    sides = torch.cat(halfspaces, 1).numpy() if halfspaces else np.zeros((size + 1, 0))
    rows, bounds = problem.inputs.linear_rows(case)
    ends = [side[case].flatten().double().numpy() for side in (problem.inputs.low, problem.inputs.high)]
    box = [*zip(*(side.tolist() for side in ends), strict=True), (None, None)]
    if (_most(sides.T, ends) < -1e-6).any():
        return best
    for k in range(spec.disjuncts):
        members = (spec.mask[case] & (spec.disjunct[case] == k)).numpy()
        if not members.any():
            continue
        goal = spec.output[case].double().numpy()[members] @ output.T  # (rows, 1 + inputs)
        goal[:, 0] -= spec.offset[case].double().numpy()[members]
        if spec.input is not None:
            goal[:, 1:] += spec.input[case].double().numpy()[members]
        if _most(goal, ends).min() < best:
            continue
        a = np.vstack([-sides.T[:, 1:], rows, -goal[:, 1:]])
        last = np.concatenate([np.zeros(sides.shape[1] + len(bounds)), np.ones(len(goal))])
        b = np.concatenate([sides[0], bounds, goal[:, 0]])
        answer = linprog([*np.zeros(size), -1], A_ub=np.column_stack([a, last]), b_ub=b, bounds=box)
        if answer.status == 0:
            best = max(best, -answer.fun)
    return best
