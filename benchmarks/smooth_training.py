"""Certified training of networks that bend: recipes of SiLU and of attention beside plain training of the same network.

    python benchmarks/smooth_training.py [RECIPE ...]

Each recipe is trained as it stands and once with the cross-entropy of the images in place of its loss. Of 200 test
images, in percent: classified (clean), held under PGD of 10 steps (attacked), verified at the recipe's eps by interval
bounds alone and by CROWN. Seconds are processor seconds of the training.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Generator, nn
from verify.models import digits

import verify
from verify.registry import METHODS
from verify.train.data import TrainingSamples, load_samples
from verify.train.evaluate import accuracies
from verify.train.live import Live
from verify.train.loop import Trainer
from verify.train.losses import Plain
from verify.train.parallel import Team
from verify.train.recipe import Recipe, find_recipe
from verify.train.run import build

RECIPES = ("digits-silu-interval", "digits-transformer-interval")
IMAGES = 200


def trained(recipe: Recipe) -> tuple[nn.Module, Live, float]:
    """The module, its graph, and the processor seconds that its training took."""
    samples, held, _ = load_samples(recipe.data, recipe.seed)
    module, example = build(recipe, samples)
    trainer = Trainer(recipe, Live(module, example), samples, held, Team())
    start = time.process_time()
    while trainer.epoch < recipe.schedule.epochs:
        trainer.run_epoch()
    return module.eval(), trainer.live, time.process_time() - start


def shares(recipe: Recipe, module: nn.Module, live: Live) -> Iterator[tuple[str, float]]:
    """What the trained network does with the test images, in percent."""
    x, y = digits("test")
    samples = TrainingSamples(x[:IMAGES], y[:IMAGES])
    found = accuracies(live.network(), samples, recipe.threat.threat, float(recipe.threat.exact),
                       Generator().manual_seed(0))
    yield from ((name, 100 * found[name]) for name in ("clean", "attacked"))
    problem = verify.robustness(verify.trace(module, x[:1]), samples.x, samples.y, eps=recipe.threat.eps)
    for name in ("interval", "crown"):
        verdicts = verify.solve(problem, METHODS[name].make(None)).verdicts
        yield name, 100 * verdicts.count(verify.Verdict.VERIFIED) / IMAGES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    for name in parser.parse_args().recipes:
        recipe = find_recipe(name)
        plain = replace(recipe, loss=Plain(), schedule=replace(recipe.schedule, anneal={}, ramp=0))
        for title, chosen in ((name, recipe), (f"{name}, plain loss", plain)):
            module, live, seconds = trained(chosen)
            with torch.no_grad():
                told = ", ".join(f"{what} {share:.1f}" for what, share in shares(chosen, module, live))
            print(f"{title}: eps {recipe.threat.eps}, {seconds:.0f} s, {told}", flush=True)


if __name__ == "__main__":
    main()
