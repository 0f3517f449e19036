"""What tells two canonical networks apart, and what does not."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from tests.support.check_models import Canonical, same, sample_model, whole
from tests.support.onnx_models import chain, integers, load, numbers
from verify.check.onnx import difference
from verify.proof.export import exported

CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "stride": ({"strides": [2, 1]}, "differ in their stride"),
    "pads": ({"pads": [2, 1, 2, 1]}, "differ in their padding"),
    "uneven pads": ({"pads": [1, 1, 2, 2]}, "read different entries|differ in their maps"),
    "dilation": ({"dilations": [1, 2]}, "differ in their dilation"),
    "kernel": ({"pads": [2, 1, 2, 1], "kernel": numbers(1, 2, 1, 5, 3)}, "differ in their weight"),
    "slope": ({"slope": 0.2}, "differ in their slopes"),
    "layers": ({"order": [1, 0]}, "differ in their weight"),
    "branches": ({"swap": True}, "read different entries"),
    "bias": ({"bias": False}, "differ in their bias"),
    "activation": ({"act": "Abs"}, "differ in their slopes"),
    "flattening": ({"perm": [0, 1, 3, 2]}, "read different entries"),
    "offset": ({"offset": np.float32(0.25)}, "differ in their offset"),
    "eps": ({"eps": 1e-4}, "differ in their eps"),
}
def canonical(**changes: Any) -> Canonical:
    return whole(sample_model(**changes).SerializeToString())


def test_the_sample_is_the_same_to_both_readers():
    same(sample_model())


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen_from_both_sides(name: str):
    changes, pattern = CHANGES[name]
    plain, changed = canonical(), canonical(**changes)
    for pair in ((plain, changed), (changed, plain)):
        told = difference(*pair[0], *pair[1])
        assert told is not None
        assert any(part in told for part in pattern.split("|")), told
    assert difference(*exported(load(sample_model())), *changed) is not None


def test_one_bit_of_any_array_is_seen():
    header, arrays = canonical()
    floats = [name for name, array in arrays.items() if array.dtype.kind == "f"]
    assert len(floats) == 10
    for name in floats:
        for bit in (0, 31):  # the last of the first entry, and its sign
            changed = dict(arrays)
            flat = arrays[name].copy()
            flat.reshape(-1).view(np.uint32)[0] ^= np.uint32(1 << bit)
            if (flat < 0).any() and name.endswith("variance"):
                continue
            changed[name] = flat
            told = difference(header, arrays, header, changed)
            assert told is not None
            assert name.rsplit(".", 1)[1] in told


def test_every_index_is_seen():
    header, arrays = canonical()
    for name, array in arrays.items():
        if array.dtype.kind == "i" and name.endswith("index"):
            changed = array.copy()
            changed[0] = 1 + changed[0]
            assert difference(header, arrays, header, {**arrays, name: changed}) is not None


def dropped(header: dict[str, Any], place: int) -> dict[str, Any]:
    """Without a node, which leaves its argument in its place."""
    nodes = copy.deepcopy(header["nodes"])
    gone = nodes.pop(place)
    for node in nodes:
        node["inputs"] = [gone["inputs"][0] if name == gone["name"] else name for name in node["inputs"]]
    return {**header, "nodes": nodes}


def test_a_dropped_node_is_seen():
    header, arrays = canonical()
    count = 0
    for place, node in enumerate(header["nodes"]):
        if node["op"] in ("piecewise", "norm", "shift"):
            assert difference(header, arrays, dropped(header, place), arrays) is not None
            assert difference(dropped(header, place), arrays, header, arrays) is not None
            count += 1
    assert count == 5
    last = dropped(header, len(header["nodes"]) - 1)
    assert "lacks" in (difference(header, arrays, last, arrays) or "")


def test_a_float64_copy_is_another_network():
    header, arrays = canonical()
    wide = {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in arrays.items()}
    assert difference(header, arrays, header, wide) is not None


def test_zeros_of_either_sign_are_different_bits():
    weights = [np.array([[zero, 1], [1, 2]], np.float32) for zero in (0.0, -0.0)]
    first, second = (whole(chain(1, 2, steps=[("MatMul", "x", w)]).SerializeToString()) for w in weights)
    assert "weight" in (difference(*first, *second) or "")


def spell(name: str) -> str:
    return f"<{name[::-1]}>"


def test_names_order_and_layout_do_not_matter():
    header, arrays = canonical()

    def spelt(node: dict[str, Any]) -> dict[str, Any]:
        named = {key: spell(value) for key, value in node.items() if isinstance(value, str) and value in arrays}
        return {**node, **named, "name": spell(node["name"]), "inputs": list(map(spell, node["inputs"]))}

    renamed = {"input": spell(header["input"]), "shape": header["shape"], "nodes": list(map(spelt, header["nodes"]))}
    assert difference(header, arrays, renamed, {spell(name): array for name, array in arrays.items()}) is None
    assert difference(header, arrays, *canonical(late=True)) is None, "the branches are written in the other order"
    first = header["nodes"][0]
    extra = {"name": "again", "op": "gather", "inputs": ["input"], "shape": [1, 5, 5], "index": "i", "divisor": "d"}
    moved = {**header, "nodes": [extra, {**first, "inputs": ["again"]}, *header["nodes"][1:]]}
    more = {"i": np.arange(25, dtype=np.int32)[:, None], "d": np.ones(25, np.int32)}
    assert difference(header, arrays, moved, {**arrays, **more}) is None
    more["i"] = more["i"][::-1]
    assert "read different entries" in (difference(header, arrays, moved, {**arrays, **more}) or "")


def test_networks_of_other_inputs_or_outputs_differ():
    small, large = (whole(chain(1, n, steps=[("Relu",)]).SerializeToString()) for n in (3, 4))
    assert difference(*small, *large) == "the first network has 3 inputs and the second 4"
    some, more = (whole(chain(1, 3, steps=[("Relu",), *extra]).SerializeToString()) for extra in ([], [("Abs",)]))
    assert "more" in (difference(*some, *more) or "")
    ends = [whole(chain(1, 3, steps=[("Relu",), ("Gather", "x", integers(i), {"axis": 1})]).SerializeToString())
            for i in (0, 1)]
    assert difference(*ends[0], *ends[1]) == "the outputs are different entries"
