"""Training against the inner maximum: adversarial training from lower bounds, certified training from upper bounds.

    live.py       a module and its graph, bound to the module's own tensors
    losses/       what is minimised, each one small function of (network, x, y, eps)
    recipe.py     what a training is, as a TOML file; schedule.py, data.py, initialize.py are its parts
    loop.py       the steps; run.py the whole, from a recipe to measured files
"""

from verify.train.live import Live
from verify.train.recipe import Recipe, read_recipe
from verify.train.run import train

__all__ = ["Live", "Recipe", "read_recipe", "train"]
