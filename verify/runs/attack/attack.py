"""`attack`: samples of any model, attacked as one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor

from verify.bracket import Bracket
from verify.errors import InputError
from verify.given import given
from verify.goals import Aim
from verify.ir.graph import Network
from verify.ir.opaque.entry import Model
from verify.labels import classes_of
from verify.lower.auto_attack import AutoAttack
from verify.method import Method
from verify.problem import Problem, labels_of, robustness
from verify.rationals import Number
from verify.registry import entry_of
from verify.runs.attack.doubts import Seen, doubts, seen
from verify.runs.attack.result import AttackResult, joined
from verify.runs.attack.search import parts_of, search
from verify.sets.norms import Norm
from verify.spec import Specification, margins

MOST = 1000  # samples that are attacked together,
ROWS = 1 << 26  # and coefficients of their specifications


def attack(
    model: Network | Model,
    x: Tensor,
    y: Tensor | Sequence[int],
    *,
    eps: Number,
    norm: str | Norm = "linf",
    clip: tuple[Number, Number] | None = (0, 1),
    method: Method | None = None,
    target: Aim | None = None,
    wins: bool = False,
    threshold: Number | None = None,
    grid: int | None = None,
    time_limit: float | None = None,
) -> AttackResult:
    """Looks for a point in the ball around each sample that fools the model.

    Every point that counts lies in its ball, as decided in rationals, and was given to the model again, one sample at a
    time. Points that were found on a network are replayed as `verify.solve` replays them.

    Args:
        model: a torch module on any device, of which a copy in eval mode is attacked, in batches where it gives the
            same for samples in a batch; a network of `verify.load` or `verify.trace`; or what `verify.opaque` takes
            besides: an ONNX file, an onnxruntime session, another callable. Where there is no gradient, only methods
            such as `verify.Square` find anything; `verify.AutoAttack` ends with it.
        x: (batch, *shape) float32 or float64, a tensor or an array, inside the clip, as the model takes it: put a
            normalisation in front of the model and not of the samples.
        y: (batch,) integer labels.
        eps: radius >= 0 in the units of x; a number or a string such as "8/255".
        norm, clip: of the balls, see `verify.robustness`.
        method: of `verify/lower/`, by default `verify.AutoAttack()`.
        target: a class or (batch,) classes: fooled is then where the target is reached, which means that it beats the
            label, and with `wins` that it beats every class. None for any wrong class.
        threshold: of a model with one output, see `verify.robustness`.
        grid: 255 for points that are images of 8 bits, see `verify.robustness`.
        time_limit: seconds for all samples together, or None; what was found by then is kept.

    Raises InputError for samples that do not fit, for a module that cannot be called, whose answers are random or are
    not one tensor of real numbers, and for a method that bounds.
    """
    methods, (network, x) = _asked(method), given(model, x)
    labels, aims = labels_of(y, len(x)), None if target is None else torch.as_tensor(target)
    if network.outputs > 1:
        classes_of(labels, network.outputs, aims)
    start, parts = perf_counter(), list[_Attacked]()
    for part in _slices(network.outputs, len(x), network.outputs if aims is None or wins else 1):
        aim = aims if aims is None or aims.dim() == 0 else aims[part]
        problem = robustness(
            network, x[part], labels[part], eps, norm, clip, aim, wins=wins, threshold=threshold, grid=grid)
        right = problem.spec if aims is None else margins(labels[part].to(network.device), network.outputs,
                                                          dtype=network.dtype)
        left = None if time_limit is None else max(0.0, time_limit - (perf_counter() - start))
        parts.append(_attacked(problem, right, methods, left))
    by = [name for part in parts for name in part.by]
    return AttackResult(
        joined([part.bracket for part in parts]), torch.cat([part.clean for part in parts]), tuple(by),
        torch.cat([part.distance for part in parts]),
        tuple(doubts(methods, by, sum((part.seen for part in parts), Seen()))), is_aimed=aims is not None,
    )


def _asked(method: Method | None) -> tuple[Method, ...]:
    """The attacks that a method consists of. Raises InputError for what is none."""
    method = AutoAttack() if method is None else method
    entry = entry_of(method)
    if isinstance(method, type) or not isinstance(method, Method) or (entry is not None and entry.family != "lower"):
        raise InputError(f"attack takes an attack's value, not {method!r:.60}; write for example verify.PGD()")
    return parts_of(method)


class _Attacked(NamedTuple):
    """What was found for samples that were attacked together."""

    bracket: Bracket
    by: tuple[str | None, ...]
    clean: Tensor
    distance: Tensor
    seen: Seen


def _attacked(problem: Problem, right: Specification, methods: Sequence[Method], time_limit: float | None) -> _Attacked:
    """The samples of a problem after the attacks; those are right as they are that do not violate `right`."""
    bracket, by, _ = search(problem, methods, time_limit)
    center = problem.inputs.nominal()
    assert bracket.witness is not None
    with torch.no_grad():
        outputs = problem.network(center)
        clean = right.violation(center, outputs) < 0
        what = seen(problem, outputs, bracket.lower < 0, methods)
    far = problem.inputs.distance(bracket.witness)
    assert far is not None
    return _Attacked(bracket, by, clean, far, what)


def _slices(outputs: int, samples: int, rows: int) -> Iterator[slice]:
    """Parts of so many samples, with so many rows each, that fit into memory."""
    size = max(1, min(MOST, ROWS // (rows * outputs)))
    for start in range(0, samples, size):
        yield slice(start, start + size)
