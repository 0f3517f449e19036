"""A softmax, or its logarithm, as the last layer, as modules and files are read with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import verify
from tests.fuzz.compare import Outcome, compared
from tests.support.check_models import why
from tests.support.heads import LAST, chain, classifier, headed
from tests.support.onnx_models import Model, agree, integers, load
from verify.errors import InputError, UnsupportedOp
from verify.ir.front import normalized
from verify.ir.guard import compare, probes
from verify.ir.head import Head
from verify.ir.rewrite import simplify
from verify.ir.torch_export import trace_graph


class Function(nn.Module):
    """A module that computes one function."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


# reading


@pytest.mark.parametrize("name", LAST)
def test_modules_are_what_they_were_with_their_head(name: str, tmp_path: Path) -> None:
    module, x = nn.Sequential(classifier(), LAST[name]), torch.rand(5, 1, 2, 2)
    network, again = verify.trace(module, x), chain(module)
    assert (network.head, again.head) == (Head(name == "LogSoftmax"),) * 2
    assert again.digest == network.digest != chain(module[0]).digest
    torch.export.save(torch.export.export(module, (x[:1],)), tmp_path / "net.pt2")
    forms = (network, again, verify.load(tmp_path / "net.pt2"), simplify(network))
    for form in (*forms, simplify(network).to("cpu"), replace(network, source=None)):
        torch.testing.assert_close(form(x), module(x).detach())
        torch.testing.assert_close(form.logits(x), module[0](x).detach())
    torch.testing.assert_close(network.double()(x.double()).float(), module(x).detach())
    moved = normalized(network, [Fraction(1, 2)], [Fraction(1, 4)])
    torch.testing.assert_close(moved(x), module((x - 0.5) / 0.25).detach())


@pytest.mark.parametrize("op", LAST)
@pytest.mark.parametrize(("opset", "batch", "shape", "axis"), [
    (9, 1, (3,), None), (11, 1, (3,), 1), (11, "N", (3,), 1), (11, 1, (3, 2), 1), (11, 1, (3,), 0),
    (12, "N", (3, 2), 1), (13, 1, (3,), None), (13, "N", (3,), -1), (13, "N", (3, 1), 1), (17, 1, (3,), 1),
])
def test_last_layers_of_files_are_read(op: str, opset: int, batch: int | str, shape: tuple[int, ...],
                                       axis: int | None) -> None:
    model = Model(batch, *shape, opset=opset)
    out = model(op, model("Relu", "x"), **({} if axis is None else {"axis": axis}))
    assert agree(model.proto(out)).head == Head(op == "LogSoftmax")
    assert agree(model.proto(model("Identity", model("Flatten", out)))).head == Head(op == "LogSoftmax")


@pytest.mark.parametrize(("opset", "batch", "shape", "axis", "reason"), [
    (11, "N", (3,), 0, "along the batch axis"), (13, "N", (3,), 0, "along the batch axis"),
    (13, 1, (3,), 2, "names axis 2"),
])
def test_other_axes_are_refused(opset: int, batch: int | str, shape: tuple[int, ...], axis: int, reason: str) -> None:
    model = Model(batch, *shape, opset=opset)
    proto = model.proto(model("Softmax", model("Relu", "x"), axis=axis))
    with pytest.raises(UnsupportedOp, match=reason):
        load(proto)
    assert why(proto).startswith("node 'v1_0' (Softmax)")


@pytest.mark.parametrize(("opset", "batch", "shape", "axis"), [
    (11, 1, (3, 2), 2), (13, 1, (3, 2), 1), (13, "N", (3, 2), 2), (13, 1, (3,), 0), (8, "N", (3, 2), 2),
])
@pytest.mark.parametrize("op", LAST)
def test_a_softmax_of_parts_is_a_composition(
    op: str, opset: int, batch: int | str, shape: tuple[int, ...], axis: int
) -> None:
    model = Model(batch, *shape, opset=opset)
    proto = model.proto(model(op, model("Relu", "x"), axis=axis))
    assert agree(proto).head is None


def random_model(rng: np.random.Generator) -> onnx.ModelProto:
    """A softmax along any axis of a tensor of any rank, at the end or nearly so."""
    opset, rank = int(rng.integers(8, 22)), int(rng.integers(1, 4))
    shape = [*([1, "N", 2][rng.integers(3)] for _ in range(rng.random() < 0.9)), *rng.integers(1, 4, rank).tolist()]
    model = Model(*shape, opset=opset)
    last = model("Abs", "x")
    if rng.random() < 0.3:
        last = model("Transpose", last, perm=rng.permutation(len(shape)).tolist())
    axis = {"axis": int(rng.integers(-len(shape) if opset > 10 else 0, len(shape)))} if rng.random() < 0.8 else {}
    last = model(str(rng.choice(list(LAST))), last, **axis)
    for op in ("Flatten", "Relu", "Identity"):
        last = model(op, last) if rng.random() < 0.15 else last
    return model.proto(last)


def test_random_last_layers_are_read_as_they_run_or_refused() -> None:
    found = [compared(random_model(np.random.default_rng(seed)), seed) for seed in range(200)]
    assert not [one.reasons for one in found if one.differs]
    for reader in ("toolkit", "checker"):
        seen = Counter(getattr(one, reader) for one in found)
        assert min(seen[Outcome.SAME], seen[Outcome.REFUSED]) > 20, seen


AFTER = {
    "sum": lambda m, y: m("Add", y, np.float32(1)), "again": lambda m, y: m("Softmax", y),
    "part": lambda m, y: m("Slice", y, integers(0), integers(2), integers(1)), "product": lambda m, y: m("Neg", y),
    "beside": lambda m, y: m("Concat", y, "x", axis=1), "compared": lambda m, y: m("Add", y, "x"),
}


@pytest.mark.parametrize("name", AFTER)
@pytest.mark.parametrize("op", LAST)
def test_a_softmax_in_the_middle_is_a_composition(name: str, op: str) -> None:
    model = Model(1, 3)
    proto = model.proto(AFTER[name](model, model(op, model("Relu", "x"))))
    network = agree(proto)
    assert (network.head is not None) == (name == "again")
    found = compared(proto, 0)
    assert found.toolkit == found.checker == Outcome.SAME
    assert not found.differs


@pytest.mark.parametrize("function", [
    lambda x: x.softmax(1) * 2, lambda x: x.softmax(1).softmax(1), lambda x: x.softmax(1) + x,
    lambda x: x.softmax(1)[:, :2], lambda x: x.reshape(-1, 2, 2).softmax(2), lambda x: x.log_softmax(1).exp(),
])
def test_modules_with_another_softmax_compute_it(function: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(3)) * 5
    torch.testing.assert_close(verify.trace(Function(function), x)(x), function(x))


def test_a_softmax_along_the_batch_is_refused() -> None:
    with pytest.raises(UnsupportedOp, match=r"node _softmax \(aten\._softmax.* carries the batch"):
        verify.trace(Function(lambda x: x.softmax(0)), torch.rand(1, 4))


def test_the_guard_looks_at_what_the_head_makes(tmp_path: Path) -> None:
    network = verify.load(headed(tmp_path / "net.onnx"))
    assert compare(network, probes(network)) == compare(network.logits, 100 * probes(network)) == ""
    weight = next(name for name, t in network.parameters.items() if t.ndim == 2)
    for wrong in (
        replace(network, head=None), replace(network, head=Head(logarithm=True)),
        replace(network.logits, parameters={**network.parameters, weight: network.parameters[weight] * 1.01}),
    ):
        with pytest.raises(InputError, match="read wrongly"):
            compare(wrong, probes(wrong))


def test_losses_want_the_logits() -> None:
    with pytest.raises(UnsupportedOp, match="ends in a softmax, and losses are computed from the logits"):
        trace_graph(nn.Sequential(classifier(), nn.Softmax(1)), torch.rand(1, 1, 2, 2))


# answers


# certificates


# commands
