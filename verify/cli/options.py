"""Arguments and options that several commands share, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from verify.registry import METHODS, default_methods

Model = Annotated[str, typer.Argument(
    metavar="MODEL", help=".onnx, .pt2, a bundled name, or package.module:factory", show_default=False)]
Weights = Annotated[str | None, typer.Option(
    metavar="FILE", help="weights for a factory or bundled name: .safetensors, or .pt of tensors only")]
TrustCode = Annotated[bool, typer.Option(
    "--trust-code", help="read a .pt2 file even where that runs code that the file holds")]
Norm = Annotated[str, typer.Option(metavar="NORM", help="linf, l2 or l1")]
Clip = Annotated[str, typer.Option(metavar="LOW,HIGH", help="range of valid inputs, or none")]
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
TIMEOUT_HELP = "seconds for a sample (and eps), over all methods: each may take an equal part of what is left"
EPS_HELP = "radius in the input's own units, for example 8/255"
METHODS_HELP = f"in order, among {', '.join(METHODS)}"
_METHOD_LINES = [f"  {entry.name:10}{entry.help}" for entry in METHODS.values()]
METHODS_LIST = "\n".join(["\b", "Methods:", *_METHOD_LINES])  # \b keeps the lines as they are
DECIDERS = default_methods("vnnlib")  # what decides a property if no methods are named
