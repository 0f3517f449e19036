"""Follows a certificate's proof: are all parts of all cases bounded strictly below zero?

A task is one disjunct of one case. Two kinds of trees prove tasks: those over inputs (`boxes`), whose leaves are
bounded by rules alone, and those over neurons (`search`), whose leaves bring their duals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verify.check.bounds import Level
from verify.check.boxes import input_trees_margin
from verify.check.claim import Case
from verify.check.lines import RULES
from verify.check.network import Arrays, Network
from verify.check.numbers import Arithmetic, Rejected
from verify.check.ops import Affine, Max
from verify.check.search import Search
from verify.check.strict import items, keys, text
from verify.check.tree import Forest
from verify.check.unfold import unfolded

Layers = dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Proof:
    """The parts of a certificate that prove its cases."""

    network: Network
    cases: tuple[Case, ...]
    layers: Layers
    arrays: Arrays
    boxes: Any
    searches: Any

    def margin(self, level: Level) -> float:
        """The largest upper bound over all leaves, negative, a rational one rounded up. Rejects a task that no tree
        covers, and a leaf whose bound is not negative.

        Sound because the leaves of a tree cover its root, some row of a disjunct is below each of their combinations,
        and `Relaxation` bounds rows; trusts NumPy's float64 arithmetic and the reading of this code.
        """
        proved: set[tuple[int, int]] = set()
        margin = -np.inf
        for trees in items(self.boxes, "boxes"):
            margin = max(margin, input_trees_margin(self, level, trees, proved))
        searched = items(self.searches, "searches")
        hinged = self.hinged(level.number) if searched else self
        for search in searched:
            margin = max(margin, Search(hinged, level, search).margin(proved))
        for i, case in enumerate(self.cases):
            for k in range(len(case.disjuncts)):
                if (i, k) not in proved:
                    raise Rejected(f"nothing proves disjunct {k} of case {i}")
        if level.number.exact and margin > -np.inf:
            return float(Arithmetic().up(np.array([margin], object))[0])
        return float(margin)

    def hinged(self, number: Arithmetic) -> Proof:
        """The same over the network as searches see it: maxima are hinges, with boxes justified as theirs."""
        if not any(isinstance(node.op, Max) for node in self.network.nodes):
            return self
        network, owner = unfolded(number, self.network)
        names = [node.name for node in network.nodes if not isinstance(node.op, Affine)]
        return replace(self, network=network, layers={name: self.layers[owner.get(name, name)] for name in names})

    def array(self, name: Any, shape: tuple[int, ...] | None, kinds: str) -> np.ndarray:
        """An array that the proof names, of this shape and of one of these kinds of type."""
        values = self.arrays.get(name) if isinstance(name, str) else None
        if values is None or values.dtype.kind not in kinds or (shape is not None and values.shape != shape):
            raise Rejected(f"the proof's array {name!r} is missing or not of the shape {shape}")
        return values

    def forest(self, fields: dict[str, Any], roots: int, variables: int) -> Forest:
        variable = self.array(fields["variable"], None, "i").astype(np.int64)
        return Forest(roots, variable, self.array(fields["point"], None, "f").astype(np.float64), variables)


def read_layers(value: Any, network: Network) -> Layers:
    """Of every nonlinear node: "interval" or "backward", and the rule of its slopes."""
    layers = {}
    for entry in items(value, "layers"):
        fields = keys(entry, "a layer", {"node", "box", "slope"})
        if fields["box"] not in ("interval", "backward") or fields["slope"] not in RULES:
            raise Rejected(f"layer {fields['node']!r} has no known justification or slope rule")
        layers[text(fields["node"], "a layer's node")] = fields["box"], fields["slope"]
    if set(layers) != {node.name for node in network.nodes if not isinstance(node.op, Affine)}:
        raise Rejected("the layers are not the nonlinear nodes of the network")
    return layers
