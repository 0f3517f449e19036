"""A network over a box as a linear model: one walk, in which every operator writes its own rows."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from verify.errors import Unbounded
from verify.ir.evaluate import CONSTANTS, UNIT
from verify.ir.graph import BoundGraph, Network
from verify.ops.affine import Affine
from verify.ops.base import IntervalBounds
from verify.sets import InputSet
from verify.solvers.model import LinearModel

Boxes = dict[str, IntervalBounds]  # bounds of every value of the graph, by node name, batch of 1
LARGEST = 1e15  # HiGHS takes no larger coefficient, and a bound of 1e20 for none
Columns = dict[str, np.ndarray]  # column numbers of every value, in its shape


def encode_network(
    network: Network, inputs: InputSet, boxes: Boxes, until: str | None = None
) -> tuple[LinearModel, Columns]:
    """The network's graph over one input set, with integer columns for undecided pieces.

    Args:
        network: in float64, so that no coefficient of the network as it was read is rounded before the solver sees it;
            how far the model's rows may be from the truth where rewrites have rounded constants is stated in it.
        inputs: the set, batch of 1. Its rows join the model.
        boxes: bounds of every value over that set, from the tightest method at hand, which become those of the columns.
        until: the last value to encode, by default the output.

    Raises UnsupportedMethod for a set that is no polyhedron, and Unbounded where a value has no finite bounds, or
    larger ones than solvers take for finite. Exact but for ops with `is_exact` False, which write a
    relaxation; with integrality dropped it is a relaxation of every op.
    """
    wanted = _ancestors(network, until or network.graph.output)
    model = LinearModel()
    name = network.graph.input
    columns: Columns = {name: model.add_columns(*_sample(boxes[name]))}
    rows, bounds = inputs.linear_rows(0)
    if len(bounds):
        model.add_rows([(sp.csr_matrix(rows), columns[name].ravel())], np.full(len(bounds), -np.inf), bounds)
    for node, p in network.walk():
        if node.name in wanted:
            arguments = [columns[i] for i in node.inputs]
            if not all(bool((end.abs() < LARGEST).all()) for end in boxes[node.name]):
                raise Unbounded(f"the values of node {node.name} have no bounds below {LARGEST:g} over the set, which "
                                "a program for a solver needs; take a smaller set, or linear bounds (CROWN)")
            start = model.rows
            columns[node.name] = node.op.encode(p, model, arguments, [boxes[i] for i in node.inputs])
            is_old = isinstance(node.op, Affine) and node.op.is_move
            (model.tighten if is_old else model.bound)(columns[node.name], *_sample(boxes[node.name]))
            if node.name in network.constants and model.rows > start:
                model.doubt(start, CONSTANTS * UNIT * network.constants[node.name].flatten().cpu().numpy())
    return model, columns


def _ancestors(network: BoundGraph, name: str) -> set[str]:
    """The nodes that a value depends on, itself included."""
    found = {name}
    for node in reversed(network.graph.nodes):
        if node.name in found:
            found.update(node.inputs)
    return found


def _sample(box: IntervalBounds) -> tuple[np.ndarray, np.ndarray]:
    low, high = (v[0].detach().to(torch.float64).cpu().numpy() for v in box)
    return low, high
