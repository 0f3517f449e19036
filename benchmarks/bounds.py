"""Linear bounds beside auto_LiRPA, on the same instances in the same process: tightness and throughput.

    python benchmarks/bounds.py [../shared] [--auto-lirpa FOLDER] [--seconds 2] [--nets 256x2 base ...]

One thread, all intermediate layers, all nine rows. Both tools run one by one and on batches of jittered boxes; the
throughput ratio compares the best mode of each. Without auto_LiRPA, the stored figures of the baselines stand in.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

import verify
import verify.ops as ops
from verify.ir.graph import Network
from verify.problem import Problem
from verify.sets import Box
from verify.spec import Specification
from verify.upper.crown import linear_row_bounds

BATCHES = (1, 8, 64)
BATCH_LIMIT = {"cifar10_resnet": 8, "sri_resnet_a": 8}  # batches beyond this take minutes in the other tool


class Module(nn.Module):
    """A network of the IR as a plain torch module, for the other tool to trace."""

    def __init__(self, net: Network):
        super().__init__()
        self.net = net
        self.weights = nn.ParameterList([nn.Parameter(t, requires_grad=False) for t in net.parameters.values()])
        self.place = {name: i for i, name in enumerate(net.parameters)}

    def forward(self, x: Tensor) -> Tensor:
        values = {self.net.graph.input: x}
        for node in self.net.graph.nodes:
            p = [self.weights[self.place[name]] for name in node.parameters]
            values[node.name] = _call(node.op, p, [values[name] for name in node.inputs])
        return values[self.net.graph.output]


def _call(op: ops.Op, p: list[Tensor], xs: list[Tensor]) -> Tensor:
    match op:
        case ops.Linear():
            return nn.functional.linear(xs[0], p[0], p[1] if len(p) > 1 else None)
        case ops.Conv():
            return nn.functional.conv2d(xs[0], p[0], p[1] if len(p) > 1 else None, op.stride, op.padding)
        case ops.ReLU():
            return torch.relu(xs[0])
        case ops.Reshape():
            return torch.flatten(xs[0], 1)
        case ops.Add():
            return xs[0] + xs[1]
    raise SystemExit(f"{type(op).__name__} is not part of this benchmark")


def other_tool(folder: Path, net: Network, low: Tensor, high: Tensor, spec: Specification) -> Callable[[], Tensor]:
    """A call of auto_LiRPA's CROWN on these boxes that returns upper bounds of the rows."""
    sys.path.insert(0, str(folder))
    lirpa, perturbations = import_module("auto_LiRPA"), import_module("auto_LiRPA.perturbations")

    module = lirpa.BoundedModule(Module(net), low[:1], bound_opts={"conv_mode": "patches"}, verbose=0)
    x = lirpa.BoundedTensor((low + high) / 2, perturbations.PerturbationLpNorm(x_L=low, x_U=high))
    return lambda: -module.compute_bounds(x=(x,), C=-spec.output, method="CROWN", bound_upper=False)[0]


def seconds(call: Callable[[], Tensor], budget: float) -> float:
    """Least wall time of a call over repetitions that fill the budget."""
    call()
    least, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < budget:
        begin = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - begin)
    return least


def batch_of(problem: Problem, size: int) -> tuple[Tensor, Tensor, Specification]:
    """Jittered copies of the one box of a problem."""
    low, high = problem.inputs.low, problem.inputs.high
    generator = torch.Generator().manual_seed(size)
    shift = (torch.rand((size, *low.shape[1:]), generator=generator) - 0.5) * (0.2 * (high - low))
    shift[0] = 0
    return low + shift, high + shift, problem.spec.select(torch.zeros(size, dtype=torch.long))


def published(shared: Path) -> dict[tuple[str, str, str], dict[str, tuple[float, float]]]:
    """{(family, onnx, vnnlib): {method: (min bound, mean bound)}} of the baselines, on the violation's side."""
    found: dict[tuple[str, str, str], dict[str, tuple[float, float]]] = {}
    with (shared / "baselines" / "auto_lirpa_bounds.csv").open() as file:
        for row in csv.DictReader(file):
            if row["method"] in ("IBP", "CROWN-IBP", "CROWN") and row["min_bound"]:
                key = (row["family"], row["onnx"], row["vnnlib"])
                values = (float(row["min_bound"]), float(row["mean_bound"]))
                known = found.setdefault(key, {}).get(row["method"], (-torch.inf, -torch.inf))
                found[key][row["method"]] = (max(known[0], values[0]), max(known[1], values[1]))
    return found


def tightness(shared: Path, only: list[str]) -> None:
    """Prints every instance with the best of three baseline methods; the margin's lower bound, larger is tighter."""
    print(f"{'instance':62} {'ours min':>11} {'best of 3':>11} {'ours mean':>11} {'best of 3':>11}  at least as tight")
    misses = 0
    for (family, onnx, vnnlib), methods in published(shared).items():
        if only and not any(part in onnx for part in only):
            continue
        problem = load(shared / "vnncomp" / family, onnx, vnnlib)
        rows = -linear_row_bounds(problem.network, problem.inputs, problem.spec)[0]
        ours = float(rows.min()), float(rows.mean())
        best = tuple(max(values[i] for values in methods.values()) for i in (0, 1))
        good = all(o >= b - 1e-4 * abs(b) for o, b in zip(ours, best, strict=True))
        misses += not good
        name = f"{Path(onnx).stem[:30]} {Path(vnnlib).name[:30]}"
        print(f"{name:62} {ours[0]:11.5f} {best[0]:11.5f} {ours[1]:11.5f} {best[1]:11.5f}  {'yes' if good else 'NO'}")
    print(f"not as tight: {misses}\n")


def throughput(shared: Path, folder: Path | None, only: list[str], budget: float) -> None:
    """Prints inputs a second of both tools in every mode, and the ratio of the best ones."""
    seen: set[str] = set()
    for family, onnx, vnnlib in published(shared):
        if onnx in seen or (only and not any(part in onnx for part in only)):
            continue
        seen.add(onnx)
        problem, rates = load(shared / "vnncomp" / family, onnx, vnnlib), {"ours": 0.0, "auto_LiRPA": 0.0}
        net, parts = problem.network, []
        for size in BATCHES:
            if size > BATCH_LIMIT.get(family, 64):
                continue
            low, high, spec = batch_of(problem, size)
            calls: dict[str, Callable[[], Tensor]] = {"ours": partial(linear_row_bounds, net, Box(low, high), spec)}
            if folder is not None:
                calls["auto_LiRPA"] = other_tool(folder, net, low, high, spec)
            for tool, call in calls.items():
                rate = size / seconds(call, budget)
                rates[tool] = max(rates[tool], rate)
                parts.append(f"{tool} x{size} {rate:.1f}/s")
        ratio = f"best ratio {rates['ours'] / rates['auto_LiRPA']:.2f}" if rates["auto_LiRPA"] else "no auto_LiRPA here"
        print(f"{Path(onnx).stem[:34]:36} {ratio:18} {'  '.join(parts)}", flush=True)


def load(folder: Path, onnx: str, vnnlib: str) -> Problem:
    """The problem of a published instance."""
    return verify.from_vnnlib(verify.load(folder / onnx), verify.read_vnnlib(folder / vnnlib))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, nargs="?", default=Path("../shared"), help="vnncomp/ and baselines/")
    parser.add_argument("--auto-lirpa", type=Path, help="folder that holds the package auto_LiRPA")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each measurement")
    parser.add_argument("--nets", nargs="*", default=[], help="parts of network names; default all")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with torch.no_grad():
        tightness(options.shared, options.nets)
        throughput(options.shared, options.auto_lirpa, options.nets, options.seconds)


if __name__ == "__main__":
    main()
