"""The PyTorch front-end against the modules themselves."""

from __future__ import annotations

import logging
import warnings
from collections import OrderedDict
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import verify
from tests.support.resnet import BasicBlock, Bottleneck, resnet
from tests.support.torch_cases import CASES, Function, agree, make, small
from verify.errors import InputError, UnsupportedOp
from verify.ir.torch_export import read_pt2, trace, trace_graph
from verify.ops import BatchNorm, Conv, HardSigmoid, Linear, Max, ReLU, Reshape


@pytest.mark.parametrize("name", CASES)
def test_operators_agree_with_the_module(name: str) -> None:
    module, x = make(name)
    agree(trace(module, x), module, x)


def test_operators_in_double() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(0.1), nn.Linear(4, 2)).double().eval()
    x = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    network = trace(module, x)
    assert network.dtype == torch.float64
    agree(network, module, x, 1e-14)


def test_whole_operators_stay_whole() -> None:
    """Activations that the IR has are not taken apart, and no batch of 1 stays in a reshape."""
    module, x = make("hardsigmoid")
    assert any(isinstance(node.op, HardSigmoid) for node in trace(module, x).graph.nodes)
    module, x = make("matmul over rows")
    shapes = [node.op.shape for node in trace(module, x).graph.nodes if isinstance(node.op, Reshape)]
    assert shapes == []


@pytest.mark.parametrize(("block", "layers", "convs"), [(BasicBlock, (2, 2, 2, 2), 20), (Bottleneck, (3, 4, 6, 3), 53)])
def test_resnets(block: type[BasicBlock] | type[Bottleneck], layers: tuple[int, ...], convs: int) -> None:
    module = resnet(block, layers)
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    network = trace(module, x)
    kinds = [type(node.op) for node in network.graph.nodes]
    assert (kinds.count(Conv), kinds.count(BatchNorm), kinds.count(Linear), kinds.count(Max)) == (convs, convs, 1, 1)
    agree(network, module, x, 1e-4)


# what tracing leaves alone, and binding


def test_tracing_changes_nothing_in_the_module() -> None:
    module = small().train()
    next(part for part in module if isinstance(part, nn.BatchNorm2d)).eval()
    modes = {name: part.training for name, part in module.named_modules()}
    before = {name: t.clone() for name, t in module.state_dict().items()}
    network = trace(module, torch.rand(5, 1, 4, 4))
    assert {name: part.training for name, part in module.named_modules()} == modes
    assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())
    assert all(t.grad is None and t.requires_grad for t in module.parameters())
    with torch.no_grad():
        next(module.parameters()).zero_()
    assert torch.equal(network.parameters["0.weight"], before["0.weight"])  # the network has its own copies


def test_tracing_restores_the_mode_after_a_failure() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Dropout()).train()
    with pytest.raises(InputError, match=r"torch\.export cannot follow Sequential"):
        trace(module, torch.rand(2, 4))
    assert module.training
    assert module[1].training


def test_parameters_keep_their_names() -> None:
    module = small()
    names = set(trace(module, torch.rand(1, 1, 4, 4)).parameters)
    own = set(dict(module.named_parameters()) | dict(module.named_buffers()))
    assert names == own - {"1.num_batches_tracked"}


def test_a_bound_graph_has_the_gradients_of_the_module() -> None:
    module = small().eval()
    x = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(8))
    graph, constants = trace_graph(module, x)
    bound = graph.bind(constants | dict(module.named_parameters()) | dict(module.named_buffers()))
    weights = list(module.parameters())
    expected = torch.autograd.grad(module(x).square().sum(), weights)
    for got, want in zip(torch.autograd.grad(bound(x).square().sum(), weights), expected, strict=True):
        torch.testing.assert_close(got, want)


def test_a_tied_weight_has_one_name() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    module[2].weight = module[0].weight
    x = torch.rand(4, 3)
    graph, constants = trace_graph(module, x)
    bound = graph.bind(constants | dict(module.named_parameters()))
    torch.testing.assert_close(bound(x), module(x))


def test_a_computed_copy_of_a_parameter_is_not_bound() -> None:
    module, x = make("weight norm")
    with pytest.raises(UnsupportedOp, match="node linear uses a parameter of the module through a computed copy"):
        trace_graph(module, x)


def test_no_warning_reaches_the_user() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.rand(2, 3))


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_torch_prints_nothing_beside_our_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.pt2"
    torch.export.save(torch.export.export(nn.Linear(3, 2), (torch.rand(1, 3),)), path)
    capsys.readouterr()
    heard = StringIO()
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.fx.experimental.symbolic_shapes")]
    handler = logging.StreamHandler(heard)
    for logger in loggers:
        logger.addHandler(handler)
    for content in (path.read_bytes()[:1000], b"garbage"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"is not a readable torch\.export program"):
            read_pt2(path)
    with pytest.raises(InputError, match="cannot follow Branching"):
        trace(Branching(), torch.rand(1, 3))
    assert capsys.readouterr() == ("", "")
    assert heard.getvalue() == ""
    for logger in loggers:
        assert not logger.disabled
        logger.removeHandler(handler)


# what is refused, in one sentence


@pytest.mark.parametrize(("function", "message"), [
    (lambda x: x.softmax(0) + 1, r"node _softmax \(aten\._softmax\.default\) of shape \(1, 3\) .*carries the batch"),
    (lambda x: x.argmax(1).float(), r"node argmax .*picks entries by the order of values that vary, which jumps"),
    (lambda x: (x - torch.inf).relu(), r"node relu .*minus infinity, which a softmax alone may"),
    (lambda x: x.asin(), r"node asin .*outside the operator families"),
    (lambda x: x / torch.zeros(3), "node div .*divides by zero"),
    (lambda x: x.half().float(), "node _to_copy .*torch.float16 of a network in torch.float32"),
    (lambda x: x.clamp(1, 1), "node clamp .*widen the range"),
    (lambda x: x.clamp(float("nan"), 1), "node clamp .*give finite bounds"),
    (lambda x: x.max(1).indices.float(), "node getitem.*is output 1 of max"),
    (lambda x: x + torch.rand(3), "node rand .*differ from run to run"),
])
def test_unsupported_operators(function: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(UnsupportedOp, match=message) as caught:
        trace(Function(function), torch.rand(2, 3))
    assert "\n" not in str(caught.value)


def test_examples_and_results_that_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"example input has shape \(3,\)"):
        trace(nn.ReLU(), torch.rand(3))
    with pytest.raises(InputError, match=r"example input has shape \(0, 3\)"):
        trace(nn.ReLU(), torch.rand(0, 3))
    with pytest.raises(InputError, match=r"has type torch\.int64"):
        trace(nn.ReLU(), torch.ones(1, 3, dtype=torch.long))
    with pytest.raises(InputError, match="returns 2 results"):
        trace(Function(lambda x: (x, x + 1)), torch.rand(1, 3))
    with pytest.raises(InputError, match="does not depend on its input"):
        trace(Function(lambda x: torch.ones(1, 3)), torch.rand(1, 3))
    with pytest.raises(InputError, match="the example input is a str; give a tensor"):
        trace(nn.ReLU(), "image")  # type: ignore[arg-type]
    layer = nn.Linear(2, 2)
    nn.init.constant_(layer.weight, float("nan"))
    with pytest.raises(InputError, match="parameter weight has a value that is not finite"):
        trace(layer, torch.rand(1, 2))


class Twice(nn.Module):
    """Changes a tensor in place that something else sees: after the change, through a view, or not at all."""

    def __init__(self, how: str):
        super().__init__()
        self.how, self.first, self.last = how, nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        seen = {"itself": lambda: y, "view": lambda: y.reshape(-1, 2, 2), "nothing": lambda: 0}[self.how]()
        z = y.mul_(2).relu_()
        return self.last(z + (seen.reshape(-1, 4) if isinstance(seen, Tensor) else seen))


@pytest.mark.parametrize("how", ["itself", "view", "nothing"])
def test_what_is_changed_in_place_is_seen_by_all(how: str) -> None:
    torch.manual_seed(2)
    module = Twice(how).eval()
    agree(trace(module, torch.zeros(1, 3)), module, torch.randn(20, 3))


def test_a_weight_that_is_changed_in_place_is_a_constant() -> None:
    torch.manual_seed(3)
    weight = torch.rand(2, 3)
    module = Function(lambda x: nn.functional.linear(x, weight.mul(2).add_(weight, alpha=3))).eval()
    agree(trace(module, torch.zeros(1, 3)), module, torch.randn(5, 3))


def test_a_constant_of_a_wider_type_is_not_rounded_in_place() -> None:
    weight, constant = torch.rand(2, 3), torch.tensor([1 / 3, 0.1], dtype=torch.float64)
    function = Function(lambda x: nn.functional.linear(x, weight).add_(constant)).eval()
    with pytest.raises(UnsupportedOp, match=r"offset in torch\.float64 whose values torch\.float32 does not hold"):
        trace(function, torch.zeros(1, 3))


@pytest.mark.parametrize("name", ["class", 'a"b', "a\nb"])
def test_names_that_torch_cannot_write_are_refused(name: str) -> None:
    plain, module = (nn.Sequential(OrderedDict([(name, part)])).eval() for part in (nn.Linear(3, 2), nn.LayerNorm(3)))
    agree(trace(plain, torch.zeros(1, 3)), plain, torch.rand(2, 3))  # torch need not write it
    with pytest.raises(InputError, match=r"a part whose name is no Python identifier .*; rename it") as caught:
        trace(module, torch.rand(1, 3))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("function", [lambda x: x.sum(1), lambda x: x[0].sum(), lambda x: x[:, 1], lambda x: x[0, 1]])
def test_one_number_a_sample_has_shape_one(function: Callable[[Tensor], Tensor]) -> None:
    x = torch.rand(5, 3, generator=torch.Generator().manual_seed(3))
    expected = torch.stack([function(row[None]).reshape(1) for row in x])
    torch.testing.assert_close(trace(Function(function), x)(x), expected)


def test_a_first_layer_in_place_is_accepted() -> None:
    x = torch.tensor([[1.0, -2.0], [-3.0, 4.0]])
    network = trace(nn.Sequential(nn.ReLU(inplace=True), nn.Flatten()), x)
    assert x.min() == -3
    assert torch.equal(network(x), x.relu())


def test_a_module_that_updates_itself_is_refused() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x.relu()

    with pytest.raises(InputError, match="the model changes calls when it is called"):
        trace(Counter(), torch.rand(1, 3))


def test_dead_branches_vanish() -> None:
    network = trace(Function(lambda x: (x.softmax(1), x.relu())[1]), torch.rand(1, 3))
    assert [type(node.op) for node in network.graph.nodes] == [ReLU]


def _assigned(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1] = 0.5
    return y


SCALARS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid of a scalar": lambda x: torch.sigmoid(x[:, :1].squeeze(-1)),
    "relu of a column": lambda x: torch.relu(x[:, 0]) * 2 - 0.5,
    "maximum of all": lambda x: x.amax(1),
    "relu of a maximum": lambda x: torch.relu(x.amax(1)) * 2,
    "shifted sum": lambda x: torch.relu(x.sum(1) - 0.3) + 1,
    "stacked": lambda x: torch.stack([torch.relu(x[:, 0]), x.amax(1) * 2, torch.abs(x.mean(1))], 1),
    "constant column": _assigned,
    "relu of a constant column": lambda x: torch.relu(_assigned(x)),
}


@pytest.mark.parametrize("name", SCALARS)
def test_one_number_a_sample_is_bounded(name: str) -> None:
    """Values without axes of their own, through every kind of bound, against sampled outputs."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 4)
    module = nn.Sequential(layer, Function(SCALARS[name]))
    x = torch.rand(4, 3, generator=torch.Generator().manual_seed(1))
    network = verify.trace(module, x[:1])
    torch.testing.assert_close(network(x).flatten(), module(x).detach().flatten())
    asked = verify.robustness(network, x, None, "1/10", clip=None, bounds=(-1, "1/5"))
    share = torch.rand(300, *asked.inputs.low.shape, generator=torch.Generator().manual_seed(2))
    points = [asked.inputs.place(part) for part in share]
    reached = torch.stack([asked.spec.violation(p, module(p).detach().reshape(len(p), -1)) for p in points]).amax(0)
    for method in (verify.PGD(), verify.Interval(), verify.CROWN(), verify.AlphaCROWN(2), verify.LP()):
        found = verify.solve(asked, method)
        assert bool((found.upper >= asked.reduce(reached) - 1e-5).all()), method
