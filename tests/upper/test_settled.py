"""Entries that rows are not spent on: no box is larger for it, and fewer rows are carried back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import verify
from verify.sets import Box
from verify.upper.crown import linear_boxes
from verify.upper.linear_bounds import backward, settled


class Mixed(nn.Module):
    """A softmax that weighs values, normalised and bent: differences, curves of curves, factors that are read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.scores, self.values, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.norm = nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        mixed = torch.softmax(self.scores(torch.tanh(x)), 1) * torch.sigmoid(self.values(x) * 2 + 1)
        return self.out(torch.nn.functional.gelu(self.norm(x + mixed)))


@pytest.mark.parametrize("radius", [0.01, 0.3, 2.0])
def test_boxes_are_as_small_with_fewer_rows(radius: float, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = Mixed().eval().double()
    center = torch.randn(3, 4, generator=noise, dtype=torch.float64)
    network, inputs = verify.trace(module, center[:1]), Box(center - radius, center + radius)
    counts: list[int] = []
    extremes = backward.Backward.extremes

    def counted(self: backward.Backward, name: str, owner: Tensor, *rest: object) -> object:
        counts[-1] += len(owner)
        return extremes(self, name, owner, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(backward.Backward, "extremes", counted)
    counts.append(0)
    boxes = linear_boxes(network, inputs)
    counts.append(0)
    monkeypatch.setattr(settled.Settled, "add", lambda *_: None)
    monkeypatch.setattr(settled.Settled, "mirrors", lambda *_: None)
    every = linear_boxes(network, inputs)
    assert 0 < counts[0] < 0.8 * counts[1], counts
    for name, box in boxes.items():
        slack = 1e-9 * (1 + every[name].high - every[name].low)
        assert bool((box.low >= every[name].low - slack).all() and (box.high <= every[name].high + slack).all()), name
    values = {network.graph.input: inputs.low + (inputs.high - inputs.low) * torch.rand(200, 3, 4, generator=noise)}
    values[network.graph.input] = values[network.graph.input].flatten(0, 1)
    for node, p in network.walk():
        values[node.name] = node.op.forward(p, *(values[source] for source in node.inputs))
    for name, box in boxes.items():
        value = values[name].unflatten(0, (200, 3))
        assert bool((value >= box.low - 1e-9).all() and (value <= box.high + 1e-9).all()), name


def test_mirrors_are_negatives_and_only_of_differences() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = verify.trace(Mixed().eval(), torch.zeros(1, 4))
    known = settled.Settled(network, set(), 1)
    values, found = {network.graph.input: torch.randn(5, 4, generator=torch.Generator().manual_seed(3))}, 0
    for node, p in network.walk():
        known.visit(node)
        values[node.name] = node.op.forward(p, *(values[source] for source in node.inputs))
        mirrors = known.mirrors(node.name)
        if mirrors is None:
            continue
        flat, own = values[node.name].flatten(1), torch.arange(len(mirrors))
        paired = mirrors != own
        assert bool((flat[:, mirrors][:, paired] == -flat[:, paired]).all())
        assert bool((mirrors[mirrors] == own).all())
        found += int(paired.sum())
    assert found == 12  # all ordered pairs of 4 scores
