"""The inner maximum of one image, attacked, bounded and solved exactly for each target class.

Follows the chapter on the inner maximisation of the tutorial "Adversarial Robustness: Theory and Practice" (Kolter and
Madry). For a target t the figure is the minimum over the ball of (logit of the label - logit of t), that is -v*; the
image is robust where all are positive. By default a bundled network on bundled digits; with the tutorial's own network
(safetensors) and the MNIST test images (IDX), whose published minima are 5.810, 10.836, 2.0393, 0.01887, 13.528,
5.146, 20.454, 3.543, 4.274 for t = 0 to 6, 8, 9:

    python examples/tutorial_inner_maximum.py
    python examples/tutorial_inner_maximum.py model_small.safetensors t10k-images-idx3-ubyte.gz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

import verify
from verify.data import load_data

CHEAP = verify.Interval(), verify.CROWN(), verify.LP()
# The published minima are those of the ball met with the range of the pixels: without it, t = 3 gives -3.06.
CLIP = (0, 1)


def tutorial_network(weights: Path) -> verify.Network:
    """Flatten, 784-50-20-10 with ReLU."""
    layers = nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 20), nn.ReLU(), nn.Linear(20, 10)
    module = nn.Sequential(nn.Flatten(), *layers)
    module.load_state_dict(load_file(weights))
    return verify.trace(module, torch.zeros(1, 1, 28, 28))


def main() -> None:
    parser = argparse.ArgumentParser(description="Attack, bound and solve the inner maximum of the first image.")
    parser.add_argument("weights", type=Path, nargs="?", help="model_small.safetensors")
    parser.add_argument("images", nargs="?", help="t10k-images-idx3-ubyte.gz, with the labels file beside it")
    parser.add_argument("--eps", default="0.05", help="Linf radius")
    parser.add_argument("--targets", type=int, nargs="+", help="classes; by default all but the label")
    arguments = parser.parse_args()
    if (arguments.weights is None) != (arguments.images is None):
        parser.error("give the weights and the images, or neither")

    own = arguments.weights is not None
    network = tutorial_network(arguments.weights) if own else verify.load("digits-dense-plain")
    data = load_data(arguments.images if own else "digits", limit=1)
    label = int(data.y[0])
    print(f"a {label}, Linf eps {arguments.eps}, pixels in [0, 1]: minimum of logit {label} - logit t\n")
    print(f"{'t':>2}{'Interval':>11}{'CROWN':>10}{'LP':>10} {'<= minimum (MILP)':>18} {'<= PGD':>10}{'seconds':>9}")

    for target in arguments.targets or [t for t in range(network.outputs) if t != label]:
        problem = verify.robustness(network, data.x, data.y, arguments.eps, "linf", CLIP, target)
        attack = verify.solve(problem, verify.PGD(restarts=3, stop_when_falsified=False))
        bounds = "".join(f"{-verify.solve(problem, method).upper.item():10.4f}" for method in CHEAP)
        exact = verify.solve(problem, verify.MILP())
        exact.meet(attack)  # raises Contradiction if the attack went beyond the exact maximum
        found = f"{-exact.upper.item():18.5f} {-attack.lower.item():10.4f}"
        print(f"{target:2} {bounds} {found}{exact.notes['seconds']:9.2f}")


if __name__ == "__main__":
    main()
