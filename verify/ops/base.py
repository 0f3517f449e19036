"""What all operators share: the record type, the data that methods exchange, and the registry.

An op is a frozen record of facts. It belongs to one of a few families (affine, curve, maximum), and the family
tells five things from those facts: forward, interval, relax, encode, enclose. A method walks the graph and
uses these tellings; it never asks which op it has before it.

Conventions: every tensor starts with a batch axis; `p` is the tuple of a node's parameter tensors; shapes in
docstrings exclude nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from verify.ops.differentiation import Pull, differentiated

Parameters = tuple[Tensor, ...]


# units in the last place, of 1 at least, up to which an interval is one of a constant; in float64 intervals are rounded
# outward by what the sums of whole layers may lose
NARROW = {torch.float32: 64, torch.float64: 1 << 20}


class IntervalBounds(NamedTuple):
    """Elementwise bounds low <= value <= high, both (batch, *shape)."""

    low: Tensor
    high: Tensor

    @property
    def is_wide(self) -> Tensor:
        """Where the bounds are further apart than rounding makes those of a constant, or no numbers; bool. Nothing is
        won by splitting the others."""
        kind = torch.finfo(self.low.dtype)
        size = self.low.abs().maximum(self.high.abs()).clamp(1.0, kind.max)
        return ~(self.high - self.low <= NARROW.get(self.low.dtype, NARROW[torch.float32]) * kind.eps * size)

    def meet(self, other: IntervalBounds) -> IntervalBounds:
        """The intersection of two valid intervals; where rounding makes them cross, both ends of `self` stay."""
        low, high = self.low.maximum(other.low), self.high.minimum(other.high)
        crossed = low > high
        return IntervalBounds(self.low.where(crossed, low), self.high.where(crossed, high))


class Hinge(NamedTuple):
    """f(x) = slopes[0] x + intercepts[0] below it, and slopes[1] x + intercepts[1] above; all rational."""

    breakpoint: Fraction
    slopes: tuple[Fraction, Fraction]
    intercepts: tuple[Fraction, Fraction]


RECTIFIER = Hinge(Fraction(0), (Fraction(0), Fraction(1)), (Fraction(0), Fraction(0)))  # max(x, 0)


class Reach(NamedTuple):
    """What one place of a map (channels, height, width) reads of the argument's map: the places p * stride - padding +
    k * dilation for k < size, of all its channels; two numbers each."""

    size: tuple[int, ...]
    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)

    def of(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The extent that a window of this size reads."""
        axes = zip(size, self.size, self.stride, self.dilation, strict=True)
        return tuple((n - 1) * s + d * (k - 1) + 1 for n, k, s, d in axes)


PLACE = Reach((1, 1))  # the same place and no other


class Relaxation(ABC):
    """Linear functions of an op's argument x, one below and one above the op over a box:

        lower . x + lower_intercept <= f(x) <= upper . x + upper_intercept,    intercepts (batch, *output shape).
    """

    lower_intercept: Tensor
    upper_intercept: Tensor

    @property
    def terms(self) -> int:
        """At least the number of terms of each function, and of each entry of `pull`."""
        return 1

    @abstractmethod
    def select(self, index: Tensor) -> Relaxation:
        """The functions of the samples at these positions, index (n,) long."""

    @abstractmethod
    def linear(self, x: Tensor, is_upper: bool) -> Tensor:
        """lower . x or upper . x without intercepts; x (..., batch, *input shape) -> (..., batch, *output shape)."""

    @abstractmethod
    def absolute(self, x: Tensor, is_upper: bool) -> Tensor:
        """|lower| . x or |upper| . x, as `linear`."""

    @abstractmethod
    def pull(self, a: Tensor, owner: Tensor) -> Tensor:
        """The coefficients of x in rows a (rows, *output shape) that meet the upper function where a >= 0, else the
        lower one, of their samples owner (rows,) long; (rows, *input shape)."""

    def at(self, x: Tensor, sign: Tensor) -> Tensor:
        """The upper function at x where `sign` >= 0, else the lower one; x (batch, *input shape) -> (batch, *shape)."""
        above = self.linear(x, True) + self.upper_intercept
        return above.where(sign >= 0, self.linear(x, False) + self.lower_intercept)


def picked(values: Tensor, owner: Tensor) -> Tensor:
    """Each row's sample, values (batch, ...), owner (rows,) long; one sample is shared without a copy."""
    return values if values.shape[0] == 1 else values[owner]


@dataclass(frozen=True)
class Lines(Relaxation):
    """The relaxation of an elementwise op: lower_slope * x + lower_intercept <= f(x) <= upper_slope * x +
    upper_intercept at every place; all (batch, *shape)."""

    lower_slope: Tensor
    lower_intercept: Tensor
    upper_slope: Tensor
    upper_intercept: Tensor

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(lower slope, lower intercept, upper slope, upper intercept)."""
        return self.lower_slope, self.lower_intercept, self.upper_slope, self.upper_intercept

    def select(self, index: Tensor) -> Lines:
        return Lines(*(part[index] for part in self.parts))

    def linear(self, x: Tensor, is_upper: bool) -> Tensor:
        return x * (self.upper_slope if is_upper else self.lower_slope)

    def absolute(self, x: Tensor, is_upper: bool) -> Tensor:
        return x * (self.upper_slope if is_upper else self.lower_slope).abs()

    def pull(self, a: Tensor, owner: Tensor) -> Tensor:
        up = a.clamp(min=0)
        return up * picked(self.upper_slope, owner) + (a - up) * picked(self.lower_slope, owner)


class Op(ABC):
    """One operator of the IR. Subclasses are frozen dataclasses; parameters arrive as tensors, never live inside."""

    is_exact: bool = True  # whether `encode` with integrality describes the op exactly
    mixes: bool = True  # whether an output may depend on several inputs, or several outputs on one
    statistics: tuple[int, ...] = ()  # the parameters that are mean and variance of the argument's channels, if any
    refusal: str = ""  # of an op that can only be executed, why nothing can bound it

    @property
    def held(self) -> int | None:
        """Values of a sample, beside its output, that it keeps for a gradient; None where it takes samples one by one.
        """
        return 0

    @property
    def searched(self) -> Op:
        """What stands in its place while points are looked for; itself but for an op that can only be executed."""
        return self

    @property
    def hinge(self) -> Hinge | None:
        """The op, if it is elementwise and linear but for one breakpoint."""
        return None

    def reach(self, p: Parameters) -> Reach | None:
        """What one place of a map reads of each argument's map, the same at every place; None if that is not so, or
        where values are no maps (channels, height, width)."""
        return None

    def fits(self, given: Sequence[tuple[int, ...]], shape: tuple[int, ...]) -> bool:
        """Whether arguments of these shapes may give a value of this shape, all without batch; a graph refuses an op
        that does not fit. Only ops that state shapes of their own need to say more than True."""
        return True

    @abstractmethod
    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        """The op at points xs, each (batch, *input shape)."""

    def with_gradient(self, p: Parameters, *xs: Tensor) -> tuple[Tensor, Pull]:
        """y = `forward(p, *xs)`, detached, and what makes of a (batch, *output shape) the gradients of a . y in each of
        xs, None where y does not depend on one. By automatic differentiation, if an op knows nothing faster."""
        return differentiated(partial(self.forward, p), xs)

    @abstractmethod
    def interval(self, p: Parameters, *boxes: IntervalBounds) -> IntervalBounds:
        """Elementwise bounds of the op over boxes. Sound in real arithmetic; trusts float rounding."""

    @abstractmethod
    def encode(
        self, p: Parameters, model: Encoder, columns: Sequence[np.ndarray], boxes: Sequence[IntervalBounds]
    ) -> np.ndarray:
        """Adds rows and columns for one sample to a linear model; returns the output's column numbers (*shape).

        `columns` holds the column numbers of each input, `boxes` their bounds with a batch of 1.
        """

    @abstractmethod
    def enclose(self, p: Parameters, *xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Exact rational evaluation of one sample: object arrays (*input shape) -> (low, high) of (*shape)."""


class Nonlinear(Op):
    """An op of one argument that linear bounds relax, see `Relaxation`; elementwise, if it says no other. What reads
    several values reads them side by side, as one."""

    mixes = False
    encloses: bool = False  # whether `interval` is rounded outward by itself, each end by a share of its own size

    def reach(self, p: Parameters) -> Reach | None:
        return PLACE

    @property
    def linear_breakpoints(self) -> tuple[float, ...]:
        """Where pieces of a piecewise linear function meet."""
        return ()

    @property
    def decides(self) -> bool:
        """Whether a box that is no constant may be all that the relaxation needs of an entry (see `unstable`)."""
        return not self.mixes

    @abstractmethod
    def relax(self, p: Parameters, box: IntervalBounds) -> Relaxation:
        """Linear functions that bound the op over boxes (batch, *input shape): `Lines`, if it does not mix."""

    def nearer(self, p: Parameters, box: IntervalBounds, relaxation: Relaxation, at: Tensor, step: float) -> Relaxation:
        """A relaxation over the box whose free numbers lie a share `step` of the way from those of the one given to
        those that are closest to the op at the points `at` (batch, *input shape); by default the one given."""
        return relaxation

    @abstractmethod
    def unstable(self, p: Parameters, box: IntervalBounds) -> Tensor:
        """The entries of the input on whose bounds the relaxation depends, all others being decided; bool, box's
        shape."""

    def linear_on(self, p: Parameters, box: IntervalBounds) -> tuple[Tensor, Tensor]:
        """The entries of the input on which an elementwise op is one and the same line over all boxes of the batch, and
        its slope there; (*input shape), bool and float. By default none is known to be."""
        return torch.zeros_like(box.low[0], dtype=torch.bool), torch.zeros_like(box.low[0])

    def reached(self, p: Parameters, marked: Tensor) -> Tensor:
        """The entries of the output that depend on marked ones of the input, bool; by default those at their places."""
        return marked

    @abstractmethod
    def amplified(self, p: Parameters, box: IntervalBounds, error: Tensor) -> Tensor:
        """At least what errors (batch, *input shape) of the input change of the op, or of its relaxation, over the box
        and over parts of it; (batch, *output shape)."""

    @abstractmethod
    def rounding(self, p: Parameters, box: IntervalBounds, unit: float) -> Tensor | float:
        """How far `forward` may be from the op over the box, where a rounding changes a number by a share `unit` of it;
        (batch, *output shape), or one number for all."""

    @abstractmethod
    def perturbed(self, p: Parameters, x: Tensor, error: Tensor, unit: float) -> tuple[Tensor, Tensor]:
        """A value near the op's at all points at most `error` away from x, and a bound on the distance, for sums of a
        few numbers each of which rounding changes by a share `unit`; x and error (batch, *input shape)."""


class Encoder(ABC):
    """What `encode` writes to: a linear model with columns and two-sided rows (see verify.solvers.model)."""

    @abstractmethod
    def add_columns(self, low: np.ndarray, high: np.ndarray, integer: bool = False) -> np.ndarray:
        """New columns with these bounds; returns their numbers in the shape of `low`."""

    @abstractmethod
    def add_rows(self, terms: Sequence[tuple[object, np.ndarray]], low: np.ndarray, high: np.ndarray) -> None:
        """Rows low <= sum over terms of A x <= high. A term is (A, columns), A a scipy sparse matrix (rows, n) over n
        columns, or a vector (rows,) meaning a diagonal matrix."""


class Example(NamedTuple):
    """An instance of an op for the law suite: the op, its parameters, and the shapes of its inputs."""

    op: Op
    parameters: Parameters
    shapes: tuple[tuple[int, ...], ...]


AnyOp = TypeVar("AnyOp", bound=Op)

REGISTRY: dict[str, tuple[type[Op], Callable[[], list[Example]]]] = {}


def register(examples: Callable[[Callable[..., Op]], list[Example]]) -> Callable[[type[AnyOp]], type[AnyOp]]:
    """Class decorator: names an op for the law suite. `examples` takes the class and returns instances of it.

    Raises TypeError where `examples` is no function, ValueError where the class's name is taken.
    """

    def add(cls: type[AnyOp]) -> type[AnyOp]:
        if not callable(examples):
            raise TypeError(f"op {cls.__name__} needs a function that returns its examples; pass it to @register")
        if cls.__name__ in REGISTRY:
            raise ValueError(f"op {cls.__name__} is registered twice; give one of the classes another name")
        REGISTRY[cls.__name__] = (cls, partial(examples, cls))
        return cls

    return add
