"""The cases by name, and the counting of what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx
from numpy.random import Generator

from tests.fuzz.compare import Compared, compared
from tests.fuzz.constants import folded
from tests.fuzz.graphs import graph
from tests.fuzz.windows import window

GENERATORS: dict[str, Callable[[Generator], onnx.ModelProto]] = {
    "graphs": graph, "windows": window, "constants": folded,
}


def model_of(kind: str, seed: int) -> onnx.ModelProto:
    """The model of a case."""
    return GENERATORS[kind](np.random.default_rng(seed))


def judged(kind: str, seeds: range) -> Iterator[tuple[int, onnx.ModelProto, Compared]]:
    """Seed, model and outcome of each case."""
    for seed in seeds:
        proto = model_of(kind, seed)
        yield seed, proto, compared(proto, seed)


def run(seed: int, count: int, kinds: Sequence[str]) -> int:
    """Prints every difference and what became of `count` cases of each kind; 1 if there was a difference."""
    failed = 0
    for kind in kinds:
        found: Counter[tuple[str, str]] = Counter()
        for number, proto, outcome in judged(kind, range(seed, seed + count)):
            found[outcome.toolkit, outcome.checker] += 1
            if outcome.differs:
                failed = 1
                nodes = ", ".join(node.op_type for node in proto.graph.node)
                print(f"{kind}:{number} (opset {proto.opset_import[0].version}: {nodes}): toolkit {outcome.toolkit} "
                      f"{outcome.reasons[0]}, checker {outcome.checker} {outcome.reasons[1]}")
        told = ", ".join(f"{n} {a}/{b}" for (a, b), n in sorted(found.items()))
        print(f"{kind}: {count} cases from seed {seed}; toolkit/checker: {told}")
    return failed
