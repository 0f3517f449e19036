"""What `verify inspect` prints: a network's nodes, and how many neurons of each are unstable around data."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch

from verify.ir.graph import Network, Node
from verify.ops.base import IntervalBounds, Nonlinear
from verify.problem import Problem
from verify.upper.crown import linear_boxes
from verify.upper.interval import interval_boxes

SAMPLES = 32  # bounded at once
HEAD = ("name", "op", "reads", "shape", "parameters")
BOUNDS: dict[str, Callable[[Problem], dict[str, IntervalBounds]]] = {
    "interval": lambda problem: interval_boxes(
        problem.network, IntervalBounds(problem.inputs.low, problem.inputs.high),
    ),
    "crown": lambda problem: linear_boxes(problem.network, problem.inputs),
}


def node_lines(network: Network) -> list[str]:
    """One line a node, aligned: name, op with its settings, what it reads, shape, parameters; totals last."""
    graph = network.graph
    rows = [HEAD, (graph.input, "input", "", _shape(graph.input_shape), "")]
    for node in graph.nodes:
        held = ", ".join(f"{name} {_shape(tuple(network.parameters[name].shape))}" for name in node.parameters)
        rows.append((node.name, repr(node.op).removesuffix("()"), ", ".join(node.inputs), _shape(node.shape), held))
    weights = sum(network.parameters[name].numel() for name in graph.parameter_names)
    neurons = sum(prod(node.shape) for node, _ in nonlinear(network))
    counts = f"{len(graph.nodes)} nodes, {weights} parameter values, {neurons} nonlinear neurons"
    end = "the output is" if network.head is None else f"the output is the {network.head} of"
    lines = [*_aligned(rows), "", f"{counts}; {end} {graph.output}"]
    if not network.refusal:
        return lines
    return [*lines, network.refusal, "`verify certify` and `verify vnnlib` look for counterexamples of it"]


def unstable_lines(problem: Problem) -> list[str]:
    """For every nonlinear node, how many of its inputs are unstable, on average over the problem's sets.

    An input is unstable where its bounds hold a breakpoint inside (piecewise linear curves), where it may or may not be
    the largest of its group (maxima), and wherever they are not a point (other curves).
    """
    nodes, network = nonlinear(problem.network), problem.network
    totals = {(node.name, name): 0 for node, _ in nodes for name in BOUNDS}
    with torch.no_grad():
        for start in range(0, problem.cases, SAMPLES):
            stop = min(start + SAMPLES, problem.cases)
            part = problem.select(torch.arange(start, stop, device=problem.owner.device))
            for name, bounds in BOUNDS.items():
                boxes = bounds(part)
                for node, op in nodes:
                    totals[node.name, name] += int(op.unstable(network.of(node), boxes[node.inputs[0]]).sum())
    rows = [("unstable inputs", *BOUNDS, "of")]
    for node, _ in nodes:
        means = (f"{totals[node.name, name] / problem.cases:.1f}" for name in BOUNDS)
        rows.append((node.name, *means, str(prod(network.graph.shape_of(node.inputs[0])))))
    return [*_aligned(rows), "", f"mean over {problem.cases} samples"]


def nonlinear(network: Network) -> list[tuple[Node, Nonlinear]]:
    """The nonlinear nodes with their ops."""
    return [(node, node.op) for node in network.graph.nodes if isinstance(node.op, Nonlinear)]


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Cells in columns, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
