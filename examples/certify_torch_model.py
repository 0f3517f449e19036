"""Certify a torch module of your own: train it, trace it, and enclose its robust accuracy from both sides.

    python examples/certify_torch_model.py --eps 1/20

The network learns for a moment on some of the bundled handwritten digits and is asked about others. An attack gives an
upper bound on the robust accuracy, interval and linear bounds give lower ones.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

import verify
from verify.data import load_data


class SmallNet(nn.Module):
    """A network with a skip connection; any module that torch.export can follow will do."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.second = nn.Linear(64, 64)
        self.last = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x)).flatten(1)
        return self.last(x + torch.relu(self.second(x)))


def train(module: nn.Module, x: Tensor, y: Tensor, steps: int) -> None:
    """Full batches, Adam, a little noise."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(module(x + 0.1 * torch.randn_like(x)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train, trace and certify a small torch module.")
    parser.add_argument("--eps", default="1/20", help="Linf radius in units of the pixels, which are in [0, 1]")
    parser.add_argument("--samples", type=int, default=50, help="digits to certify; those left of 500 train")
    parser.add_argument("--steps", type=int, default=100, help="steps of the training")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    data = load_data("digits")
    n = arguments.samples
    x, y = data.x[:n], data.y[:n]
    module = SmallNet()
    train(module, data.x[n:], data.y[n:], arguments.steps)

    network = verify.trace(module, x)
    problem = verify.robustness(network, x, y, eps=arguments.eps, norm="linf", clip=(0, 1))
    right = int((network(x).argmax(1) == y).sum())
    print(f"clean accuracy           {right / n:6.1%}")

    attacked = verify.solve(problem, verify.PGD(steps=40, restarts=3))
    stands = n - attacked.verdicts.count(verify.Verdict.FALSIFIED)
    print(f"accuracy under attack    {stands / n:6.1%}   {attacked.notes['seconds']:.2f} s")

    for method in (verify.Interval(), verify.CROWN()):
        bracket = attacked.meet(verify.solve(problem, method))  # raises Contradiction if bound and attack disagree
        verified = bracket.verdicts.count(verify.Verdict.VERIFIED)
        print(f"verified by {method.name:12} {verified / n:6.1%}   {bracket.notes['seconds']:.2f} s")


if __name__ == "__main__":
    main()
