"""Attacks beside a bare loop of torch, and beside the tools of others where they can be imported.

    python benchmarks/attacks.py steps                    gradient steps a second, bundled networks
    python benchmarks/attacks.py resnet                   a ResNet-50 of random weights and one 224 x 224 image
    python benchmarks/attacks.py accuracy [--samples N]   robust accuracy and time, beside AutoAttack by others
    python benchmarks/attacks.py distance [--samples N]   median distance and time, beside foolbox and adv-lib

With `--shared ../shared` also on MNIST and the networks of the tutorial; `--networks` and `--norms` choose among all.

One thread, times of the processor, both sides in one run and in turn. Foolbox, torchattacks, adv-lib and the code of
AutoAttack are taken from where Python finds them (PYTHONPATH); what is not there is left out. All parts without a word.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from verify.models import build, digits

import verify
from verify.data import load_data
from verify.lower.engine.nearest import MinimumNorm

NETS = ("digits-dense-adversarial", "digits-conv-adversarial")
EPS = {"linf": "1/10", "l2": "1/2", "l1": "1"}
TUTORIAL = {"small": (50, 20), "dnn_2": (200,), "dnn_4": (200, 100, 100)}  # widths of hidden layers
EPS_MNIST = {"linf": "1/40", "l2": "1/2", "l1": "2"}


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and the seconds of the processor that it takes."""
    start = time.process_time()
    found = call()
    return found, time.process_time() - start


def in_turn(repeat: int, *calls: Callable[[], Any]) -> list[float]:
    """The least seconds of calls that take turns."""
    times = [[timed(call)[1] for call in calls] for _ in range(repeat)]
    return [min(each) for each in zip(*times, strict=True)]


class Bottleneck(nn.Module):
    """Three convolutions and what goes past them (He et al. 2016)."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = 4 * width
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )
        same = stride == 1 and inputs == outputs
        past = nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        self.past = nn.Identity() if same else nn.Sequential(*past)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layers(x) + self.past(x))


class Normalised(nn.Module):
    """The normalisation of ImageNet in front of a network."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.network((x - self.mean) / self.std)


def resnet50() -> nn.Module:
    """ResNet-50 with random weights, as torchvision writes it."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
                               nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for k in range(count):
            layers.append(Bottleneck(inputs, width, stride if k == 0 else 1))
            inputs = 4 * width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000)]
    return Normalised(nn.Sequential(*layers)).eval().requires_grad_(False)


def loop(model: nn.Module, x: Tensor, y: Tensor, steps: int, eps: float, target: Tensor | None = None) -> Tensor:
    """The tutorial's loop: steps along the sign of the gradient of the cross-entropy, in the ball and in [0, 1]."""
    delta = torch.zeros_like(x)
    for _ in range(steps):
        delta.requires_grad_()
        out = model(x + delta)
        loss = F.cross_entropy(out, y) if target is None else F.cross_entropy(out, y) - F.cross_entropy(out, target)
        (gradient,) = torch.autograd.grad(loss, delta)
        delta = (delta.detach() + eps / 4 * gradient.sign()).clamp(-eps, eps)
        delta = (x + delta).clamp(0, 1) - x
    return (x + delta).detach()


def bare(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> None:
    """Nothing but forward passes and gradients in the input."""
    for _ in range(steps):
        point = x.detach().requires_grad_()
        torch.autograd.grad(F.cross_entropy(model(point), y), point)


class Subject(NamedTuple):
    """A network with the samples that it classifies rightly, and radii."""

    name: str
    model: nn.Module
    network: verify.Network
    x: Tensor
    y: Tensor
    eps: dict[str, str]


def subjects(asked: argparse.Namespace) -> Iterator[Subject]:
    """The digits networks, and those of the tutorial where their files are known; so many samples each."""
    for name in NETS:
        x, y = digits()
        model = build(name)[0].eval().requires_grad_(False)
        right = (model(x).argmax(1) == y).nonzero().flatten()[: asked.samples]
        yield Subject(name, model, verify.load(name), x[right], y[right], EPS)
    if asked.shared is None:
        return
    data = load_data(str(asked.shared / "data" / "mnist" / "t10k-images-idx3-ubyte.gz"), 2 * asked.samples)
    for name, hidden in TUTORIAL.items():
        widths, layers = (784, *hidden, 10), list[nn.Module]([nn.Flatten()])
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        model = nn.Sequential(*layers[:-1]).eval().requires_grad_(False)
        model.load_state_dict(load_file(asked.shared / "data" / "tutorial" / f"model_{name}.safetensors"))
        right = (model(data.x).argmax(1) == data.y).nonzero().flatten()[: asked.samples]
        yield Subject(f"mnist-{name}", model, verify.trace(model, data.x[:1]), data.x[right], data.y[right], EPS_MNIST)


def chosen(asked: argparse.Namespace) -> Iterator[tuple[Subject, str]]:
    """The subjects and norms that were asked for."""
    for subject in subjects(asked):
        if not asked.networks or subject.name in asked.networks:
            yield from ((subject, norm) for norm in asked.norms)


def show_steps(asked: argparse.Namespace) -> None:
    """`verify.solve` on a network, for the value, beside forward passes and gradients of its module, and beside the
    tutorial's loop, which adds to these no more than a step by signs and two clamps."""
    x, y = digits("train")
    for name in NETS:
        model, network = build(name)[0].eval().requires_grad_(False), verify.load(name)
        for batch in (100, 1000):
            problem = verify.robustness(network, x[:batch], y[:batch], "1/10")
            for method in (verify.PGD(100, stop_when_falsified=False), verify.APGD(stop_when_falsified=False)):
                theirs, plain, ours = in_turn(5, partial(bare, model, x[:batch], y[:batch], 100),
                                              partial(loop, model, x[:batch], y[:batch], 100, 0.1, None),
                                              partial(verify.solve, problem, method))
                print(f"{name:26} batch {batch:5} {method.name:16} bare {100 / theirs:8.1f} steps/s, tutorial's loop "
                      f"{theirs / plain:.2f} of it, ours {theirs / ours:.2f}")


def show_resnet(asked: argparse.Namespace) -> None:
    """One call beside the tutorial's loop; the probes of the module, replay and membership are part of the call."""
    torch.manual_seed(0)
    model, x = resnet50(), torch.rand(1, 3, 224, 224)
    y = model(x).argmax(1)
    for title, steps, target in (("untargeted", 30, None), ("targeted", 100, (y + 1) % 1000)):
        method = verify.PGD(steps, stop_when_falsified=False)
        theirs, ours = in_turn(1, partial(loop, model, x, y, steps, 2 / 255, target),
                               partial(verify.attack, model, x, y, eps="2/255", target=target, method=method))
        print(f"resnet50 {title:10} {steps:3} steps: loop {theirs:.1f} s, verify.attack {ours:.1f} s, ratio "
              f"{theirs / ours:.2f}")


def available(name: str) -> Any:
    """A module of somebody else, or None where it is not there."""
    try:
        return import_module(name)
    except ImportError as missing:
        print(f"{name} is left out: {missing}")
        return None


def member(points: Tensor, x: Tensor, eps: str, norm: str) -> Tensor:
    """Whether points lie in their balls but for rounding: others are not held to the last bit; bool (batch,)."""
    p = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    far = (points - x).double().flatten(1).norm(p, dim=1)
    return (far <= float(Fraction(eps)) * (1 + 1e-4)) & ((points >= 0) & (points <= 1)).flatten(1).all(1)


def rival_attacks(model: nn.Module, norm: str, eps: str) -> Iterator[tuple[str, Callable[[Tensor, Tensor], Tensor]]]:
    """AutoAttack by others: a function of samples and labels that gives points. Torchattacks' own takes a tenth of the
    standard's gradients, so that its attacks with the standard's are there too."""
    size, long = float(Fraction(eps)), {"linf": "Linf", "l2": "L2", "l1": "L1"}[norm]
    if (package := available("autoattack")) is not None:
        made = package.AutoAttack(model, norm=long, eps=size, version="standard", device="cpu", verbose=False)
        yield "autoattack", partial(made.run_standard_evaluation, bs=1000)
    if norm != "l1" and (package := available("torchattacks")) is not None:
        how = {"eps": size, "norm": long, "n_restarts": 1}
        yield "torchattacks, standard budgets", package.MultiAttack([
            package.APGD(model, steps=100, **how), package.APGDT(model, steps=100, n_classes=10, **how),
            package.FAB(model, steps=100, multi_targeted=True, n_classes=10, **how),
            package.Square(model, n_queries=5000, **how),
        ])
        yield "torchattacks, its own", package.AutoAttack(model, norm=long, eps=size, n_classes=10)


def show_accuracy(asked: argparse.Namespace) -> None:
    """AutoAttack with the standard budgets."""
    for (name, model, network, x, y, radii), norm in chosen(asked):
        ours, seconds = timed(partial(verify.attack, network, x, y, eps=radii[norm], norm=norm))
        print(f"{name:26} {norm:4} eps {radii[norm]:5} {len(x)} samples  verify {ours.robust_accuracy:7.2%} "
              f"{seconds:7.1f} s", flush=True)
        for tool, call in rival_attacks(model, norm, radii[norm]):
            points, theirs = timed(partial(call, x.clone(), y.clone()))
            fooled = (model(points).argmax(1) != y) & member(points, x, radii[norm], norm)
            print(f"{'':41} {tool:30} {float((~fooled).double().mean()):7.2%} {theirs:7.1f} s, ours in "
                  f"{seconds / theirs:.2f} of it", flush=True)


def rival_distances(model: nn.Module, norm: str) -> Iterator[tuple[str, Callable[[Tensor, Tensor], Tensor]]]:
    """Minimum-norm attacks by others, each a function of samples and labels that gives points."""
    if (package := available("foolbox")) is not None:
        attacks, there = package.attacks, package.PyTorchModel(model, bounds=(0, 1), device="cpu")
        kinds = {
            "linf": [attacks.LInfFMNAttack(steps=100), attacks.LinfDeepFoolAttack(steps=50)],
            "l2": [attacks.L2FMNAttack(steps=100), attacks.DDNAttack(steps=100), attacks.L2DeepFoolAttack(steps=50),
                   attacks.L2CarliniWagnerAttack(binary_search_steps=6, steps=100, stepsize=0.05)],
            "l1": [attacks.L1FMNAttack(steps=100), attacks.EADAttack(binary_search_steps=6, steps=100)],
        }
        for kind in kinds[norm]:
            yield f"foolbox {type(kind).__name__}", lambda x, y, kind=kind: kind(there, x, y, epsilons=None)[1]
    if (package := available("adv_lib.attacks")) is not None:
        p = {"linf": float("inf"), "l2": 2, "l1": 1}[norm]
        yield "adv-lib fmn", lambda x, y: package.fmn(model, x, y, norm=p, steps=100)
        if norm == "l2":
            yield "adv-lib ddn", lambda x, y: package.ddn(model, x, y, steps=100)
        fab = import_module("adv_lib.attacks.auto_pgd").minimal_apgd
        yield "adv-lib minimal apgd", lambda x, y: fab(
            model, x, y, norm=p, eps=1.0 if norm != "l1" else 20.0, binary_search_steps=10)


def show_distance(asked: argparse.Namespace) -> None:
    """Median and mean distance; a sample without a point counts as inf."""
    ours = {"linf": [verify.FMN(), verify.FMN(restarts=10), verify.DeepFool()],
            "l2": [verify.FMN(), verify.FMN(restarts=10), verify.DDN(), verify.DeepFool(), verify.CarliniWagner()],
            "l1": [verify.FMN(), verify.FMN(restarts=10), verify.DeepFool()]}
    for (name, model, network, x, y, _), norm in chosen(asked):
        rows = [mine(network, x, y, norm, method) for method in ours[norm]]
        for tool, call in rival_distances(model, norm):
            points, seconds = timed(partial(call, x.clone(), y.clone()))
            fooled = (model(points).argmax(1) != y) & ((points >= 0) & (points <= 1)).flatten(1).all(1)
            p = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
            far = (points - x).double().flatten(1).norm(p, dim=1)
            rows.append((tool, torch.where(fooled, far, torch.inf), seconds))
        for tool, far, seconds in rows:
            median, mean = far.sort().values[len(far) // 2], far[far.isfinite()].mean()
            print(f"{name:26} {norm:4} {len(x)} samples  {tool:32} median {median:.5f} mean {mean:.5f} "
                  f"{int(far.isfinite().sum()):4} found {seconds:6.1f} s", flush=True)


def mine(network: verify.Network, x: Tensor, y: Tensor, norm: str, method: MinimumNorm) -> tuple[str, Tensor, float]:
    """Name, distances and seconds of a method of ours."""
    found, seconds = timed(partial(verify.distance, network, x, y, norm=norm, method=method))
    return f"verify {method.name}", found.distance, seconds


PARTS = {"steps": show_steps, "resnet": show_resnet, "accuracy": show_accuracy, "distance": show_distance}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=PARTS)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--shared", type=Path, help="a folder with data/mnist and data/tutorial")
    parser.add_argument("--networks", nargs="*", help="by their names in the table; all without")
    parser.add_argument("--norms", nargs="*", default=[*EPS], choices=[*EPS])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")  # of the others
    for name in PARTS if arguments.part is None else [arguments.part]:
        PARTS[name](arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
