"""Boxes: the product of an interval for each coordinate, degenerate ones included."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from verify.errors import InputError
from verify.rationals import exact_array, rational, round_down, round_up
from verify.registry import SetEntry
from verify.sets.base import InputSet, box_support
from verify.sets.samples import Samples, arrays_of


@SetEntry(name="box", place=20, help="box:LOW,HIGH, box:FILE.npz (arrays low, high)", example="box:-1,1/2")
class Box(InputSet):
    """{x : low <= x <= high}; low, high (batch, *shape), float tensors or object arrays of rationals.

    Rationals are kept: membership is decided on them, and the float hull is rounded outward. A coordinate with
    low == high is allowed. Raises InputError where low > high or a bound is not finite. A float is a member where it is
    what a rational member rounds to, as runtimes read decimals; `inner` (low, high) are the least and the largest such.
    """

    def __init__(self, low: Tensor | np.ndarray, high: Tensor | np.ndarray, dtype: torch.dtype = torch.float32):
        if tuple(low.shape) != tuple(high.shape):
            raise InputError(f"a box has low of shape {tuple(low.shape)}, high {tuple(high.shape)}; give equal shapes")
        self._exact = (low, high) if isinstance(low, np.ndarray) and isinstance(high, np.ndarray) else None
        self.low = round_down(low, dtype) if isinstance(low, np.ndarray) else low
        self.high = round_up(high, dtype) if isinstance(high, np.ndarray) else high
        if not bool(torch.isfinite(self.low).all() and torch.isfinite(self.high).all()):
            raise InputError("a box has a bound that is not finite; bound every input coordinate")
        self.inner = self._nearest(self.low.dtype)
        if self._exact is None:
            bad = (self.low > self.high).cpu().numpy()
        else:
            bad = (self.inner[0] >= self.inner[1]).cpu().numpy()  # elsewhere two floats are members
            bad[bad] = self._exact[0][bad] > self._exact[1][bad]
        if bad.any():
            where = np.argwhere(bad)[0].tolist()
            raise InputError(f"a box is empty: low > high at position {where}; swap or widen the bounds")

    @classmethod
    def around(cls, argument: str, samples: Samples) -> Box:
        """Every coordinate changes by eps times a number between its ends, the same two for all or arrays of a file."""
        if argument.endswith(".npz"):
            low, high = arrays_of(argument, "low", "high")
            return cls.moved(low, high, samples)
        ends = argument.split(",")
        if len(ends) != 2:
            raise InputError(f"box:{argument} is neither box:LOW,HIGH nor box:FILE.npz; write for example box:-1,1/2")
        low, high = (np.array(rational(end.strip(), "an end of the box"), dtype=object) for end in ends)
        return cls.moved(low, high, samples)

    @classmethod
    def moved(cls, low: np.ndarray, high: np.ndarray, samples: Samples) -> Box:
        """The boxes of changes between low and high (rationals) times eps around samples."""
        ends = samples.moved(low, "low"), samples.moved(high, "high")
        return cls(*ends, dtype=samples.x.dtype).to(samples.x.device)

    @property
    def exact(self) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) as object arrays of rationals, (batch, *shape)."""
        if self._exact is None:
            return exact_array(self.low), exact_array(self.high)
        return self._exact

    @property
    def is_box(self) -> bool:
        return True

    def support(self, a: Tensor) -> Tensor:
        """Sound because a linear function on a box is maximal at a corner; trusts float rounding."""
        return box_support(self.low, self.high, a)

    def maximiser(self, a: Tensor) -> Tensor:
        low, high = self.inner
        return torch.where(a > 0, high, torch.where(a < 0, low, self.project((low + high) / 2)))

    def project(self, x: Tensor) -> Tensor:
        low, high = self.inner
        return torch.minimum(torch.maximum(x, low), high)

    def contains(self, x: Tensor) -> Tensor:
        # rounding keeps the order
        low, high = self.inner if x.dtype == self.low.dtype else self._nearest(x.dtype)
        return ((x >= low) & (x <= high)).flatten(1).all(1)

    def preimage(self, x: Tensor) -> np.ndarray:
        """The members of X_R whose rounding the members x are, (batch, *shape) object array of rationals.

        It is x itself, except in coordinates where x lies beyond the end that rounds to it.
        """
        point = exact_array(x)
        if self._exact is None:
            return point
        low, high = self._exact
        return np.where(point < low, low, np.where(point > high, high, point))

    def select(self, index: Tensor) -> Box:
        out = object.__new__(Box)
        out.low, out.high = self.low[index], self.high[index]
        out.inner = (self.inner[0][index], self.inner[1][index])
        out._exact = None
        if self._exact is not None:  # only then is a device waited for
            picked = index.cpu().numpy()
            out._exact = self._exact[0][picked], self._exact[1][picked]
            if "_double" in vars(self):  # rationals are slow to round
                vars(out)["_double"] = self._double.select(index)
        return out

    def to(self, device: torch.device | str) -> Box:
        out = object.__new__(Box)
        out.low, out.high, out._exact = self.low.to(device), self.high.to(device), self._exact
        out.inner = (self.inner[0].to(device), self.inner[1].to(device))
        return out

    def double(self) -> Box:
        return self._double

    @cached_property
    def _double(self) -> Box:
        if self._exact is None:
            return Box(self.low.double(), self.high.double())
        return Box(*self._exact, dtype=torch.float64).to(self.low.device)

    def exact_box(self) -> tuple[np.ndarray, np.ndarray]:
        return self.exact

    def linear_rows(self, case: int) -> tuple[np.ndarray, np.ndarray]:
        size = self.low[0].numel()
        return np.zeros((0, size)), np.zeros(0)

    def origins(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self._exact is None:
            return super().origins(x)
        wide, (low, high) = self._double, self._double.inner  # the ends lie within a unit of the nearest floats
        below, above = torch.nextafter(high, wide.low), torch.nextafter(low, wide.high)
        return x.double().clamp(wide.low, below.maximum(wide.low)), x.double().clamp(above, wide.high)

    def _nearest(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The floats that the ends round to, by way of float64."""
        if self._exact is None:
            return self.low, self.high
        low, high = (torch.from_numpy(end.astype(np.float64)).to(self.low.device, dtype) for end in self._exact)
        return low, high
