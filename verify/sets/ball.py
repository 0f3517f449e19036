"""Balls of any norm around data points, intersected with the range of valid inputs."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verify.errors import InputError, UnsupportedMethod
from verify.rationals import Number, exact_array, rational, round_down, round_up, shown
from verify.registry import SetEntry
from verify.sets.base import InputSet, Round, box_support
from verify.sets.norms import BoxNorm, Norm, RoundNorm, norm_of
from verify.sets.norms.base import ONE, clamp
from verify.sets.samples import Samples


@SetEntry(name="ball", place=10, help="ball (of --norm)", example="ball")
class Ball(InputSet):
    """{x : ||x - center|| <= eps, clip[0] <= x <= clip[1]}, the threat model of adversarial examples.

    Args:
        center: (batch, *shape) float tensor, inside the clip.
        eps: radius, a rational >= 0 in the input's own units.
        norm: "linf", "l2", "l1" or "l0", or another of `verify.sets.norms`, or a value of `Norm`. The balls of "l0" are
            the points with at most eps coordinates changed, each anywhere in the clip: no convex sets, but what linear
            functions reach on them is known (`L0`).
        clip: (low, high) range of valid inputs, low <= high, or None.
    """

    def __init__(self, center: Tensor, eps: Number, norm: str | Norm = "linf",
                 clip: tuple[Number, Number] | None = (0, 1)):
        self.center = center
        self.norm = norm_of(norm)
        self.eps = self.norm.radius(rational(eps, "eps"))
        self.clip = None if clip is None else _range(clip)
        if self.eps < 0:
            raise InputError(f"eps is {float(self.eps):g} but must be at least 0")
        if self.norm.counts and self.clip is None:
            raise InputError(f"{self.norm} counts the coordinates that change, and without a clip nothing ends a "
                             "change; give the range of valid inputs, such as clip=(0, 1)")
        if not bool(torch.isfinite(center).all()):
            raise InputError("an input has a value that is not finite; remove or mend that sample")
        if self.clip is not None and bool(((center < float(self.clip[0])) | (center > float(self.clip[1]))).any()):
            ends = ", ".join(map(shown, self.clip))
            raise InputError(f"an input lies outside the clip [{ends}]; rescale the data or change the clip")
        self.low, self.high = self._hull()

    def _hull(self) -> tuple[Tensor, Tensor]:
        """The hull rounded outward. center +- eps, formed in float64 and rounded to the dtype, is off by less than one
        float either way."""
        if self.eps == 0:
            return self.center, self.center
        low, high, down, up = self._moved(round_up)
        low, high = torch.nextafter(low, down), torch.nextafter(high, up)
        if self.clip is not None:
            outside = self._clip_rounded(low.dtype)[0]
            low, high = low.clamp_(min=outside[0]), high.clamp_(max=outside[1])
        return low, high

    @cached_property
    def _inner(self) -> tuple[Tensor, Tensor]:
        """A box of floats that lies in the exact hull and contains the center."""
        if self.eps == 0:
            return self.center, self.center
        low, high, down, up = self._moved(round_down)
        low, high = torch.nextafter(low, up).minimum(self.center), torch.nextafter(high, down).maximum(self.center)
        if self.clip is not None:
            inside = self._clip_rounded(low.dtype)[1]
            low, high = low.clamp_(min=inside[0]), high.clamp_(max=inside[1])
        return low, high

    def _moved(self, rounded: Callable[[np.ndarray, torch.dtype], Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """center - eps, center + eps, and infinities in their directions, eps (times what the norm's unit ball reaches
        of each coordinate) a float64 rounded this way; further than the clip where a norm counts."""
        wide, dtype = self.center.double(), self.center.dtype
        far = self.eps * self._reach
        if self.norm.counts and self.clip is not None:
            far = 2 * ONE * (self.clip[1] - self.clip[0])
        by = rounded(far, torch.float64).to(wide.device)
        down, up = (torch.tensor(end, dtype=dtype, device=wide.device) for end in (-torch.inf, torch.inf))
        return (wide - by).to(dtype), (wide + by).to(dtype), down, up

    def _clip_rounded(self, dtype: torch.dtype) -> tuple[tuple[float, float], tuple[float, float]]:
        """The clip rounded outward and inward."""
        ends = np.array(self.clip, dtype=object)
        down, up = round_down(ends, dtype).tolist(), round_up(ends, dtype).tolist()
        return (down[0], up[1]), (up[0], down[1])

    @classmethod
    def around(cls, argument: str, samples: Samples) -> Ball:
        """The balls of radius eps."""
        if argument:
            raise InputError(f"a ball takes its norm from --norm, not from {argument!r}; write --set ball")
        return cls(samples.x, samples.eps, samples.norm, samples.clip)

    @property
    def is_box(self) -> bool:
        return isinstance(self.norm, BoxNorm)

    @property
    def facts(self) -> tuple[Any, ...]:
        return self.center, self.eps, self.norm, self.clip

    def support(self, a: Tensor) -> Tensor:
        """max of a . x over the set; a (batch, rows, *shape) -> (batch, rows).

        Sound because a linear function on a box is maximal at a corner, and because `RoundNorm.support` is; trusts
        float rounding.
        """
        if not isinstance(self.norm, RoundNorm):
            return box_support(self.low, self.high, a)
        flat = a.flatten(2)
        centers = torch.bmm(flat, self.center.flatten(1).unsqueeze(2)).squeeze(2)
        down, up = (d.unsqueeze(1) for d in self._room())
        return centers + self.norm.support(flat, down, up, self._eps(a))

    def maximiser(self, a: Tensor) -> Tensor:
        if not isinstance(self.norm, RoundNorm):
            return torch.where(a > 0, self._inner[1], torch.where(a < 0, self._inner[0], self.center))
        delta = self.norm.maximiser(a.flatten(1), *self._room(), self._eps(a))
        return self.project(self.center + delta.reshape(self.center.shape))

    def project(self, x: Tensor) -> Tensor:
        """Into the hull's floats, and where that is not enough as the norm projects; the last rounding goes inward."""
        inside = clamp(x, *self._inner)
        if not isinstance(self.norm, RoundNorm):
            return inside
        outside = ~(self._size(inside) <= float(self.eps) * (1 - self._slack))
        if not bool(outside.any()):
            return inside
        delta = self.norm.nearest((x - self.center).flatten(1), *self._room(), float(self.eps))
        near = clamp((self.center + delta.reshape(x.shape)).to(x.dtype), *self._inner)
        near = near if self.norm.counts else self._retreat(near)
        return torch.where(_spread(outside, x), near, inside)

    def nominal(self) -> Tensor:
        return self.center

    def steepest(self, x: Tensor, a: Tensor) -> Tensor:
        """Of a box as every box; else the norm's step for the gradient without the coordinates that are at the end of
        their range, or toward the maximiser where the norm has none (Frank and Wolfe 1956; Jaggi 2013)."""
        if not isinstance(self.norm, RoundNorm):
            return super().steepest(x, a)
        stuck = ((x <= self._inner[0]) & (a < 0)) | ((x >= self._inner[1]) & (a > 0))
        step = self.norm.steepest(torch.where(stuck, 0, a).flatten(1))
        return (self.maximiser(a) - x) / 2 if step is None else self._eps(x) * step.reshape(x.shape)

    def distance(self, x: Tensor) -> Tensor:
        return self._size(x)

    def contains(self, x: Tensor) -> Tensor:
        """Exact: float64 decides where its error cannot matter, rationals the rest."""
        if isinstance(self.norm, RoundNorm):
            size, eps = self._size(x), float(self.eps)
            inside = size <= eps * (1 - self._slack)
            for case in ((size <= eps * (1 + self._slack)) & ~inside).nonzero().flatten().tolist():
                inside[case] = self._contains_exactly(case, x[case])
        else:
            inside = self._in_reach(x)
        if self.clip is not None:
            low, high = self._clip_rounded(x.dtype)[1]
            inside &= ((x >= low) & (x <= high)).flatten(1).all(1)
        return inside

    def _in_reach(self, x: Tensor) -> Tensor:
        """Whether no coordinate differs by more than its reach. A difference that float64 holds (its rounding error,
        Knuth's two-sum, is 0) exceeds the reach where it exceeds the float64 below it."""
        a, b = x.double(), -self.center.double()
        d, exact = a + b, self.eps * self._reach
        part = d - a
        lost, most = (a - (d - part)) + (b - part), round_down(exact, torch.float64).to(x.device)
        inside = d.abs() <= most
        open_ = (lost != 0) & ((d.abs() - most).abs() <= 4 * torch.finfo(torch.float64).eps * most) & d.isfinite()
        for place in map(tuple, open_.nonzero().tolist()):
            delta = Fraction(float(a[place])) + Fraction(float(b[place]))
            inside[place] = bool(abs(delta) <= np.broadcast_to(exact, self.low.shape)[place])
        return inside.flatten(1).all(1)

    def _contains_exactly(self, case: int, x: Tensor) -> bool:
        delta = [abs(d) for d in (exact_array(x) - exact_array(self.center[case])).reshape(-1)]
        return self.norm.holds(delta, self.eps)

    def select(self, index: Tensor) -> Ball:
        return self._with(lambda t: t[index])

    def to(self, device: torch.device | str) -> Ball:
        return self._with(lambda t: t.to(device))

    def _with(self, change: Callable[[Tensor], Tensor]) -> Ball:
        out = object.__new__(Ball)
        out.center, out.low, out.high = change(self.center), change(self.low), change(self.high)
        out._inner = (change(self._inner[0]), change(self._inner[1]))
        out.eps, out.norm, out.clip = self.eps, self.norm, self.clip
        return out

    def double(self) -> Ball:
        return Ball(self.center.double(), self.eps, self.norm, self.clip)

    def linear_rows(self, case: int) -> tuple[np.ndarray, np.ndarray]:
        if not self.is_box:
            raise UnsupportedMethod(f"LP and MILP take boxes and polytopes, not {self.norm} balls; use CROWN or PGD")
        size = self.low[0].numel()
        return np.zeros((0, size)), np.zeros(0)

    def exact_box(self) -> tuple[np.ndarray, np.ndarray]:
        if not self.is_box:
            return super().exact_box()
        center, by = exact_array(self.center), self.eps * self._reach
        low, high = center - by, center + by
        if self.clip is not None:
            ends = np.array(self.clip, dtype=object)
            low, high = np.maximum(low, ends[0]), np.minimum(high, ends[1])
        return low, high

    def steps(self, levels: int) -> Tensor:
        """How many whole steps of 1 / levels the radius has in each coordinate, float64, to broadcast against centers.
        """
        whole = (self.eps * self._reach * levels) // 1
        return torch.from_numpy(whole.astype(np.float64)).to(self.center.device)

    def round_part(self, case: int) -> Round | None:
        if not isinstance(self.norm, RoundNorm) or not self.norm.euclidean:
            return None
        return Round(self.center[case].flatten(), self._eps(self.center.double()), self.norm.taxicab)

    def record(self) -> dict[str, Any]:
        clip = None if self.clip is None else [str(end) for end in self.clip]
        return {**super().record(), "norm": self.norm.name, "eps": str(self.eps), "clip": clip}

    def constraint(self, x: Any, case: int) -> list[Any]:
        if not isinstance(self.norm, RoundNorm):
            return super().constraint(x, case)
        center, down, up = (part[case].flatten().cpu().double().numpy() for part in (self.center, *self._room()))
        return [*self._hull_constraint(x, case),
                self.norm.within(x - center, down, up, self._eps(self.center.double()))]

    @cached_property
    def _reach(self) -> np.ndarray:
        """How far the norm's unit ball reaches in each coordinate: rationals, broadcast against (batch, *shape)."""
        reach = self.norm.reach(prod(self.center.shape[1:]))
        return reach if len(reach) == 1 else reach.reshape(self.center.shape[1:])

    @property
    def _slack(self) -> float:
        """A bound on the relative error of `_size`."""
        return 0.0 if self.norm.counts else (self.low[0].numel() + 8) * torch.finfo(torch.float64).eps

    def _eps(self, like: Tensor) -> float:
        """eps rounded up to a float of the tensor's dtype."""
        return float(round_up(np.array([self.eps], dtype=object), like.dtype))

    def _room(self) -> tuple[Tensor, Tensor]:
        """How far each coordinate may go down (<= 0) and up (>= 0); both (batch, size)."""
        return (self.low - self.center).flatten(1).clamp(max=0), (self.high - self.center).flatten(1).clamp(min=0)

    def _size(self, x: Tensor) -> Tensor:
        """||x - center|| in float64, (batch,); NaN where x is."""
        return self.norm.measure((x.double() - self.center.double()).flatten(1))

    def _retreat(self, x: Tensor) -> Tensor:
        """x moved toward the center by as much as rounding may have carried it, or will carry it, out of the ball.

        Rounding x to floats moves it by at most u ||x||, u half the spacing of floats at 1: norms here are absolute.
        """
        eps, wide = float(self.eps), x.double().flatten(1)
        reserve = 2 * torch.finfo(x.dtype).eps * self.norm.measure(wide) + 2 * self._slack * eps
        factor = ((eps - reserve) / self._size(x).clamp(min=torch.finfo(torch.float64).tiny)).clamp(0, 1)
        center = self.center.double()
        return (center + (x.double() - center) * _spread(factor, x)).to(x.dtype)


def _range(clip: tuple[Number, Number]) -> tuple[Fraction, Fraction]:
    """The ends of the clip as rationals."""
    if isinstance(clip, tuple | list) and len(clip) == 2:
        low, high = (rational(end, "clip") for end in clip)
        if low <= high:
            return low, high
    raise InputError(f"clip is {clip!r} but must be (low, high) with low <= high, or None for no clip")


def _spread(values: Tensor, like: Tensor) -> Tensor:
    """(batch,) values with trailing axes of length 1, to broadcast over a (batch, *shape) tensor."""
    return values.reshape(-1, *[1] * (like.dim() - 1))
