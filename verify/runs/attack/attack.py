"""`attack`: samples of any model, attacked as one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter

import torch
from torch import Tensor

from verify.errors import InputError
from verify.goals import Aim
from verify.ir.graph import Network
from verify.ir.opaque.entry import Model, opaque
from verify.lower.auto_attack import AutoAttack
from verify.method import Method
from verify.problem import Problem, robustness
from verify.rationals import Number
from verify.registry import entry_of
from verify.runs.attack.doubts import are_probabilities, doubts, flat_places
from verify.runs.attack.result import AttackResult, joined
from verify.runs.attack.search import parts_of, search
from verify.sets import Ball
from verify.sets.norms import Norm

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
        x: (batch, *shape) float32 or float64, inside the clip, as the model takes it: put a normalisation in front of
            the model and not of the samples.
        y: (batch,) integer labels.
        eps: radius >= 0 in the units of x; a number or a string such as "8/255".
        norm, clip: of the balls, see `verify.robustness`.
        method: of `verify/lower/`, by default `verify.AutoAttack()`.
        target: a class or (batch,) classes: fooled is then where the target beats the label, and with `wins` where it
            beats every class. None for any wrong class.
        threshold: of a model with one output, see `verify.robustness`.
        time_limit: seconds for all samples together, or None; what was found by then is kept.

    Raises InputError for samples that do not fit, for a module that cannot be called, whose answers are random or are
    not one tensor, and for a method that bounds.
    """
    method = AutoAttack() if method is None else method
    entry = entry_of(method)
    if isinstance(method, type) or not isinstance(method, Method) or (entry is not None and entry.family != "lower"):
        raise InputError(f"attack takes an attack's value, not {method!r:.60}; write for example verify.PGD()")
    network = model if isinstance(model, Network) else opaque(model, x if isinstance(x, Tensor) else None)
    start, methods, found, clean, far = perf_counter(), parts_of(method), [], [], []
    by, flat, sums = list[str | None](), 0, True
    for problem in _batches(network, x, y, eps, norm, clip, target, wins, threshold):
        left = None if time_limit is None else max(0.0, time_limit - (perf_counter() - start))
        bracket, names, _ = search(problem, methods, left)
        assert bracket.witness is not None
        with torch.no_grad():
            center = problem.inputs.nominal()
            outputs = problem.network(center)
            open_ = (bracket.lower < 0).nonzero().flatten()
            flat += int(flat_places(problem.select(open_), methods).sum()) if len(open_) else 0
        sums = sums and are_probabilities(problem, outputs)
        clean.append(problem.spec.violation(center, outputs) < 0)
        far.append(_distance(problem, bracket.witness))
        found.append(bracket)
        by += names
    if not found:
        raise InputError("there are no samples; give at least one")
    whole = joined(found)
    told = doubts(methods, by, flat, int((whole.lower < 0).sum()), sums)
    return AttackResult(whole, torch.cat(clean), tuple(by), torch.cat(far), tuple(told))


def _batches(
    network: Network, x: Tensor, y: Tensor | Sequence[int], eps: Number, norm: str | Norm,
    clip: tuple[Number, Number] | None, target: Aim | None, wins: bool, threshold: Number | None,
) -> Iterator[Problem]:
    """The problems of all samples, in parts that fit into memory."""
    labels = torch.as_tensor(y)
    if labels.dim() != 1 or len(labels) != len(x):
        raise InputError(f"y has shape {tuple(labels.shape)}; expected ({len(x)},), one label for each sample of x")
    aims = None if target is None else torch.as_tensor(target)
    rows = network.outputs if aims is None or wins else 1
    size = max(1, min(MOST, ROWS // (rows * network.outputs)))
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        aim = aims if aims is None or aims.dim() == 0 else aims[part]
        yield robustness(network, x[part], labels[part], eps, norm, clip, aim, wins=wins, threshold=threshold)


def _distance(problem: Problem, points: Tensor) -> Tensor:
    """(batch,) float64, in the norm of the balls."""
    inputs = problem.inputs
    assert isinstance(inputs, Ball)
    return inputs.norm.measure((points.double() - inputs.center.double()).flatten(1))
