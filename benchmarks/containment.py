"""Containment: do boxes of the output hold the output at the middle of the input box, computed in exact rationals?

    python benchmarks/containment.py [../shared] [--auto-lirpa FOLDER] [--images 64] [--nets 256x2 base ...]

The first test images of MNIST on mnist_fc 256x2 and 256x6, those of CIFAR-10 on oval21 cifar_base_kw, normalised as its
properties are, (pixel - mean) / 0.225. Each image is a point of float32 numbers, so at eps 0 every tool bounds a single
point that it can represent; eps is in pixels from 0 to 1, and boxes are not clipped. The tables count the images all of
whose outputs are held:

    R, F        the checker's boxes, for real arithmetic and for execution in float32, in float64 with bounds on their
                rounding: `box` with interval layers; `rows` with backward layers, met with a row for each side of each
                output, as a certificate's rows are bounded
    float32     what ours give without them: IntervalBounds, `linear_boxes`, and linear rows of the outputs
    auto_LiRPA  IBP and CROWN, both in float32

The exact output is held to all of them, that of onnxruntime with optimisations off to the checker's. The exit code is 1
where the checker does not hold an exact output, or at level F one of onnxruntime's. One thread.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from bounds import Module
from torch import Tensor

import verify
from verify.check.bounds import Level, sweep
from verify.check.claim import Case
from verify.check.network import build
from verify.check.numbers import Arithmetic
from verify.check.ops import Affine
from verify.data import load_data
from verify.ir.evaluate import exact_value
from verify.ir.graph import Network
from verify.ir.original import Original
from verify.ops import IntervalBounds
from verify.proof.export import exported
from verify.rationals import exact_array
from verify.sets import Box
from verify.spec import Specification
from verify.upper.crown import linear_boxes, linear_row_bounds
from verify.upper.interval import interval_boxes

EPS = ("0", "1e-6", "1e-4")
MEAN, DEVIATION = (0.485, 0.456, 0.406), Fraction("0.225")  # of oval21
TOOLS = ("R box", "R rows", "F box", "F rows", "Interval", "linear", "lin rows", "IBP", "CROWN")
EXECUTED = ("R box", "R rows", "F box", "F rows")  # also compared with onnxruntime's output
HELD = {"exact": ("R box", "R rows", "F box", "F rows"), "run": ("F box", "F rows")}  # must hold all

Bounds = tuple[np.ndarray, np.ndarray]  # low, high (images, outputs) floats


@dataclass(frozen=True, eq=False)
class Subject:
    """A network with its images; `unit` is a pixel's eps in the units of the input."""

    name: str
    network: Network
    points: Tensor  # (images, *shape) float32
    unit: Fraction
    exact: np.ndarray  # (images, outputs) rationals
    run: np.ndarray  # (images, outputs) rationals, of onnxruntime's float32 outputs

    def box(self, eps: str) -> tuple[Tensor, Tensor]:
        """The box as float32 tools are given it: ends rounded to nearest."""
        radius = float(Fraction(eps) * self.unit)
        return self.points - radius, self.points + radius


Tool = Callable[[Subject, str], Bounds]
Tools = dict[str, Tool]


def subjects(shared: Path, images: int, only: list[str]) -> Iterator[Subject]:
    """The networks, one by one, with a line on what their outputs took to compute."""
    for part, data, unit in (
        ("mnist_fc/onnx/mnist-net_256x2.onnx.gz", "mnist", Fraction(1)),
        ("mnist_fc/onnx/mnist-net_256x6.onnx.gz", "mnist", Fraction(1)),
        ("oval21/onnx/cifar_base_kw.onnx", "cifar10/cifar10_test1000.npz", 1 / DEVIATION),
    ):
        if only and not any(word in part for word in only):
            continue
        path = shared / "vnncomp" / part
        network, found = verify.load(path), load_data(str(shared / "data" / data), images)
        points = found.x
        if unit != 1:
            points = (points.double() - torch.tensor(MEAN).double()[:, None, None]) * float(unit)
        points = points.float().reshape(-1, *network.input_shape)
        start = time.perf_counter()
        source = network.unmerged or network
        exact = np.stack([exact_value(source, exact_array(point)).reshape(-1) for point in points])
        seconds = time.perf_counter() - start
        original = Original(path)
        run = exact_array(torch.from_numpy(np.stack([original(point.flatten().numpy()) for point in points])))
        right = int((exact.argmax(1) == found.y.numpy()).sum())
        name = Path(part).name.partition(".")[0].removeprefix("mnist-net_")
        print(f"{name}: {right} of {len(points)} images right, onnxruntime's outputs within "
              f"{float(abs(run - exact).max()):.1e} of the exact ones, these in {seconds:.1f} s", flush=True)
        yield Subject(name, network, points, unit, exact, run)


def checked(subject: Subject, eps: str, single: bool, backward: bool) -> Bounds:
    """The checker's box of the output at level F or R."""
    level = Level(Arithmetic(), single)
    network = build(level.number, *exported(subject.network))
    radius = Fraction(eps) * subject.unit
    centers = (exact_array(point.flatten()) for point in subject.points)
    sides = zip(*(Case(c - radius, c + radius, ()).box(level.number, single) for c in centers), strict=True)
    low, high = (np.concatenate(ends) for ends in sides)
    kind = "backward" if backward else "interval"
    layers = {node.name: (kind, "adaptive") for node in network.nodes if not isinstance(node.op, Affine)}
    relaxation = sweep(network, level, low, high, layers)
    low, high = relaxation.low[network.output], relaxation.high[network.output]
    if not backward:
        return low, high
    owner, index = (grid.reshape(-1) for grid in np.indices(low.shape))
    ones = np.ones(len(index))
    above = relaxation.entry_bounds(network.output, owner, index, ones).reshape(low.shape)
    below = -relaxation.entry_bounds(network.output, owner, index, -ones).reshape(low.shape)
    return np.maximum(low, below), np.minimum(high, above)


def interval(subject: Subject, eps: str) -> Bounds:
    """Interval boxes in float32."""
    boxes = interval_boxes(subject.network, IntervalBounds(*subject.box(eps)))
    return _arrays(*boxes[subject.network.graph.output])


def linear(subject: Subject, eps: str) -> Bounds:
    """Intervals of the last layer over linear boxes, in float32."""
    boxes = linear_boxes(subject.network, Box(*subject.box(eps)))
    return _arrays(*boxes[subject.network.graph.output])


def linear_rows(subject: Subject, eps: str) -> Bounds:
    """Linear upper bounds of the outputs and of their negations, in float32."""
    images, outputs = subject.exact.shape
    rows = torch.cat([torch.eye(outputs), -torch.eye(outputs)]).expand(images, -1, -1)
    shape = images, 2 * outputs
    disjunct = torch.arange(2 * outputs).expand(shape)
    spec = Specification(rows, torch.zeros(shape), disjunct, torch.ones(shape, dtype=torch.bool))
    high, low = linear_row_bounds(subject.network, Box(*subject.box(eps)), spec).split(outputs, 1)
    return _arrays(-low, high)


def other_tool(folder: Path, method: str) -> Tool:
    """Boxes of the output by a method of auto_LiRPA."""
    sys.path.insert(0, str(folder))
    lirpa, perturbations = import_module("auto_LiRPA"), import_module("auto_LiRPA.perturbations")

    def call(subject: Subject, eps: str) -> Bounds:
        low, high = subject.box(eps)
        module = lirpa.BoundedModule(Module(subject.network), low[:1], bound_opts={"conv_mode": "patches"}, verbose=0)
        x = lirpa.BoundedTensor(subject.points, perturbations.PerturbationLpNorm(x_L=low, x_U=high))
        return _arrays(*module.compute_bounds(x=(x,), method=method))

    return call


def _arrays(low: Tensor, high: Tensor) -> Bounds:
    return low.flatten(1).numpy(), high.flatten(1).numpy()


def held(bounds: Bounds, outputs: np.ndarray) -> int:
    """On how many images all outputs, rationals, lie between the bounds; compared exactly, a NaN holds nothing."""
    low, high = (side.astype(object) for side in bounds)
    return int(((low <= outputs) & (outputs <= high)).astype(bool).all(1).sum())


def tools(folder: Path | None) -> Tools:
    """What bounds the outputs of a subject at an eps, by its name in TOOLS."""
    found: Tools = {
        f"{level} {kind}": partial(checked, single=level == "F", backward=kind == "rows")
        for level in ("R", "F") for kind in ("box", "rows")
    }
    found.update({"Interval": interval, "linear": linear, "lin rows": linear_rows})
    if folder is not None:
        found.update({method: other_tool(folder, method) for method in ("IBP", "CROWN")})
    return found


@dataclass(frozen=True)
class Line:
    """One network at one eps: images held by each tool, mean widths of the boxes, and the seconds of all tools."""

    name: str
    eps: str
    images: int
    exact: dict[str, int]
    run: dict[str, int]
    width: dict[str, float]
    seconds: float

    @property
    def is_sound(self) -> bool:
        counts = {"exact": self.exact, "run": self.run}
        return all(counts[what][tool] == self.images for what, names in HELD.items() for tool in names)


def line(subject: Subject, eps: str, calls: Tools) -> Line:
    """Bounds the outputs with every tool."""
    start = time.perf_counter()
    bounds = {name: call(subject, eps) for name, call in calls.items()}
    seconds = time.perf_counter() - start
    width = {name: float((high - low.astype(np.float64)).mean()) for name, (low, high) in bounds.items()}
    exact = {name: held(found, subject.exact) for name, found in bounds.items()}
    run = {name: held(bounds[name], subject.run) for name in EXECUTED}
    print(f"  eps {eps}: {seconds:.1f} s", flush=True)
    return Line(subject.name, eps, len(subject.points), exact, run, width, seconds)


def show(lines: list[Line]) -> None:
    """Prints both tables."""
    names = "".join(f"{name:>9}" for name in TOOLS)
    runs = "".join(f"{name:>8}" for name in EXECUTED)
    print(f"\nimages whose outputs are held, of {lines[0].images}")
    print(f"{'':20}{'the exact output':>{9 * len(TOOLS)}}  |{'that of onnxruntime':>{8 * len(EXECUTED)}}  |")
    print(f"{'network':14}{'eps':>6}{names}  |{runs}  |{'seconds':>8}")
    for found in lines:
        counts = "".join(f"{found.exact.get(name, '-'):>9}" for name in TOOLS)
        executed = "".join(f"{found.run[name]:>8}" for name in EXECUTED)
        print(f"{found.name:14}{found.eps:>6}{counts}  |{executed}  |{found.seconds:8.1f}")
    print(f"\nmean width of an output's bounds\n{'network':14}{'eps':>6}{names}")
    for found in lines:
        widths = "".join(f"{found.width[name]:9.1e}" if name in found.width else f"{'-':>9}" for name in TOOLS)
        print(f"{found.name:14}{found.eps:>6}{widths}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, nargs="?", default=Path("../shared"), help="vnncomp/ and data/")
    parser.add_argument("--auto-lirpa", type=Path, help="folder that holds the package auto_LiRPA")
    parser.add_argument("--images", type=int, default=64, help="images of each network")
    parser.add_argument("--nets", nargs="*", default=[], help="parts of network names; default all")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    calls = tools(options.auto_lirpa)
    with torch.no_grad():
        lines = [
            line(subject, eps, calls)
            for subject in subjects(options.shared, options.images, options.nets) for eps in EPS
        ]
    show(lines)
    sys.exit(0 if all(found.is_sound for found in lines) else 1)


if __name__ == "__main__":
    main()
