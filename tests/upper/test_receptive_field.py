"""Single entries of a map, bounded on their receptive field: the same bound as on the whole network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from verify.ir.rewrite import simplify
from verify.ir.torch_export import trace
from verify.ops.base import IntervalBounds
from verify.sets import Box
from verify.upper.crown import linear_boxes
from verify.upper.duals.domains import Objective
from verify.upper.duals.dual import Dual
from verify.upper.duals.prefix import Stage

CHAINS = {
    "by turns": [nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 3, padding=1)],
    "strided": [nn.Conv2d(2, 3, 3, 2, padding=1), nn.ReLU(), nn.Conv2d(3, 2, (3, 1), padding=(1, 0))],
    "no padding": [nn.Conv2d(2, 3, 2), nn.Conv2d(3, 3, 2), nn.LeakyReLU(0.25), nn.Conv2d(3, 2, 3, padding=1)],
    "two convolutions": [nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(),
                         nn.Conv2d(3, 2, 3, padding=1)],
    "normalised after": [nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3, padding=1)],
    "normalised before": [nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3, padding=1)],
}
UNFIT = {"two convolutions", "normalised after"}  # what is padded is no activation, which is zero beside its map


@pytest.mark.parametrize("chain", CHAINS)
def test_every_entry_has_the_bound_of_the_whole_network(chain: str) -> None:
    torch.manual_seed(len(chain))
    module = nn.Sequential(*CHAINS[chain], nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)).double().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.bias is not None
            nn.init.normal_(part.bias)
    example = torch.rand(2, 2, 14, 12).double()
    module(example)
    net = simplify(trace(module, example[:1]))
    inputs = Box(example - 0.2, example + 0.2)
    dual = Dual(net, inputs, linear_boxes(net, inputs))
    layer = list(dual.layers.values())[-1]
    name, shape = layer.source, net.graph.shape_of(layer.source)
    stage = Stage.of(dual, dual, IntervalBounds(dual.low, dual.high), layer.span.start)
    part = stage.before(name)
    size = shape[0] * shape[1] * shape[2]
    owner, index = (t.flatten() for t in torch.meshgrid(torch.arange(2), torch.arange(size), indexing="ij"))
    for sign in (1.0, -1.0):
        signs = torch.full((len(owner),), sign).double()
        found = part.entries(name, index, signs, owner, 1, None)
        rows = torch.zeros((len(owner), size)).double().scatter(1, index[:, None], sign).reshape(-1, *shape)
        whole = stage.maxima(Objective(name, rows), owner, 1)
        torch.testing.assert_close(found, whole, rtol=1e-9, atol=1e-9)
    assert (part.places > 1) is (chain not in UNFIT)
