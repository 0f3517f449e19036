"""The batch axis: what mixes samples is refused, and saved programs may have a batch of any size."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.torch_cases import Function, agree, make, small
from verify.errors import InputError, UnsupportedOp
from verify.ir.torch_export import read_pt2, trace

MIXING: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "mean over all": ("mean", lambda x: x.mean()),
    "mean over the batch": ("mean", lambda x: x - x.mean(0)),
    "max over the batch": ("amax", lambda x: x.amax(0, keepdim=True)),
    "cat along the batch": ("cat", lambda x: torch.cat((x, x), 0)),
    "batch flipped": ("flip", lambda x: x.flip(0)),
    "batch repeated": ("repeat", lambda x: x.repeat(2, 1, 1)),
    "batch padded": ("pad", lambda x: F.pad(x, (0, 0, 0, 0, 1, 0))),
    "batch against features": ("add", lambda x: x + x.mean(2)),
    "rows of a constant": ("add", lambda x: x + torch.arange(16.0).reshape(4, 4, 1)[: max(len(x), 2)]),
}


@pytest.mark.parametrize("name", MIXING)
def test_mixing_the_batch_is_refused(name: str) -> None:
    node, function = MIXING[name]
    with pytest.raises(UnsupportedOp, match=rf"node {node}.* axis 0.*carries the batch"):
        trace(Function(function), torch.rand(4, 4, 1))


def _saved(module: nn.Module, x: Tensor, path: Path, dynamic: bool = False) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shapes = ({0: torch.export.Dim("batch", min=2)},) if dynamic else None
        torch.export.save(torch.export.export(module, (x,), dynamic_shapes=shapes), path)
    return path


@pytest.mark.parametrize("name", MIXING)
def test_mixing_a_batch_of_four_is_refused(name: str, tmp_path: Path) -> None:
    path = _saved(Function(MIXING[name][1]), torch.rand(4, 4, 1), tmp_path / "m.pt2")
    with pytest.raises(UnsupportedOp, match=rf"node {MIXING[name][0]}.*axis 0.*export with a batch of 1"):
        read_pt2(path)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_batch_that_does_not_come_back_is_refused(batch: int, tmp_path: Path) -> None:
    path = _saved(Function(lambda x: x.permute(1, 0, 2)), torch.rand(batch, 3, 2), tmp_path / "m.pt2")
    with pytest.raises(InputError, match="axis 1 of the model's result carries the batch; return the batch as axis 0"):
        read_pt2(path)


@pytest.mark.parametrize("function", [
    lambda x: x[:2].sum(1), lambda x: x[1], lambda x: x[[0, 1]], lambda x: x.reshape(2, -1), lambda x: x.flatten() * 2,
    lambda x: x.index_select(0, torch.tensor([0, 1])), lambda x: x[0] + x,
])
def test_picking_samples_of_a_batch_is_refused(function: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    path = _saved(Function(function), torch.rand(4, 3, 2), tmp_path / "m.pt2")
    with pytest.raises((UnsupportedOp, InputError), match=r"export (it )?with a batch of 1"):
        read_pt2(path)


@pytest.mark.parametrize(("batch", "dynamic"), [(1, False), (4, False), (3, True)])
def test_pt2_round_trip(batch: int, dynamic: bool, tmp_path: Path) -> None:
    module = small().eval()
    x = torch.rand(7, 1, 4, 4, generator=torch.Generator().manual_seed(8))
    network = read_pt2(_saved(module, x[:batch], tmp_path / "small.pt2", dynamic))
    assert network.input_shape == (1, 4, 4)
    assert network.graph.nodes == trace(module, x).graph.nodes
    agree(network, module, x)


PER_SAMPLE = (
    "linear over rows", "matmul over rows", "matmul from the left", "bmm", "cat with constants", "maximum", "split",
    "view", "expand", "flatten", "squeeze", "broadcast a value", "index in pairs", "upsample", "pad", "max pool 1d",
    "broadcast a constant", "mul and div", "like", "clamp tensors", "permute", "pixel shuffle", "unbind",
)


SYMBOLIC = ("matmul over rows", "bmm", "cat with constants", "view", "expand", "split", "broadcast a value", "like")


@pytest.mark.parametrize(("name", "dynamic"), [*((n, False) for n in PER_SAMPLE), *((n, True) for n in SYMBOLIC)])
def test_pt2_with_a_batch(name: str, dynamic: bool, tmp_path: Path) -> None:
    module, x = make(name)
    network = read_pt2(_saved(module, x[:3], tmp_path / "m.pt2", dynamic))
    agree(network, module, x)


def test_training_operators_are_refused(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Dropout()).train()
    with pytest.raises(UnsupportedOp, match="eval mode"):
        read_pt2(_saved(module, torch.rand(2, 3), tmp_path / "m.pt2"))
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).train()
    with pytest.raises((UnsupportedOp, InputError), match="eval mode"):
        read_pt2(_saved(module, torch.rand(2, 3), tmp_path / "n.pt2"))


def test_pt2_files_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no model file"):
        read_pt2(tmp_path / "none.pt2")
    path = _saved(nn.Linear(3, 2), torch.rand(1, 3), tmp_path / "m.pt2")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"is not a readable torch.export program"):
        read_pt2(path)
