"""The network of a module that is being trained: one trace, then the module's own tensors in every step.

Batch normalisation needs care. A step normalises with the mean and variance of its clean batch, and the same numbers
serve every other pass of the step: attacked points and bounds then speak of the one function that the clean batch
defines (Shi et al. 2021, section 3.3, and the usual practice since). After the step they enter the running averages,
which the trained network uses.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from verify.errors import UnsupportedOp
from verify.ir.graph import BoundGraph, Graph
from verify.ir.torch_export import trace_graph
from verify.train.logit import logit_of

MOMENTUM = 0.1  # weight of a batch in the running averages where a layer has none of its own


@dataclass(frozen=True, eq=False)
class BatchNetwork(BoundGraph):
    """The network as one clean batch defines it; calling it on that very batch costs nothing more."""

    batch: Tensor = field(kw_only=True, repr=False)
    outputs_of_batch: Tensor = field(kw_only=True, repr=False)
    statistics: dict[str, Tensor] = field(kw_only=True, repr=False)  # of the batch, by name of the running average

    def __call__(self, x: Tensor) -> Tensor:
        return self.outputs_of_batch if x is self.batch else super().__call__(x)


class Live:
    """A module and its graph.

    Args:
        module: of one tensor, on the device to be used; its tensors are never copied. What is trained is the function
            that it is in eval mode, so that dropout has no effect.
        example: (batch, *input shape).
        threshold: of a network with one output, see `verify.train.logit`; `network` and `on_batch` are of its logit.

    Raises what `trace_graph` does: InputError, or UnsupportedOp where a parameter is used through a computed copy; also
    UnsupportedOp for a batch normalisation that is used twice.
    """

    def __init__(self, module: nn.Module, example: Tensor, threshold: str | None = None):
        self.module = module
        self.graph, self._constants = trace_graph(module, example)
        self.graph, more = logit_of(self.network(), threshold)
        self._constants |= more
        self.normalisations = [node for node in self.graph.nodes if node.op.statistics]
        averages = [node.parameters[node.op.statistics[0]] for node in self.normalisations]
        twice = next((name for name in averages if averages.count(name) > 1), None)
        if twice is not None:
            raise UnsupportedOp(
                f"the batch normalisation of {twice} is used twice, so that one batch gives it two statistics; give "
                "each place a layer of its own"
            )

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The parameters of the module that training changes, by name."""
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad}

    def network(self) -> BoundGraph:
        """The network with running averages for statistics: what is certified, or its logit."""
        return self.graph.bind(self._tensors())

    def on_batch(self, x: Tensor) -> BoundGraph:
        """The network with the statistics of this clean batch (batch, *input shape), differentiable in them too."""
        if not self.normalisations:
            return self.network()
        return batch_network(self.graph, self._tensors(), x)

    def note(self, network: BoundGraph) -> None:
        """Moves the running averages toward the statistics of a network from `on_batch`."""
        if not isinstance(network, BatchNetwork):
            return
        buffers, layers = dict(self.module.named_buffers()), dict(self.module.named_modules())
        with torch.no_grad():
            for name, value in network.statistics.items():
                momentum = getattr(layers[name.rpartition(".")[0]], "momentum", None)
                buffers[name].lerp_(value.detach(), MOMENTUM if momentum is None else momentum)

    def estimate(self, batches: list[Tensor]) -> None:
        """Sets the running averages to those of these batches of clean data, with the weights as they are now."""
        with torch.no_grad():
            found = [self.on_batch(x) for x in batches] if self.normalisations else []
            buffers = dict(self.module.named_buffers())
            for name in found[0].statistics if found and isinstance(found[0], BatchNetwork) else ():
                values = [n.statistics[name] for n in found if isinstance(n, BatchNetwork)]
                buffers[name].copy_(torch.stack(values).mean(0))

    def _tensors(self) -> dict[str, Tensor]:
        return self._constants | dict(self.module.named_parameters()) | dict(self.module.named_buffers())


def batch_network(graph: Graph, tensors: dict[str, Tensor], x: Tensor) -> BatchNetwork:
    """Evaluates the graph on x and binds it to the statistics that each batch normalisation sees there."""
    bound, statistics = graph.bind(tensors), {}
    values = {graph.input: x}
    parameters = dict(bound.parameters)
    for node in graph.nodes:
        arguments = [values[name] for name in node.inputs]
        if node.op.statistics:
            names = [node.parameters[k] for k in node.op.statistics]
            mean, variance, unbiased = _statistics(arguments[0])
            parameters.update(zip(names, (mean, variance), strict=True))
            statistics.update(zip(names, (mean, unbiased), strict=True))
        values[node.name] = node.op.forward(tuple(parameters[name] for name in node.parameters), *arguments)
    return BatchNetwork(graph, parameters, batch=x, outputs_of_batch=values[graph.output], statistics=statistics)


def detached(network: BoundGraph) -> BoundGraph:
    """The same network without gradients in its parameters, for attacks."""
    still = {name: t.detach() for name, t in network.parameters.items()}
    if isinstance(network, BatchNetwork):
        return replace(network, parameters=still, outputs_of_batch=network.outputs_of_batch.detach())
    return BoundGraph(network.graph, still)


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and unbiased variance of every channel of x (batch, channels, *spatial)."""
    axes = [0, *range(2, x.dim())]
    variance, mean = torch.var_mean(x, axes, correction=0)
    count = x.numel() // x.shape[1]
    return mean, variance, variance * (count / max(1, count - 1))
