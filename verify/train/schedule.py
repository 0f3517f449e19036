"""How the radius and the weights of a loss move during training."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, cast

from verify.errors import InputError
from verify.train.losses import Loss

BEND = 0.25  # part of the smooth ramp that is not yet linear


@dataclass(frozen=True)
class Schedule:
    """Epochs, and what changes over them.

    For `warmup` epochs the radius is 0; over the next `ramp` epochs it grows to the trained one, and the fields of the
    loss that `anneal` names move from their first to their second value at the same pace.

    Args:
        epochs, batch: length of the training, samples of a step.
        warmup, ramp: in epochs, which may be fractions.
        shape: "linear", or "smooth", which starts like the fourth power and becomes linear.
        anneal: {field = [from, to]}, such as {clean = [1.0, 0.5], "regularizer.weight" = [0.5, 0.0]}.
    """

    epochs: int
    batch: int = 128
    warmup: float = 0.0
    ramp: float = 0.0
    shape: str = "linear"
    anneal: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise InputError(f"epochs is {self.epochs} and batch {self.batch}; both must be at least 1")
        if self.warmup < 0 or self.ramp < 0 or self.warmup + self.ramp > self.epochs:
            raise InputError("warmup and ramp must be at least 0 and end before the training does")
        if self.shape not in ("linear", "smooth"):
            raise InputError(f"unknown shape {self.shape!r}; choose linear or smooth")

    def check(self, loss: Loss) -> None:
        """Raises InputError where `anneal` names what is no number of this loss."""
        for path, (start, end) in self.anneal.items():
            for value in (start, end):
                _with(loss, path, value)

    def share(self, epoch: float) -> float:
        """How far the ramp has come, from 0 to 1, at a time in epochs."""
        past = max(0.0, epoch - self.warmup)
        done = 1.0 if epoch >= self.warmup + self.ramp else past / (self.ramp or 1.0)
        return done if self.shape == "linear" else smooth(done)

    def loss(self, loss: Loss, epoch: float) -> Loss:
        """The loss with its annealed fields as they are at that time."""
        share = self.share(epoch)
        for path, (start, end) in self.anneal.items():
            loss = _with(loss, path, start + share * (end - start))
        return loss


def smooth(share: float) -> float:
    """A share in [0, 1] bent at the start: a multiple of its fourth power up to BEND, then the tangent there."""
    scale = 1 / (BEND**4 + 4 * BEND**3 * (1 - BEND))
    return scale * (share**4 if share < BEND else BEND**4 + 4 * BEND**3 * (share - BEND))


def _with(value: Any, path: str, number: float) -> Any:
    """A dataclass with the number at a dotted path replaced."""
    name, _, rest = path.partition(".")
    numbers = {f.name: getattr(value, f.name) for f in fields(value)} if is_dataclass(value) else {}
    if name not in numbers or (not rest and not isinstance(numbers[name], float)):
        raise InputError(f"schedule.anneal names {path!r}, which is no number of the loss {type(value).__name__}")
    return replace(cast(Loss, value), **{name: _with(numbers[name], rest, number) if rest else number})
