"""Recipes: what to train, on what, against which threat, by which loss; TOML files, read strictly.

    [model]     network = "dm-small"                 [data]      train = "digits"
    [threat]    eps = "0.1"                          [loss]      name = "interval"
    [schedule]  epochs = 60, batch = 128, ramp = 20  [optimizer] rate = 5e-4
    [penalty]   factor = 1e-6, norm = "l1"           [certify]   methods = "interval,pgd,crown,bab"

Every table is one of the dataclasses below, whose fields are its keys; whatever is not one of them is an error.
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from verify.errors import InputError
from verify.models import RECIPES
from verify.rationals import rational
from verify.registry import default_methods
from verify.runs.options import entries_of
from verify.sets.norms import norm_of, penalty_norm_of
from verify.train.losses import LOSSES, Loss, Threat
from verify.train.schedule import Schedule
from verify.train.tables import filled


@dataclass(frozen=True)
class Model:
    """What is trained.

    Args:
        network: an architecture of `verify.models.architectures`, or package.module:factory as for `verify certify`.
        options: of the architecture, such as {batch_norm = true}.
        outputs: number of classes; 1 for two classes told apart by one logit, or by a sigmoid at the end.
        threshold: of one output; class 1 is predicted above it, by default above 0 of a logit, 1/2 of a sigmoid.
        initialisation: "default", torch's own, or "ibp", which keeps interval bounds stable through the layers.
        mean, std: a normalisation that becomes the first layer; one number, or one for each channel.
    """

    network: str
    options: dict[str, Any] = field(default_factory=dict)
    outputs: int = 10
    threshold: str | None = None
    initialisation: str = "default"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if ":" in self.network and self.options:
            raise InputError(f"options are for architectures; {self.network} makes its network by itself")
        if self.initialisation not in ("default", "ibp"):
            raise InputError(f"initialisation is {self.initialisation!r}; choose default or ibp")
        if len(self.mean) != len(self.std) or any(s <= 0 for s in self.std):
            raise InputError("mean and std must have one number each, or one for each channel, with positive std")
        if self.threshold is not None:
            rational(self.threshold, "threshold")


@dataclass(frozen=True)
class Data:
    """Where samples come from.

    Args:
        train: a source of `verify.data.load_data`; of a bundled name or a folder like MNIST's, its training part.
        test: another source; by default the test part of `train`.
        validation: number of training samples that are held out, for the figures during training.
        flip: mirror images left to right, at random.
        crop: shift images by up to this many pixels, at random, filling with `fill`.
    """

    train: str
    test: str | None = None
    validation: int = 0
    flip: bool = False
    crop: int = 0
    fill: float = 0.0

    def __post_init__(self) -> None:
        if self.validation < 0 or self.crop < 0:
            raise InputError(f"validation is {self.validation}, crop {self.crop}; both must be at least 0")


@dataclass(frozen=True)
class TrainingThreat:
    """The threat that is certified, and the radius that is trained against where it is another one."""

    eps: str
    train_eps: str | None = None
    norm: str = "linf"
    clip: tuple[float, ...] | None = (0, 1)

    def __post_init__(self) -> None:
        if self.exact < 0 or self.trained < 0:
            raise InputError("a radius is negative; eps must be at least 0")
        norm_of(self.norm)
        if self.clip is not None and (len(self.clip) not in (0, 2) or list(self.clip) != sorted(self.clip)):
            raise InputError(f"clip is {list(self.clip)}; write [low, high], or [] for none")

    @property
    def exact(self) -> Fraction:
        return rational(self.eps, "eps")

    @property
    def trained(self) -> float:
        try:
            return float(rational(self.train_eps or self.eps, "train_eps"))
        except OverflowError:
            raise InputError("a radius is beyond the largest float; eps is in units of the inputs") from None

    @property
    def threat(self) -> Threat:
        return Threat(self.norm, (self.clip[0], self.clip[1]) if self.clip else None)


@dataclass(frozen=True)
class Optimizer:
    """How weights move.

    Args:
        name: "adam" or "sgd".
        rate: learning rate; momentum (SGD) and weight_decay as torch has them.
        milestones: epochs after which the rate is multiplied by `factor`; or, without any, `cosine`: down to 0.
        clip: largest norm of a step's gradient; 0 for none.
        average: decay of an exponential moving average of the weights, which is then what is kept; 0 for none.
    """

    name: str = "adam"
    rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    milestones: tuple[int, ...] = ()
    factor: float = 0.1
    cosine: bool = False
    clip: float = 0.0
    average: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in ("adam", "sgd"):
            raise InputError(f"unknown optimizer {self.name!r}; choose adam or sgd")
        if self.rate <= 0 or self.factor <= 0 or not 0 <= self.average < 1:
            raise InputError("rate and factor must be positive, and average from 0 to below 1")
        if min(self.clip, self.momentum, self.weight_decay) < 0:
            raise InputError("clip, momentum and weight_decay must be at least 0")
        if self.cosine and self.milestones:
            raise InputError("the optimizer has milestones and cosine; choose one of them")


@dataclass(frozen=True)
class Penalty:
    """factor * ||theta||, added to the loss: eps1 ||theta||_s of the notes; norm is the name of one."""

    factor: float = 0.0
    norm: str = "l1"

    def __post_init__(self) -> None:
        penalty_norm_of(self.norm)
        if self.factor < 0:
            raise InputError(f"a penalty needs a factor of at least 0, not {self.factor:g}")


@dataclass(frozen=True)
class Certification:
    """How the result is measured on the test data: methods and seconds as for `verify certify`, 0 samples for all."""

    methods: str = default_methods("train")
    limit: int = 0
    timeout: float = 2.0

    def __post_init__(self) -> None:
        entries_of(self.methods)
        if self.limit < 0 or self.timeout <= 0:
            raise InputError(f"limit is {self.limit}, timeout {self.timeout:g}; give at least 0 samples, and some time")


@dataclass(frozen=True)
class Recipe:
    """A whole recipe. `seed` fixes initial weights, order of samples, augmentation and attacks."""

    model: Model
    data: Data
    threat: TrainingThreat
    loss: Loss
    schedule: Schedule
    optimizer: Optimizer = Optimizer()
    penalty: Penalty = Penalty()
    certify: Certification = Certification()
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 32:
            raise InputError(f"seed is {self.seed} but must be from 0 to below 2^32")

    @property
    def config(self) -> dict[str, Any]:
        """Everything that fixes the result, as JSON values."""
        names = {kind: name for name, kind in LOSSES.items()}
        return {**asdict(self), "loss": {"name": names[type(self.loss)], **asdict(self.loss)}}


def read_recipe(path: Path | str) -> Recipe:
    """The recipe in a TOML file. Raises InputError, naming the key, for what is unknown, missing or out of range."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no recipe {path}; check the path")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise InputError(f"{path} is not a TOML file ({problem}); mend it") from None
    return recipe_of(tables, path.name)


def find_recipe(name: Path | str) -> Recipe:
    """The recipe in a file, or the one of this name that comes with the package. Raises InputError for neither."""
    path = Path(name)
    if path.is_file() or path.suffix == ".toml":
        return read_recipe(path)
    known = sorted(file.stem for file in RECIPES.glob("*.toml"))
    if str(name) not in known:
        raise InputError(f"there is no recipe {name}: neither a .toml file nor one of {', '.join(known)}")
    return read_recipe(RECIPES / f"{name}.toml")


def with_data(recipe: Recipe, train: str | None, test: str | None) -> Recipe:
    """The recipe with other sources of data, where they are given; a new source of both parts replaces both."""
    if train is not None:
        recipe = replace(recipe, data=replace(recipe.data, train=train, test=test))
    return recipe if test is None else replace(recipe, data=replace(recipe.data, test=test))


def with_threshold(recipe: Recipe, threshold: str | None) -> Recipe:
    """The recipe with another threshold, where one is given."""
    return recipe if threshold is None else replace(recipe, model=replace(recipe.model, threshold=threshold))


def recipe_of(tables: dict[str, Any], where: str) -> Recipe:
    """The recipe in nested dictionaries, as TOML gives them; `where` is named in errors."""
    given = dict(tables)
    loss = given.pop("loss", None)
    if not isinstance(loss, dict) or loss.get("name") not in list(LOSSES):
        given_name = f", not {loss['name']!r}" if isinstance(loss, dict) and "name" in loss else ""
        raise InputError(f"{where} needs a table [loss] with a name among {', '.join(LOSSES)}{given_name}")
    kind, rest = LOSSES[loss["name"]], {key: value for key, value in loss.items() if key != "name"}
    if "threat" in rest:
        raise InputError(f"{where} has loss.threat; write the norm and clip in the table [threat]")
    threat = filled(TrainingThreat, given.get("threat", {}), f"{where}: threat").threat
    read = {"loss": filled(kind, rest, f"{where}: loss", threat=threat)}
    recipe = filled(Recipe, given, where, **read)
    try:
        recipe.schedule.check(recipe.loss)
    except InputError as problem:
        raise InputError(f"{where}: {problem}") from None
    return recipe
