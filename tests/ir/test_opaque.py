"""Models that are only executed: their values are the runtime's, they are attacked, and nothing is ever verified."""

from __future__ import annotations

import gzip
import pickle
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

import verify
from tests.support.onnx_models import numbers, run
from tests.support.opaque_models import Branching, computed_index, counted, ending, endless, noisy
from verify.deadline import Deadline, within
from verify.errors import InputError, OutOfTime, UnsupportedMethod, UnsupportedOp, Untraceable
from verify.ir.graph import Network
from verify.ir.opaque.entry import attackable
from verify.method import Answer
from verify.ops import IntervalBounds
from verify.problem import Problem
from verify.registry import METHODS, Entry
from verify.solving import solve


def saved(folder: Path, proto: onnx.ModelProto, name: str = "model.onnx") -> Path:
    path = folder / name
    data = proto.SerializeToString()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """That of `computed_index`, with one process for all tests here."""
    return attackable(saved(tmp_path_factory.mktemp("computed"), computed_index()))


@pytest.mark.parametrize(("kind", "name"), [(TensorProto.FLOAT, "a.onnx.gz"), (TensorProto.DOUBLE, "a.onnx")])
def test_values_are_those_of_onnxruntime_to_the_last_bit(kind: int, name: str, tmp_path: Path) -> None:
    proto = computed_index(kind)
    path = saved(tmp_path, proto, name)
    with pytest.raises(UnsupportedOp, match="ArgMax"):
        verify.load(path)
    network = attackable(path)
    x = numbers(7, 40, 4, kind=np.float64 if kind == TensorProto.DOUBLE else np.float32)
    found = network(torch.from_numpy(x)).numpy()
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found, np.concatenate(run(proto, x[:, None])))
    assert network.digest == verify.opaque(path).digest


def test_gradients_are_those_of_the_runtime(tmp_path: Path) -> None:
    """Beside differences of float64 values, which are exact to 1e-6 where no breakpoint is near."""
    network = attackable(saved(tmp_path, computed_index(TensorProto.DOUBLE)))
    x, weights, near = torch.from_numpy(numbers(3, 20, 4, kind=np.float64)), torch.tensor([1.0, -2.0, 0.5]).double(), 0
    point = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((network(point) @ weights).sum(), point)
    for axis, step in enumerate(1e-6 * torch.eye(4, dtype=torch.float64)):
        slopes = (network(x + step) - network(x - step)) @ weights / 2e-6
        near += int(torch.isclose(slopes, gradient[:, axis], atol=1e-6).sum())
    assert near >= 76


def in_rationals(y: np.ndarray, label: int) -> Fraction:
    """How far the label is from being the largest output."""
    image = [Fraction(float(v)) for v in y.ravel()]
    return max(v - image[label] for k, v in enumerate(image) if k != label)


@pytest.mark.parametrize("method", [verify.PGD(), verify.RandomSearch(evaluations=300)], ids=lambda m: m.name)
def test_what_falsifies_violates_in_onnxruntime_at_a_member(method: verify.PGD | verify.RandomSearch,
                                                            computed: Network) -> None:
    proto, network = computed_index(), computed
    x = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
    labels = network(x).argmax(1)
    bracket = solve(verify.robustness(network, x, labels, "1/2"), method)
    assert bracket.verdicts.count(verify.Verdict.FALSIFIED) >= 3
    assert set(bracket.verdicts) <= {verify.Verdict.FALSIFIED, verify.Verdict.UNKNOWN}
    assert bracket.witness is not None
    for k, verdict in enumerate(bracket.verdicts):
        point = bracket.witness[k]
        assert bool(((point - x[k]).abs() <= 0.5).all() and (point >= 0).all() and (point <= 1).all())
        attained = in_rationals(run(proto, point.numpy()[None, None])[0], int(labels[k]))
        assert float(attained) == pytest.approx(bracket.lower[k].item(), abs=1e-6)
        assert (attained >= 0) == (verdict is verify.Verdict.FALSIFIED)


def one(network: Network, eps: str = "1/100") -> Problem:
    x = torch.full((1, *network.input_shape), 0.5)
    return verify.robustness(network, x, network(x).argmax(1), eps)


@pytest.mark.parametrize("entry", METHODS.values(), ids=METHODS)
def test_methods_that_bound_refuse_it_by_the_operator(entry: Entry, computed: Network) -> None:
    problem = one(computed)
    if entry.family == "lower":
        found = solve(problem, entry.make(None), 0.5)
        assert found.verdicts == [verify.Verdict.UNKNOWN]
        assert "ArgMax" in str(found.notes["refused"])
    else:
        with pytest.raises(UnsupportedMethod, match=r"needs the graph of the network, but .*node v2_0 \(ArgMax"):
            solve(problem, entry.make(1.0))


class Bold:
    """Says that everything is robust."""

    name = "bold"

    def answer(self, problem: Problem) -> Answer:
        return Answer(upper=torch.full((problem.cases,), -1.0))


class ByIntervals(Bold):
    """Asks the operators."""

    def answer(self, problem: Problem) -> Answer:
        (node,) = problem.network.graph.nodes
        return Answer(upper=node.op.interval((), IntervalBounds(problem.inputs.low, problem.inputs.high)).high[:, 0])


@pytest.mark.parametrize("method", [Bold(), ByIntervals()])
def test_no_method_of_anybody_verifies_it(method: Bold, computed: Network) -> None:
    with pytest.raises(UnsupportedMethod, match="ArgMax"):
        solve(one(computed), method)


def test_a_step_without_a_gradient_is_found_by_random_search(tmp_path: Path) -> None:
    """Class 1 of `counted` where fewer than two inputs are positive."""
    network = attackable(saved(tmp_path, counted()))
    x = torch.tensor([[0.5, 0.5], [0.1, 3.0], [-1.0, -1.0]])
    problem = verify.robustness(network, x, [1, 1, 1], "1/4", clip=None)
    assert network(x)[:, 0].tolist() == [2, 2, 0]
    assert solve(problem, verify.PGD()).verdicts == ["falsified", "falsified", "unknown"]  # a tie is a violation
    far = verify.robustness(network, torch.tensor([[-0.2, -0.9], [-2.0, -2.0]]), [1, 1], 1, clip=None)
    assert solve(far, verify.FGSM()).verdicts == ["unknown", "unknown"]
    assert solve(far, verify.RandomSearch(evaluations=400)).verdicts == ["falsified", "unknown"]


def test_a_file_that_never_ends_is_stopped_in_time(tmp_path: Path) -> None:
    path, start = saved(tmp_path, endless()), time.monotonic()
    with pytest.raises(OutOfTime), within(Deadline.after(2.0)):
        attackable(path)
    assert time.monotonic() - start < 10.0


def test_a_file_that_ends_its_runtime_ends_nothing_else(tmp_path: Path) -> None:
    network = attackable(saved(tmp_path, ending()))
    found = network(torch.tensor([[0.5, 2.0], [1.5, 3.0]]))
    assert found[0].isnan().all()
    assert found[1].tolist() == [1.5, 3.0]
    problem = verify.robustness(network, torch.tensor([[1.25, 1.0]]), [0], "1/2", clip=None)
    bracket = solve(problem, verify.RandomSearch(evaluations=30), 30.0)
    assert bracket.verdicts == [verify.Verdict.FALSIFIED]
    assert bracket.witness is not None
    assert bracket.witness[0, 0] >= 1


def test_what_is_random_or_no_model_stays_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOp, match="RandomUniformLike"):
        attackable(saved(tmp_path, noisy()))
    with pytest.raises(InputError, match="gives other outputs when it is run again"):
        verify.opaque(tmp_path / "model.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    for read in (attackable, verify.opaque):
        with pytest.raises(InputError, match=r"text\.onnx"):
            read(tmp_path / "text.onnx")
    with pytest.raises(InputError, match="no ONNX file"):
        verify.opaque(tmp_path / "absent.onnx")


def test_a_module_that_cannot_be_traced_is_called_sample_by_sample() -> None:
    module, x = Branching(), torch.tensor([[0.5, 0.25], [0.6, 0.25], [0.5, 0.1]])
    with pytest.raises(Untraceable, match=r"torch\.export cannot follow Branching"):
        verify.trace(module, x)
    network = verify.opaque(module, x)
    assert network(x).tolist() == [[0.75, 1], [pytest.approx(3.85), 1], [pytest.approx(0.6), 1]]
    bracket = solve(verify.robustness(network, x[[0, 2]], [1, 1], "1/10"), verify.RandomSearch(evaluations=400))
    assert bracket.verdicts == ["falsified", "falsified"]
    small = solve(verify.robustness(network, x[[0, 2]], [1, 1], "1/40"), verify.RandomSearch(evaluations=200))
    assert small.verdicts == ["unknown", "unknown"]
    with pytest.raises(UnsupportedMethod, match="CROWN needs the graph of the network, but Branching is only executed"):
        solve(verify.robustness(network, x, [1, 1, 1], "1/10"), verify.CROWN())


def test_a_network_keeps_a_copy_of_the_module_and_travels() -> None:
    torch.manual_seed(0)
    first, x = nn.Linear(2, 3), torch.rand(3, 2)
    module = nn.Sequential(first, nn.ReLU(inplace=True), nn.Linear(3, 2))
    network, before = verify.opaque(module, x), module(x).detach()
    with torch.no_grad():
        first.weight.zero_()
    torch.testing.assert_close(network(x), before)
    copy = pickle.loads(pickle.dumps(network))
    torch.testing.assert_close(copy(x), before)
    assert copy.digest == network.digest != verify.opaque(module, x).digest
    point = x.clone().requires_grad_()
    assert torch.autograd.grad(network(point).sum(), point)[0].abs().sum() > 0


class Failing(nn.Module):
    """Raises for negative sums, and returns what `result` makes."""

    def __init__(self, result: Callable[[Tensor], object]):
        super().__init__()
        self.result = result

    def forward(self, x: Tensor) -> object:
        if x.sum() < 0:
            raise ValueError("negative")
        return self.result(x)


def test_a_module_that_raises_at_a_point_has_no_output_there() -> None:
    network = verify.opaque(Failing(lambda x: 2 * x), torch.ones(1, 2))
    found = network(torch.tensor([[1.0, 2.0], [-3.0, 1.0]]))
    assert found[0].tolist() == [2, 4]
    assert found[1].isnan().all()
    problem = verify.robustness(network, torch.tensor([[0.1, 0.0]]), [0], "1/20", clip=None)
    assert solve(problem, verify.RandomSearch(evaluations=50)).lower.item() == pytest.approx(-0.0, abs=0.2)


@pytest.mark.parametrize(("module", "example", "told"), [
    (Failing(lambda x: 2 * x), -torch.ones(1, 2), r"cannot be copied .*float32: negative \(.*test_opaque.py, line"),
    (Failing(lambda x: (x, x)), torch.ones(1, 2), "returns a tuple and not one tensor"),
    (Failing(torch.rand_like), torch.ones(1, 2), "gives other outputs when it is called again"),
    (Failing(lambda x: x), None, "needs an example input"),
    (Failing(lambda x: x), torch.ones(1, 2, dtype=torch.int64), "are torch.int64.*give float32 or float64"),
])
def test_modules_that_cannot_be_executed_are_told(module: nn.Module, example: Tensor | None, told: str) -> None:
    with pytest.raises(InputError, match=told):
        verify.opaque(module, example)


def test_a_front_goes_before_it(computed: Network) -> None:
    proto, network, x = computed_index(), computed, torch.full((1, 4), 0.25)
    symbol = verify.variable((4,))
    problem = verify.robustness(network, x, network(2 * x).argmax(1), "1/4", front=(symbol * 2).network())
    assert problem.network.refusal
    bracket = solve(problem, verify.PGD())
    assert bracket.witness is not None
    there = run(proto, 2 * bracket.witness.numpy()[:, None])[0]
    assert float(in_rationals(there, int(network(2 * x).argmax()))) == pytest.approx(bracket.lower.item(), abs=1e-6)
