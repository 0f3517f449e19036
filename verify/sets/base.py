"""What every set of allowed inputs offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from verify.errors import InputError, UnsupportedMethod
from verify.rationals import exact_array

if TYPE_CHECKING:
    from verify.sets.samples import Samples

PINNED = 2.0  # units in the last place between the ends of a coordinate that is one number


class Round(NamedTuple):
    """{x : ||x - center||_2 <= radius}, and ||x - center||_1 <= radius too if it is `taxicab`; center (size,)."""

    center: Tensor
    radius: float
    taxicab: bool


class SplitEnds(NamedTuple):
    """The parts of ranges (n, inputs): the end of each lower part, a point between both, which lies strictly within a
    range that can be halved and in no other, and the start of each upper part."""

    end: Tensor
    point: Tensor
    start: Tensor


class InputSet(ABC):
    """A batch of bounded sets X_1 .. X_batch of inputs of one shape, convex but for grids (`levels`).

    The set is written in rationals (X_R). `low` and `high` are the outward rounded box hull, which contains both X_R
    and the set of its members rounded to float (X_F), since rounding is monotone. A float point is a member if it lies
    in X_R; a coordinate in whose range there is no float (low == high == 1/10) is represented by a rounded one, its
    member of X_F.
    """

    low: Tensor  # (batch, *shape)
    high: Tensor  # (batch, *shape)
    trusts: str = ""  # what the support function rests on besides float rounding, as the end of a list

    @property
    def batch(self) -> int:
        return self.low.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.low.shape[1:])

    @property
    def levels(self) -> int | None:
        """Of a set that holds no points but those whose coordinates are whole multiples of 1 / levels; else None."""
        return None

    @property
    def is_box(self) -> bool:
        """Whether the hull is the smallest convex set around it, so that coordinates vary independently."""
        return False

    @property
    def continuous(self) -> InputSet:
        """The convex set in which searches by gradients move: by default the set itself."""
        return self

    def settled(self, x: Tensor) -> Tensor:
        """The points at which a search that moves in the continuous set looks at the network: by default x itself, of a
        grid the nearest members; x (batch, *shape) -> same."""
        return x

    @property
    def facts(self) -> tuple[Any, ...]:
        """What tells the sets from others with the same hull: tensors (batch, ...), and values that all of them share.
        """
        return ()

    @property
    def varies(self) -> Tensor:
        """The coordinates that are more than one number: their ends differ by more than the outward rounding of one
        (0.1) may make them; bool (batch, *shape). All others are constants, which nobody splits."""
        size = self.low.abs().maximum(self.high.abs())
        return self.high - self.low > PINNED * (torch.nextafter(size, torch.full_like(size, torch.inf)) - size)

    @abstractmethod
    def support(self, a: Tensor) -> Tensor:
        """max over x in X_b of a_br . x, or an upper bound on it; a (batch, rows, *shape) -> (batch, rows)."""

    @abstractmethod
    def maximiser(self, a: Tensor) -> Tensor:
        """A point of each set that (nearly) maximises a_b . x; a (batch, *shape) -> (batch, *shape)."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """The member of each set nearest to x in the Euclidean norm, up to rounding; x (batch, *shape) -> same.

        Members are returned as they are.
        """

    @abstractmethod
    def contains(self, x: Tensor) -> Tensor:
        """Whether points are what a member rounds to, as decided in rationals; x (batch, *shape) -> bool (batch,)."""

    @classmethod
    def around(cls, argument: str, samples: Samples) -> InputSet:
        """The sets around samples that `--set NAME:ARGUMENT` asks for, of a class with a `SetEntry`: changes d of a
        sample of which eps d is added. Raises InputError for an argument that is not understood."""
        raise InputError(f"the command line has no way to write the set {cls.__name__}")

    def preimage(self, x: Tensor) -> np.ndarray:
        """The members of X_R whose rounding the members x are, (batch, *shape) object array of rationals: by default x
        itself."""
        return exact_array(x)

    def inward(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (n, inputs) of a search in this set, without what holds no member: by default as they are; of a grid to
        the levels at or within their ends, low > high where a box holds none."""
        return low, high

    def halved(self, low: Tensor, high: Tensor) -> SplitEnds:
        """Where boxes (n, inputs) of a search in this set are halved in each coordinate."""
        middle = (low + high) / 2
        return SplitEnds(middle, middle, middle)

    def origins(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Ends (low, high) float64, (batch, *shape) each, of a box around a member in rationals that rounds to x.

        By default x itself.
        """
        return x.double(), x.double()

    @abstractmethod
    def select(self, index: Tensor) -> InputSet:
        """The sets with these positions, repeated or reordered as `index` (n,) says."""

    @abstractmethod
    def to(self, device: torch.device | str) -> InputSet:
        """The same set with its tensors on another device."""

    @abstractmethod
    def double(self) -> InputSet:
        """The same set, its hull rounded to float64 instead."""

    @abstractmethod
    def linear_rows(self, case: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows A x <= b (float64, over the flattened input) that with the hull describe X_case exactly.

        Raises UnsupportedMethod where the set is no polyhedron.
        """

    def exact_box(self) -> tuple[np.ndarray, np.ndarray]:
        """The ends (low, high) in rationals of a set that is a box, (batch, *shape) each.

        Raises UnsupportedMethod for other sets.
        """
        raise UnsupportedMethod("certificates cover boxes, such as Linf balls; this set is another")

    def round_part(self, case: int) -> Round | None:
        """A ball that contains X_case and is smaller than its hull, for semidefinite programs, if there is one."""
        return None

    def record(self) -> dict[str, Any]:
        """What a reader needs to make the set again of its nominal point and hull, as JSON values."""
        return {"kind": type(self).__name__}

    def constraint(self, x: Any, case: int) -> list[Any]:
        """CVXPY constraints that a CVXPY vector x (size,), the flattened input, meets where it lies in X_case.

        By default the hull and the linear rows; raises UnsupportedMethod where the set has none.
        """
        rows, bounds = self.linear_rows(case)
        return [*self._hull_constraint(x, case), *([rows @ x <= bounds] if len(bounds) else [])]

    def _hull_constraint(self, x: Any, case: int) -> list[Any]:
        low, high = (end[case].flatten().cpu().double().numpy() for end in (self.low, self.high))
        return [x >= low, x <= high]

    def nominal(self) -> Tensor:
        """The point that each set surrounds: the data point of a ball, else the middle; (batch, *shape)."""
        return self.project((self.low + self.high) / 2)

    def distance(self, x: Tensor) -> Tensor | None:
        """How far points x (batch, *shape) lie from the nominal ones in the norm of a ball, float64 (batch,), up to
        rounding; None of other sets."""
        return None

    def steepest(self, x: Tensor, a: Tensor) -> Tensor:
        """A step from the members x along which a . x grows fast, about half as long as the set is wide.

        By default every coordinate goes half its range, by the sign of a (Madry et al. 2018 for Linf balls);
        x, a (batch, *shape) -> (batch, *shape).
        """
        return a.sign() * self._half

    @cached_property
    def _half(self) -> Tensor:
        """Half of each coordinate's range, (batch, *shape)."""
        return (self.high - self.low) / 2

    def place(self, share: Tensor) -> Tensor:
        """The point at these shares (0 to 1, broadcast to (batch, *shape)) of the hull, projected."""
        return self.project(self.low + share.to(self.low) * (self.high - self.low))

    def sample(self, generator: torch.Generator) -> Tensor:
        """One random point of each set, by projection of a uniform point of the hull; (batch, *shape)."""
        share = torch.rand(self.low.shape, generator=generator, dtype=self.low.dtype, device=generator.device)
        return self.place(share)


def box_support(low: Tensor, high: Tensor, a: Tensor) -> Tensor:
    """max of a_br . x over the boxes [low_b, high_b]; a (batch, rows, *shape) -> (batch, rows)."""
    flat = a.flatten(2)
    center = ((low + high) / 2).flatten(1).unsqueeze(2)
    radius = ((high - low) / 2).flatten(1).unsqueeze(2)
    return (torch.bmm(flat, center) + torch.bmm(flat.abs(), radius)).squeeze(2)
