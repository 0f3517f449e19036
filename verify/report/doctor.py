"""What `verify doctor` prints: what is installed, which devices there are, what is missing and how to add it."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True)
class Part:
    """A distribution, the module that it gives, what it is for, and the command that adds it."""

    distribution: str
    module: str
    purpose: str
    remedy: str = ""
    needed: bool = True


def _needed(distribution: str, module: str, purpose: str) -> Part:
    return Part(distribution, module, purpose, f"python -m pip install {distribution}")


def _extra(distribution: str, module: str, purpose: str, extra: str) -> Part:
    return Part(distribution, module, purpose, f"python -m pip install 'verify-nn[{extra}]'", needed=False)


PARTS = (
    _needed("torch", "torch", "tensors"),
    _needed("numpy", "numpy", "arrays"),
    _needed("scipy", "scipy", "sparse rows of LP and MILP"),
    _needed("highspy", "highspy", "solver of LP and MILP"),
    _needed("onnx", "onnx", "reads .onnx"),
    _needed("onnxruntime", "onnxruntime", "replays witnesses"),
    _needed("safetensors", "safetensors", "reads weights"),
    _needed("typer", "typer", "command line"),
    _needed("pulp", "pulp", "other MILP solvers"),
    _needed("cvxpy", "cvxpy", "other convex sets"),
    _needed("jinja2", "jinja2", "HTML reports"),
    _extra("pyarrow", "pyarrow", "export as Parquet", "parquet"),
    _extra("ray", "ray", "runs on a cluster", "ray"),
    _needed("rich", "rich", "tables"),
    _extra("matplotlib", "matplotlib", "plots", "plot"),
)


def report() -> tuple[list[str], bool]:
    """The lines, and whether all that is needed imports."""
    python = f"{platform.python_version():<12} {platform.platform()}"
    lines = [f"{'verify-nn':<12} {version('verify-nn')}", f"{'python':<12} {python}"]
    missing, healthy = [], True
    for part in PARTS:
        problem = _problem(part)
        lines.append(f"{part.distribution:<12} {problem or version(part.distribution):<12} {part.purpose}".rstrip())
        if problem:
            missing.append(f"{part.distribution} ({part.purpose}): {part.remedy}")
            healthy &= not part.needed
    lines += ["", *_devices()]
    return [*lines, "", *(["to add what is missing:", *missing] if missing else ["nothing is missing"])], healthy


def _problem(part: Part) -> str:
    """ "" if the part imports, else what is wrong."""
    try:
        importlib.import_module(part.module)
        version(part.distribution)
    except (ModuleNotFoundError, PackageNotFoundError):
        return "missing"
    except Exception as problem:  # a broken installation fails in many ways
        return f"broken ({type(problem).__name__})"
    return ""


def _devices() -> list[str]:
    """CPU cores and CUDA devices, or how to get at the latter."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = [f"{'cpu':<12} {cores} cores"]
    try:
        import torch
    except Exception:  # said above
        return lines
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return [*lines, *(f"{f'cuda:{i}':<12} {name}" for i, name in enumerate(names))]
    if torch.version.cuda is None and shutil.which("nvidia-smi"):
        remedy = "python -m pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu128"
        return [*lines, f"{'cuda':<12} this torch was built without it: {remedy}"]
    return [*lines, f"{'cuda':<12} none, and none is needed"]
