"""Maxima as hinges for searches, whose columns are hinges: max(a, b) = a + max(b - a, 0).

The members of a maximum's groups are joined two by two, in their order, level after level; one that is left over comes
last on the next level. The names of the new nodes are part of the format, since columns and lemmas speak of them. The
function is the same in real arithmetic; a float32 program computes a maximum without rounding, which is within what
the sums that stand for it may lose, so bounds of level F hold as well.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from verify.check.network import Network, Node
from verify.check.numbers import Arithmetic, Rejected
from verify.check.ops import Add, Gather, Max, Piecewise

NOTHING, ONE = Fraction(0), Fraction(1)


def unfolded(number: Arithmetic, network: Network) -> tuple[Network, dict[str, str]]:
    """The same function without maxima, and the maximum that each new hinge belongs to. Rejects a network that would
    have two values of one name, or too many entries."""
    nodes: list[Node] = []
    owner: dict[str, str] = {}
    for node in network.nodes:
        if not isinstance(node.op, Max):
            nodes.append(node)
            continue
        tree = _tree(number, network.entries(node.inputs[0]), node, node.op)
        owner.update({part.name: node.name for part in tree if isinstance(part.op, Piecewise)})
        nodes += tree
    if len({network.input, *(node.name for node in nodes)}) <= len(nodes):
        raise Rejected("a node has the name that a part of a maximum gets")
    return Network(network.input, network.input_shape, tuple(nodes)).fits(number), owner


def _tree(number: Arithmetic, given: int, node: Node, op: Max) -> list[Node]:
    """The nodes that stand for a maximum of `given` entries; the last one bears its name."""
    out: list[Node] = []

    def add(part: str, kind: Add | Gather | Piecewise, *inputs: str) -> str:
        out.append(Node(f"{node.name}.{part}", kind, inputs, node.shape))
        return out[-1].name

    one = np.ones(node.entries, np.int64)
    members = [add(f"member{k}", Gather(number, [given], index[:, None], one), node.inputs[0])
               for k, index in enumerate(op.groups.T)]
    level = 0
    while len(members) > 1:
        joined = []
        for k, (a, b) in enumerate(zip(members[::2], members[1::2], strict=False)):
            rise = add(f"rise{level}_{k}", Add([1, -1]), b, a)
            hinge = add(f"hinge{level}_{k}", Piecewise([NOTHING], [NOTHING, ONE], (NOTHING, NOTHING)), rise)
            joined.append(add(f"max{level}_{k}", Add([1, 1]), a, hinge))
        members, level = [*joined, *members[2 * len(joined) :]], level + 1
    last = out.pop()
    return [*out, Node(node.name, last.op, last.inputs, last.shape)]
