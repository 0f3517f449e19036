"""The PyTorch front-end: a module, or a program saved by torch.export, as a network of the IR.

The module is exported in eval mode and decomposed to core ATen operators; aten_ops, aten_reduce and aten_shapes
translate those one by one. Nodes that do not depend on the input are evaluated. Parameters keep their state_dict names
wherever an operator uses the module's own tensor, so that `graph.bind` can put the live tensors in their places.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, OutputKind

from verify.errors import InputError, UnsupportedOp, Untraceable
from verify.ir.aten import Constant, Context
from verify.ir.aten_composites import write_out
from verify.ir.aten_layout import TracedValue
from verify.ir.aten_nodes import first_line, translated
from verify.ir.aten_ops import PLAIN
from verify.ir.aten_where import JUMPS, Comparison
from verify.ir.builder import GraphBuilder
from verify.ir.graph import Graph, Network
from verify.ir.guard import Called, beside_module, compare, probes
from verify.ir.original import TOGETHER
from verify.ir.pt2 import refuse_code
from verify.ops import Reshape

ANY_BATCH = 1009  # stands for a symbolic batch: a prime, so that no product of other sizes is taken for it
WHOLE = ("celu", "heaviside", "instance_norm", "log_sigmoid", "logaddexp", "logsumexp", "selu", "threshold")
KEPT = (  # these are translated whole
    *(getattr(torch.ops.aten, name.split(".")[0]).default for name in (*PLAIN, "linear", "pad", "softplus", *WHOLE)),
    *(getattr(torch.ops.aten, f"upsample_{name}").vec for name in ("linear1d", "bilinear2d", "trilinear3d")),
)


def trace(module: nn.Module, example: Tensor) -> Network:
    """The network of a module, as the function of one sample that it is in eval mode.

    example: (batch, *input shape), float32 or float64; its first sample is used. The module is left as it was. Where it
    returns one number a sample, (batch,), the network returns (batch, 1). The network is on the CPU.
    Raises Untraceable, an InputError, where torch.export cannot follow the module; UnsupportedOp for an operator
    outside the IR or one that mixes samples.
    """
    return beside_module(_translate(_export(module, example))[0], module, example.device)


def trace_graph(module: nn.Module, example: Tensor) -> tuple[Graph, dict[str, Tensor]]:
    """(graph, constants) of a module, for bounds that follow its training:

        graph.bind(constants | dict(module.named_parameters()) | dict(module.named_buffers()))

    `constants` are what the module does not train: index maps, numbers, values computed from buffers, on the example's
    device. Raises UnsupportedOp also for a softmax at the end, and where a parameter enters only through a computed
    copy of it, as that copy would not follow the training.
    """
    network, copies = _translate(_export(module, example))
    if network.head is not None:
        raise UnsupportedOp(f"the module ends in a {network.head}, and losses are computed from the logits; leave its "
                            "last layer out for training")
    state = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    for name in network.graph.parameter_names:
        if name in copies:
            raise UnsupportedOp(
                f"node {copies[name]} uses a parameter of the module through a computed copy, which would not follow "
                "training; store the parameter in the shape and orientation in which it is used, as nn.Linear does"
            )
    constants = {name: t.to(example.device) for name, t in network.parameters.items() if name not in state}
    return network.graph, constants


def read_pt2(path: str | Path, trust_code: bool = False) -> Network:
    """The network of a program saved by torch.export.save, with a static or symbolic batch axis.

    Raises InputError for a file that is missing or no such program, or that holds code which reading it would run,
    unless that is trusted; UnsupportedOp as `trace` does.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no model file {path}; check the path")
    data = path.read_bytes()
    if not trust_code:
        refuse_code(data, str(path))
    try:
        with _quiet():
            program = torch.export.load(BytesIO(data))
    except Exception as problem:  # a damaged archive fails in many ways, none of them ours to tell apart
        raise InputError(f"{path} is not a readable torch.export program ({first_line(problem)}); "
                         "write it again with torch.export.save") from None
    network = _translate(program)[0]
    batch = _input(program).meta["val"].shape[0]
    with _quiet():
        called = Called(program.module(), str(path), network.input_shape, batch if isinstance(batch, int) else TOGETHER)
        compare(replace(network, source=called), probes(network))
    return network


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides the notices that torch.export causes by itself, inside torch, and its logging of what we raise anyway."""
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.startswith("torch.")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:  # each has a handler of its own, so that silencing their parent would not do
        logger.disabled = True
    try:
        with _ignored_warnings():
            yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


@contextmanager
def _ignored_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)", category=FutureWarning)
        warnings.filterwarnings("ignore", message="The tensor attribute.* assigned during export", category=UserWarning)
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", category=category, module=r"torch\.(export|_export|_dynamo|fx|utils)\b")
        yield


def _export(module: nn.Module, example: Tensor) -> ExportedProgram:
    if not isinstance(example, Tensor):
        raise InputError(f"the example input is a {type(example).__name__}; give a tensor (batch, *input shape)")
    if example.ndim < 2 or example.shape[0] == 0:
        raise InputError(f"the example input has shape {tuple(example.shape)}; give (batch, *input shape), batch >= 1")
    training = {part: part.training for part in module.modules()}
    module.eval()
    try:
        # on failure torch prints the graph so far to stderr; what the module prints is passed on when it succeeds
        with _quiet(), redirect_stderr(StringIO()) as printed:
            program = torch.export.export(module, (example[:1].detach().clone(),))
        sys.stderr.write(printed.getvalue())
        return program
    except Exception as problem:  # torch.export raises whatever the module's own code does
        raise Untraceable(f"torch.export cannot follow {type(module).__name__} on an input of shape "
                          f"{(1, *example.shape[1:])}: {first_line(problem)}") from problem
    finally:
        for part, mode in training.items():
            part.training = mode


def _translate(program: ExportedProgram) -> tuple[Network, dict[str, str]]:
    """The network, and the IR parameters that are copies of trained ones with the node that uses each."""
    if not write_out(program):
        program = _decomposed(program)
    source = _input(program)
    batch, shape = _batch_and_shape(source)
    builder = GraphBuilder(source.name, shape, source.meta["val"].dtype)
    context = Context(builder, batch)
    values = _constants(program, builder)
    values[source.name] = TracedValue(source.name, shape)
    for node in program.graph.nodes:
        if node.op == "call_function" and node.users:  # what nothing reads (assertions on types) has no effect
            context.node = node
            values[node.name] = translated(context, node, values)
    return builder.finish(_output(context, program, values).name), context.copies


def _decomposed(program: ExportedProgram) -> ExportedProgram:
    """The program in core operators."""
    with _quiet():
        table = torch.export.default_decompositions()
        for kept in KEPT:
            table.pop(kept, None)
        try:
            return program.run_decompositions(table)
        except SyntaxError as problem:  # torch writes the names of submodules into Python code
            raise InputError("torch.export cannot follow a module with a part whose name is no Python identifier "
                             f"({first_line(problem)}); rename it") from problem
        except RuntimeError as problem:
            raise InputError(f"torch.export cannot write the model in its core operators ({first_line(problem)}); "
                             "write that part in others") from problem


def _input(program: ExportedProgram) -> fx.Node:
    """The placeholder of the one input."""
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind == InputKind.USER_INPUT]
    nodes = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(nodes) != 1 or not isinstance(nodes[0].meta.get("val"), Tensor):
        raise InputError(f"the model takes {len(nodes)} inputs ({', '.join(names)}); wrap it as a module of one tensor")
    kind = nodes[0].meta["val"].dtype
    if kind not in (torch.float32, torch.float64):
        raise InputError(f"the model's input {names[0]} has type {kind}; export it with float32 or float64 inputs")
    return nodes[0]


def _batch_and_shape(source: fx.Node) -> tuple[int, tuple[int, ...]]:
    """(batch size, shape of one sample); a symbolic batch is given a size that nothing else has."""
    sizes = source.meta["val"].shape
    if len(sizes) < 2:
        raise InputError(f"the model's input {source.name} has shape {tuple(sizes)}; it needs a batch axis and others")
    for axis, size in enumerate(sizes[1:], start=1):
        if not isinstance(size, int):
            raise InputError(f"axis {axis} of the model's input {source.name} is symbolic ({size}); export it fixed")
    return sizes[0] if isinstance(sizes[0], int) else ANY_BATCH, tuple(sizes[1:])


def _constants(program: ExportedProgram, builder: GraphBuilder) -> dict[str, Any]:
    """Values of the placeholders other than the input; the builder is given the module's own tensors by name."""
    values: dict[str, Any] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind == InputKind.USER_INPUT:
            continue
        tensor = _stored(program, spec).detach().cpu()
        builder.parameters[str(spec.target)] = tensor
        values[spec.arg.name] = Constant(tensor, spec.target, spec.kind == InputKind.PARAMETER)
    return values


def _stored(program: ExportedProgram, spec: InputSpec) -> Tensor:
    held = program.state_dict.get(str(spec.target), program.constants.get(str(spec.target)))
    if not isinstance(held, Tensor):
        raise InputError(f"the model holds {spec.target}, which is not a tensor; remove it before exporting")
    return held


def _output(c: Context, program: ExportedProgram, values: dict[str, Any]) -> TracedValue:
    """The one output."""
    specs = program.graph_signature.output_specs
    harmless = (OutputKind.USER_OUTPUT, OutputKind.USER_INPUT_MUTATION)  # a first layer in place writes to the input
    changed = [spec.target for spec in specs if spec.kind not in harmless]
    if changed:
        raise InputError(f"the model changes {changed[0]} when it is called; export it in eval mode, free of updates")
    results = [values.get(spec.arg.name) for spec in specs if spec.kind == OutputKind.USER_OUTPUT]
    if len(results) != 1:
        raise InputError(f"the model returns {len(results)} results; wrap it as a module that returns one tensor")
    if isinstance(results[0], Comparison):
        raise UnsupportedOp(f"the model's result is a comparison, which jumps; {JUMPS}")
    if not isinstance(results[0], TracedValue):
        raise InputError("the model's result does not depend on its input; check what the module returns")
    result = results[0]
    if result.is_bare(c.batch):
        result = c.reshape(result, c.full(result))
    elif result.folded and result.ir != (1,):
        raise InputError("axis 0 of the model's result is not its batch axis; export it with a batch of 1")
    elif result.at > 0:
        raise InputError(f"axis {result.at} of the model's result carries the batch; return the batch as axis 0")
    return c.emit(Reshape((1,)), result) if not result.ir else c.complete(result)
