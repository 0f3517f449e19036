"""A guard that does not depend on our reading: a network beside what it was read from, on a dozen points.

Both are evaluated on the same points, the network in float64. They may differ by what float32 makes of the network,
which its own float32 values show, and by no more; else the reading is wrong, or the model is one whose meaning is not
clear, and it is refused with the name of the first node whose value differs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from verify.errors import InputError
from verify.ir.graph import BoundGraph, Network, Source
from verify.ir.original import Unsupported

POINTS = 12
COSTLY = 2e8  # products for one sample, from which on a few points must do
ENTRY = 32  # products that take as long as an entry of a value
TOGETHER = 1 << 22  # entries of all points that are looked at at once, one point at least
SLACK = 64.0  # times what float32 was seen to move: another order of sums, other exponentials
FLOOR = 2e-5  # of the size of the values, where nothing was seen to move
DOUBLE = 2.0**-20  # of both in float64, whose rounding is 2^-29 of float32's; for other ways to compute a function
SEED = 0


def probes(network: BoundGraph) -> Tensor:
    """Points (points, *shape) for a network of which no set is known: zeros, ones, corners, random ones of several
    sizes, always the same."""
    generator, shape = torch.Generator().manual_seed(SEED), network.input_shape
    count = points_for(network)
    sizes = torch.tensor([0.3, 1.0, 3.0, 30.0]).reshape(-1, *[1] * len(shape))
    found = [
        torch.zeros(1, *shape), torch.rand(3, *shape, generator=generator),
        torch.randn(4, *shape, generator=generator) * sizes,
        torch.randint(0, 2, (2, *shape), generator=generator).float(), torch.ones(1, *shape), -torch.ones(1, *shape),
    ]
    return torch.cat(found)[:count].to(network.dtype)


def points_for(network: BoundGraph) -> int:
    """How many points are looked at: few where each costs much."""
    products = sum(prod(node.shape) * (p[0][0].numel() if p and p[0].ndim > 1 else ENTRY) for node, p in network.walk())
    return POINTS if products < COSTLY else 4


@dataclass(frozen=True, eq=False)
class Called:
    """A torch module or program as a source: `call` maps (batch, *shape) to any shape with as many samples. It may
    change later, so it serves while it is read and is not kept."""

    call: Callable[[Tensor], Tensor]
    name: str
    shape: tuple[int, ...]
    batch: int = 1

    def __str__(self) -> str:
        return self.name

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """See `Source`; the last points are repeated where they do not fill a batch."""
        found = []
        for part in torch.from_numpy(x).reshape(-1, *self.shape).split(self.batch):
            full = part[torch.arange(self.batch).clamp(max=len(part) - 1)]
            try:
                with torch.no_grad():
                    answer = self.call(full).detach().cpu()
            except Exception as problem:  # the user's code may raise anything, at values that it was not made for
                raise Unsupported(f"{self.name} cannot be called: {type(problem).__name__}") from None
            found.append(answer.reshape(self.batch, -1)[: len(part)])
        return torch.cat(found).numpy()

    def tensors(self, x: np.ndarray) -> list[tuple[str, list[np.ndarray]]]:
        """Nothing: the parts of a module are not observed."""
        return []


def beside_module(network: Network, module: nn.Module, device: torch.device) -> Network:
    """The network of a module, after a look at what the module itself computes in eval mode, sample by sample. The
    module is left as it was. Raises InputError where they differ."""
    training = {part: part.training for part in module.modules()}
    module.eval()
    try:
        called = Called(lambda x: module(x.to(device)), type(module).__name__, network.input_shape)
        compare(replace(network, source=called), probes(network))
    finally:
        for part, mode in training.items():
            part.training = mode
    return network


def compare(network: Network, x: Tensor) -> str:
    """Holds a network against its source on these points (points, *shape), see `agree`; why that was not possible, or
    "". Raises InputError where they differ, and where the source does not run."""
    if network.source is None:
        return ""
    try:
        agree(network, network.source, x)
    except Unsupported as lack:
        return f"our reading of the model, which was not compared ({lack})"
    return ""


def agree(network: Network, source: Source, x: Tensor) -> None:
    """Raises InputError, naming the first node whose value differs, where a network and what it was read from differ at
    any of these points (points, *shape) by more than rounding. Outputs are those of the head where there is one.

    It finds a wrong reading, and proves no right one: what no point shows is not seen.
    """
    for part in x.detach().cpu().to(network.dtype).split(max(1, TOGETHER // max(1, network.outputs))):
        _agree(network, source, part)


def _agree(network: Network, source: Source, x: Tensor) -> None:
    theirs = source.outputs(x.flatten(1).numpy())
    mine, single, largest = _outputs(network, x)
    if theirs.shape != mine.shape:
        _refuse(network, source, x[:1], f"has {mine.shape[1]} outputs as read, and {theirs.shape[1]} as run")
    other = torch.from_numpy(theirs.astype(np.float64))
    seen = mine.isfinite().all(1) & single.isfinite().all(1)
    usable = mine.isfinite().all(1) if network.dtype == torch.float64 else seen  # where both overflow nothing compares
    size = mine.abs().amax(1) + 1e-2 * largest
    moved = ((single - mine).abs().amax(1) / size.clamp(min=1e-300))[seen].amax() if bool(seen.any()) else 0.0
    scale = DOUBLE if network.dtype == torch.float64 else 1.0
    gap = (other - mine).abs().amax(1)
    beyond = usable & ~(gap <= scale * (FLOOR + SLACK * moved) * size)
    beyond |= other.isfinite().all(1) & ~mine.isfinite().all(1)
    if bool(beyond.any()):
        worst = int(torch.where(beyond, gap.nan_to_num(torch.inf), -1.0).argmax())
        entry = int((other - mine)[worst].abs().nan_to_num(torch.inf).argmax())
        told = f"gives {float(mine[worst, entry]):.6g} as read, and {float(other[worst, entry]):.6g} as run"
        _refuse(network, source, x[worst : worst + 1], told)


def _outputs(network: Network, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the source gives at points (points, *shape) where the network is evaluated in float64 and in float32,
    (points, outputs) each, and the largest size of all float64 values, (points,)."""
    kinds = (torch.float64, torch.float32)
    nets = [_in_type(network, kind) for kind in kinds]
    entries = prod(network.input_shape) + sum(prod(node.shape) for node in network.graph.nodes)
    found = []
    with torch.no_grad():
        for part in x.split(max(1, TOGETHER // max(1, entries))):
            ends, sizes = [part, part], []
            both = zip(*(_values(net, part.to(kind)) for net, kind in zip(nets, kinds, strict=True)), strict=True)
            for (name, value), (_, rough) in both:
                sizes.append(value.abs().reshape(len(part), -1).amax(1))
                ends = [value, rough] if name == network.graph.output else ends
            outputs = (y if network.head is None else network.head(y) for y in ends)
            found.append((*(y.reshape(len(part), -1).double() for y in outputs), torch.stack(sizes).amax(0)))
    mine, single, largest = (torch.cat(parts) for parts in zip(*found, strict=True))
    return mine, single, largest


def _in_type(network: BoundGraph, dtype: torch.dtype) -> BoundGraph:
    """The network with its numbers in this type, without a head."""
    wide = {name: t.detach().cpu().to(dtype) if t.is_floating_point() else t.cpu()
            for name, t in network.parameters.items()}
    return BoundGraph(network.graph, wide)


def _values(network: BoundGraph, x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Every value of the network at points by its name, (points, *shape) each; one that no later node reads is not
    held."""
    last = {name: node.name for node in network.graph.nodes for name in node.inputs}
    values = {network.graph.input: x}
    yield network.graph.input, x
    for node, p in network.walk():
        values[node.name] = node.op.forward(p, *(values[name] for name in node.inputs))
        yield node.name, values[node.name]
        for name in set(node.inputs):
            if last[name] == node.name:
                del values[name]


def _refuse(network: BoundGraph, source: Source, x: Tensor, told: str) -> NoReturn:
    """Raises the InputError, with what is different at the point x (1, *shape)."""
    place = _first_difference(network, source, x)
    raise InputError(f"{source} would be read wrongly: {place or 'its output'} differs from what its own runtime makes "
                     f"of it (the model {told}); please report it, and write that part in other operators until then")


def _first_difference(network: BoundGraph, source: Source, x: Tensor) -> str:
    """The first node of the source that has values in the network by its name, and others; "" where none is found."""
    values = dict(_values(_in_type(network, torch.float64), x.double()))
    for title, outputs in source.tensors(x.flatten(1).numpy()[0]):
        own = re.compile(re.escape(title) + r"(_\d+)?")  # a node may be several in the network
        ours = [v.flatten().numpy() for key, v in values.items() if own.fullmatch(key)]
        if ours and outputs and not any(_close(mine, theirs) for mine in ours for theirs in outputs):
            return f"node {title}"
    return ""


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.all(np.abs(a - b) <= 1e-4 * (1e-6 + np.abs(a).max(initial=0))))
