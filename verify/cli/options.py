"""Arguments and options that several commands share, with their help."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import MISSING, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from verify.registry import FRONTS, METHODS, NORMS, SETS, default_methods
from verify.runs.request import Request

_NORMS = list(NORMS)
Model = Annotated[str, typer.Argument(
    metavar="MODEL", help=".onnx, .pt2, a bundled name, or package.module:factory", show_default=False)]
Weights = Annotated[str | None, typer.Option(
    metavar="FILE", help="weights for a factory or bundled name: .safetensors, or .pt of tensors only")]
TrustCode = Annotated[bool, typer.Option(
    "--trust-code", help="read a .pt2 file even where that runs code that the file holds")]
Norm = Annotated[str, typer.Option(metavar="NORM", help=f"{', '.join(_NORMS[:-1])} or {_NORMS[-1]}")]
_FORMS = ", ".join(entry.help for entry in (*SETS.values(), *FRONTS.values()))
Set = Annotated[str, typer.Option(
    metavar="SET", help=f"what may change around a sample, its numbers times eps: {_FORMS}")]
Clip = Annotated[str, typer.Option(metavar="LOW,HIGH", help="range of valid inputs, or none")]
Grid = Annotated[int | None, typer.Option(
    metavar="N", min=1, help="only inputs whose entries are whole multiples of 1/N; 255 for images of 8 bits",
    show_default=False)]
Normalize = Annotated[str | None, typer.Option(
    metavar="MEAN:STD", help="normalisation that goes before the model; numbers, or comma lists with one a channel")]

Threshold = Annotated[str | None, typer.Option(
    metavar="T", show_default=False,
    help="of a network with one output: class 1 is predicted above it; by default 0 of a logit, 1/2 of a sigmoid")]
Within = Annotated[str | None, typer.Option(
    metavar="T", help="of a regressor: every output stays within T of its value at the sample", show_default=False)]
Bounds = Annotated[str | None, typer.Option(
    metavar="LOW,HIGH", help="of a regressor: every output stays between them; either may be left out, as in ,5",
    show_default=False)]

Level = Annotated[str | None, typer.Option(
    metavar="R|F", show_default=False,
    help="what is proved: real arithmetic (R), or float32 execution (F), which nothing but a proof decides")]

RunFolder = Annotated[Path | None, typer.Option(
    metavar="RUN", help="run folder, by default a new one in runs/", show_default=False)]
Resume = Annotated[bool, typer.Option("--resume", help="continue the run in --out; what it has is not done again")]
Workers = Annotated[int | None, typer.Option(
    metavar="N", min=1, help="processes that share the work, on GPUs one each", show_default=False)]
Ray = Annotated[str | None, typer.Option(
    metavar="ADDRESS", show_default=False,
    help="share the work on the Ray cluster there: host:port, auto for the one of this machine, or local")]

DATA_HELP = "a bundled name, .npz, IDX images, or package.module:dataset; bytes (uint8) are divided by 255"
Data = Annotated[str, typer.Option(metavar="DATA", help=DATA_HELP, show_default=False)]
Limit = Annotated[int, typer.Option(metavar="N", min=1, help="number of samples, from the first")]
Timeout = Annotated[float, typer.Option(
    metavar="S",
    help="seconds for a sample (and eps), over all methods: each may take an equal part of what is left")]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="cpu or cuda")]
Json = Annotated[bool, typer.Option("--json", help="print JSON instead of the table")]
EPS_HELP = "radius in the input's own units, for example 8/255"
METHODS_HELP = f"in order, among {', '.join(METHODS)}"
_WIDTH = max(map(len, METHODS)) + 2
_METHOD_LINES = [f"  {entry.name:{_WIDTH}}{entry.help}" for entry in METHODS.values()]
METHODS_LIST = "\n".join(["\b", "Methods:", *_METHOD_LINES])  # \b keeps the lines as they are
DECIDERS = default_methods("vnnlib")  # what decides a property if no methods are named

FIRST = ("model", "data")  # of the shared ones; the others stand where a command has `shared`, after what it asks first


def shares(kind: type[Request], without: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator of commands with an argument `shared`: they take the options of a request, with its defaults, and get
    them there as one dictionary by field; options `without` are left out.
    """
    defaults = {f.name: Parameter.empty if f.default is MISSING else f.default for f in fields(kind)}
    group = {name: Parameter(name, Parameter.KEYWORD_ONLY, default=defaults[name], annotation=note)
             for name, note in _shared(kind.command).items() if name not in without}

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        own = list(signature(command, eval_str=True).parameters.values())
        place = [parameter.name for parameter in own].index("shared")
        first = [option for name, option in group.items() if name in FIRST]
        rest = [option for name, option in group.items() if name not in FIRST]

        @wraps(command)
        def called(**given: Any) -> None:
            command(shared={name: given.pop(name) for name in group}, **given)

        parameters = [*first, *own[:place], *rest, *own[place + 1 :]]
        vars(called)["__signature__"] = Signature(parameters)
        return called

    return with_options


def _shared(command: str) -> dict[str, Any]:
    """The options of every request by field, in the order of the help."""
    methods = Annotated[str | None, typer.Option(
        metavar="A,B,..", help=f"{METHODS_HELP}; default {default_methods(command)}")]
    return {
        "model": Model, "data": Data, "weights": Weights, "trust_code": TrustCode, "set": Set, "norm": Norm,
        "clip": Clip, "grid": Grid, "normalize": Normalize, "threshold": Threshold, "within": Within, "bounds": Bounds,
        "limit": Limit, "methods": methods, "timeout": Timeout, "device": Device,
    }
