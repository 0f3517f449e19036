"""Reference networks and data that come with the package. Importing this is cheap: torch loads on first use."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from verify.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
RECIPES, WEIGHTS = HERE / "recipes", HERE / "weights"
SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28)}  # of one image, by the name of the data in a recipe
SPLITS = {"train": slice(None, 1297), "test": slice(1297, None)}


def bundled() -> tuple[str, ...]:
    """Names of the bundled networks: the recipes that have weights beside them."""
    names = sorted(path.stem for path in RECIPES.glob("*.toml"))
    return tuple(name for name in names if (WEIGHTS / f"{name}.safetensors").is_file())


def build(name: str) -> tuple[nn.Module, Tensor]:
    """A bundled network in eval mode with its trained weights, and an example input, zeros (1, *shape).

    The recipe of that name says what the network is. Raises InputError for a name that `bundled` does not list.
    """
    if name not in bundled():
        raise InputError(f"there is no bundled network {name!r}; choose one of {', '.join(bundled())}")
    import torch
    from safetensors.torch import load_file
    from verify.models.architectures import make, normalized

    recipe = tomllib.loads((RECIPES / f"{name}.toml").read_text(encoding="utf-8"))
    model, shape = recipe["model"], SHAPES[recipe["data"]["train"]]
    module = make(model["network"], shape, model.get("outputs", 10), **model.get("options", {}))
    if "mean" in model:
        module = normalized(module, model["mean"], model["std"])
    module.load_state_dict(load_file(WEIGHTS / f"{name}.safetensors"))
    return module.eval(), torch.zeros(1, *shape)


def digits(split: str = "test") -> tuple[Tensor, Tensor]:
    """The handwritten digits: x (n, 1, 8, 8) float32 in [0, 1] (exactly value / 16) and y (n,) int64.

    `split` is "train" (the first 1,297 images) or "test" (the last 500); another raises InputError. Source, licence and
    what the split means: models/data/README.md.
    """
    if split not in SPLITS:
        raise InputError(f"there is no split {split!r} of the digits; choose one of {', '.join(SPLITS)}")
    import numpy as np
    import torch

    with np.load(HERE / "data" / "digits.npz") as arrays:
        images, labels = arrays["images"][SPLITS[split]], arrays["labels"][SPLITS[split]]
    return torch.from_numpy(images).unsqueeze(1).float() / 16, torch.from_numpy(labels).long()
