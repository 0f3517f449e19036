"""Certified training in your own loop: a plain network and one trained on interval bounds, certified side by side.

    python examples/certified_training.py --eps 1/10

Both learn from the same handwritten digits. The second minimises an upper bound of its worst loss over all images of
the ball, whose radius grows during the training. `verify train RECIPE` does the same from a file.
"""

from __future__ import annotations

import argparse
from fractions import Fraction

import torch
from torch import Generator, Tensor, nn

import verify
from verify.data import load_data
from verify.train import Live
from verify.train.losses import IntervalLoss, Loss, Plain

METHODS = (verify.PGD(steps=40, restarts=3), verify.Interval(), verify.CROWN())


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 50), nn.ReLU(), nn.Linear(50, 10),
    )


def train(module: nn.Module, loss: Loss, x: Tensor, y: Tensor, eps: float, epochs: int, seed: int) -> None:
    """Adam on batches of 64; the radius grows to eps over the first half."""
    live, noise = Live(module, x), Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
    for epoch in range(epochs):
        radius = eps * min(1.0, 2 * epoch / epochs)
        for index in torch.randperm(len(x), generator=noise).split(64):
            optimizer.zero_grad()
            net = live.on_batch(x[index])  # the graph over the module's own tensors
            loss(net, x[index], y[index], radius, noise).backward()
            optimizer.step()


def certify(module: nn.Module, x: Tensor, y: Tensor, eps: str) -> list[float]:
    """Percentages: clean, under attack, verified by interval bounds, verified by linear bounds."""
    net = verify.trace(module, x)
    problem = verify.robustness(net, x, y, eps)
    shares = [100 * float((net(x).argmax(1) == y).float().mean())]
    bracket = None
    for method in METHODS:
        found = verify.solve(problem, method)
        bracket = found if bracket is None else bracket.meet(found)  # raises Contradiction if an attack beats a bound
        held = bracket.lower < 0 if method is METHODS[0] else bracket.upper < 0
        shares.append(100 * float(held.float().mean()))
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and certify two networks.")
    parser.add_argument("--eps", default="1/10", help="Linf radius in units of the pixels, which are in [0, 1]")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--samples", type=int, default=200, help="test images to certify")
    arguments = parser.parse_args()
    data, test = load_data("digits", split="train"), load_data("digits", arguments.samples)
    print(f"{'trained on':18} {'clean':>7} {'attacked':>9} {'interval':>9} {'CROWN':>7}   % of {len(test.x)} images")
    for name, loss in (("clean images", Plain()), ("interval bounds", IntervalLoss(clean=0.3))):
        module = network(seed=0)
        train(module, loss, data.x, data.y, float(Fraction(arguments.eps)), arguments.epochs, seed=0)
        clean, attacked, interval, crown = certify(module, test.x, test.y, arguments.eps)
        print(f"{name:18} {clean:7.1f} {attacked:9.1f} {interval:9.1f} {crown:7.1f}")


if __name__ == "__main__":
    main()
