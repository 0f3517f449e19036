"""Balls of the L1, L2 and Linf norms around data points, intersected with the range of valid inputs."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from verify.errors import InputError, UnsupportedMethod
from verify.rationals import Number, exact_array, rational, round_down, round_up
from verify.sets.base import InputSet, box_support

NORMS = ("linf", "l2", "l1")
BISECTIONS = 60  # halvings of the multiplier's bracket; every value met is a valid dual point


class Ball(InputSet):
    """{x : ||x - center||_p <= eps, clip[0] <= x <= clip[1]}, the threat model of adversarial examples.

    Args:
        center: (batch, *shape) float tensor, inside the clip.
        eps: radius, a rational >= 0 in the input's own units.
        norm: "linf", "l2" or "l1".
        clip: (low, high) range of valid inputs, or None.
    """

    def __init__(self, center: Tensor, eps: Number, norm: str = "linf", clip: tuple[Number, Number] | None = (0, 1)):
        self.center = center
        self.eps = rational(eps, "eps")
        self.norm = norm
        self.clip = None if clip is None else (rational(clip[0], "clip"), rational(clip[1], "clip"))
        if self.norm not in NORMS:
            raise InputError(f"unknown norm {norm!r}; choose one of {', '.join(NORMS)}")
        if self.eps < 0:
            raise InputError(f"eps is {float(self.eps):g} but must be at least 0")
        if not bool(torch.isfinite(center).all()):
            raise InputError("an input has a value that is not finite; remove or mend that sample")
        if self.clip is not None and bool(((center < float(self.clip[0])) | (center > float(self.clip[1]))).any()):
            raise InputError(
                f"an input lies outside the clip [{self.clip[0]}, {self.clip[1]}]; rescale the data or pass another clip"
            )
        self.low, self.high = self._hull()

    def _hull(self) -> tuple[Tensor, Tensor]:
        """Outward rounded hull. center +- eps is formed in float64 and moved outward by one float of the dtype
        (float32) or by the error of that sum (float64), unless eps is 0 or the clip decides exactly."""
        if self.eps == 0:
            return self.center, self.center
        eps = float(round_up(np.array([self.eps], dtype=object), torch.float64))
        wide = self.center.double()
        low, high = (wide - eps).to(self.center.dtype), (wide + eps).to(self.center.dtype)
        infinity = torch.full_like(low, torch.inf)
        low, high = torch.nextafter(low, -infinity), torch.nextafter(high, infinity)
        if self.clip is not None:
            ends = np.array(self.clip, dtype=object)
            low = low.clamp(min=float(round_down(ends, low.dtype)[0]))
            high = high.clamp(max=float(round_up(ends, low.dtype)[1]))
        return low, high

    @property
    def is_box(self) -> bool:
        return self.norm == "linf"

    def support(self, a: Tensor) -> Tensor:
        """max of a . x over the set; a (batch, rows, *shape) -> (batch, rows).

        Linf: the box. L1: a fractional knapsack, filled in the order of |a|. L2: the Lagrangian dual
        min over m >= 0 of m eps^2 / 2 + sum_i max over the clipped range of (a_i d_i - m d_i^2 / 2).
        Sound because the knapsack is solved exactly and any multiplier m of the dual gives an upper bound (weak
        duality); trusts float rounding.
        """
        if self.norm == "linf":
            return box_support(self.low, self.high, a)
        flat = a.flatten(2)
        centers = torch.bmm(flat, self.center.reshape(self.batch, -1, 1)).squeeze(2)
        down, up = (d.unsqueeze(1) for d in self._room())
        if self.norm == "l1":
            delta = self._knapsack(flat, down, up)
            return centers + (flat * delta).sum(2)
        m = self._multiplier(flat, down, up)
        delta = _clamp(flat / m, down, up)
        inner = (flat * delta - m * delta.square() / 2).sum(2)
        return centers + inner + m.squeeze(2) * self._eps(a) ** 2 / 2

    def maximiser(self, a: Tensor) -> Tensor:
        if self.norm == "linf":
            return self.project(torch.where(a > 0, self.high, torch.where(a < 0, self.low, self.center)))
        flat = a.flatten(1).unsqueeze(1)
        down, up = (d.unsqueeze(1) for d in self._room())
        if self.norm == "l1":
            delta = self._knapsack(flat, down, up)
        else:
            delta = _clamp(flat / self._multiplier(flat, down, up), down, up)
        return self.project(self.center + delta.reshape(self.center.shape))

    def project(self, x: Tensor) -> Tensor:
        """Nearest point, by bisection on the multiplier of the norm; pulled inward so that rounding does not leave
        the set."""
        down, up = self._room()
        delta = _clamp((x - self.center).flatten(1), down, up)
        eps = self._eps(x)
        if self.norm != "linf":
            delta = self._shrink(delta, down, up, eps)
        inside = (self.center + delta.reshape(x.shape)).clamp(self.low, self.high)
        return inside if self.eps == 0 else self._inward(inside)

    def contains(self, x: Tensor) -> Tensor:
        """Exact: float64 norms decide where their error cannot matter, rationals the rest."""
        wide = (x.double() - self.center.double()).flatten(1)
        order = {"linf": torch.inf, "l2": 2, "l1": 1}[self.norm]
        size, eps = wide.norm(p=order, dim=1), float(self.eps)
        slack = (wide.shape[1] + 8) * torch.finfo(torch.float64).eps
        inside = size <= eps * (1 - slack)
        for case in ((size <= eps * (1 + slack)) & ~inside).nonzero().flatten().tolist():
            inside[case] = self._contains_exactly(case, x[case])
        if self.clip is not None:
            ends = np.array(self.clip, dtype=object)
            low, high = round_up(ends, x.dtype)[0], round_down(ends, x.dtype)[1]
            inside &= ((x >= low) & (x <= high)).flatten(1).all(1)
        return inside

    def _contains_exactly(self, case: int, x: Tensor) -> bool:
        delta = [abs(d) for d in (exact_array(x) - exact_array(self.center[case])).reshape(-1)]
        if self.norm == "linf":
            return max(delta, default=Fraction(0)) <= self.eps
        if self.norm == "l1":
            return sum(delta) <= self.eps
        return sum(d * d for d in delta) <= self.eps**2

    def select(self, index: Tensor) -> Ball:
        out = object.__new__(Ball)
        out.center, out.low, out.high = self.center[index], self.low[index], self.high[index]
        out.eps, out.norm, out.clip = self.eps, self.norm, self.clip
        return out

    def to(self, device: torch.device | str) -> Ball:
        out = object.__new__(Ball)
        out.center, out.low, out.high = self.center.to(device), self.low.to(device), self.high.to(device)
        out.eps, out.norm, out.clip = self.eps, self.norm, self.clip
        return out

    def linear_rows(self, case: int) -> tuple[np.ndarray, np.ndarray]:
        if self.norm != "linf":
            raise UnsupportedMethod(f"LP and MILP need a polyhedral set, not an {self.norm} ball; use CROWN or PGD here")
        size = self.low[0].numel()
        return np.zeros((0, size)), np.zeros(0)

    def _eps(self, like: Tensor) -> float:
        """eps rounded up to a float of the tensor's dtype."""
        return float(round_up(np.array([self.eps], dtype=object), like.dtype))

    def _room(self) -> tuple[Tensor, Tensor]:
        """How far each coordinate may go down (<= 0) and up (>= 0); both (batch, size)."""
        return (self.low - self.center).flatten(1).clamp(max=0), (self.high - self.center).flatten(1).clamp(min=0)

    def _knapsack(self, a: Tensor, down: Tensor, up: Tensor) -> Tensor:
        """argmax of a . d over ||d||_1 <= eps, down <= d <= up: fill by |a| descending; (batch, rows, size)."""
        capacity = torch.where(a >= 0, up, -down)
        order = a.abs().argsort(dim=2, descending=True, stable=True)
        sorted_capacity = capacity.gather(2, order)
        used_before = sorted_capacity.cumsum(2) - sorted_capacity
        fill = torch.minimum(sorted_capacity, (self._eps(a) - used_before).clamp(min=0))
        return torch.zeros_like(a).scatter(2, order, fill) * a.sign()

    def _multiplier(self, a: Tensor, down: Tensor, up: Tensor) -> Tensor:
        """The multiplier m at which clamp(a / m) has norm eps, or nearly 0 where the clip binds first."""
        eps = max(self._eps(a), torch.finfo(a.dtype).tiny)
        high = (a.norm(dim=2, keepdim=True) / eps).clamp(min=torch.finfo(a.dtype).tiny * 1e6)
        low = high * 1e-9
        for _ in range(BISECTIONS if a.dtype == torch.float64 else BISECTIONS // 2):
            middle = (low * high).sqrt()
            outside = _clamp(a / middle, down, up).norm(dim=2, keepdim=True) > eps
            low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
        return high

    def _shrink(self, delta: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        """Projection of delta (batch, size) onto the norm ball and the room, KKT with one multiplier."""
        power = 2 if self.norm == "l2" else 1

        def at(m: Tensor) -> Tensor:
            if power == 2:
                return _clamp(delta / (1 + m), down, up)
            return _clamp(delta.sign() * (delta.abs() - m).clamp(min=0), down, up)

        outside = delta.norm(p=power, dim=1, keepdim=True) > eps
        low = torch.zeros_like(delta[:, :1])
        high = delta.norm(dim=1, keepdim=True) / max(eps, 1e-30) if power == 2 else delta.abs().amax(1, keepdim=True)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            beyond = at(middle).norm(p=power, dim=1, keepdim=True) > eps
            low, high = torch.where(beyond, middle, low), torch.where(beyond, high, middle)
        return torch.where(outside, at(high), delta)

    def _inward(self, x: Tensor) -> Tensor:
        """Move x toward the center by a few ulps, and never across it: room for the rounding of x itself."""
        ulps = 4 * torch.finfo(x.dtype).eps
        scale = x.abs().amax(tuple(range(1, x.dim())), keepdim=True) if x.dim() > 1 else x.abs()
        if self.norm == "linf":
            step = (ulps * torch.maximum(x.abs(), self.center.abs())).minimum((x - self.center).abs())
            at_clip = torch.zeros_like(x, dtype=torch.bool)
            if self.clip is not None:
                # strictly between the clip and the sphere, a clipped coordinate may stay on the clip
                reach = self.center + (x - self.center).sign() * float(self.eps)
                at_clip = (reach < float(self.clip[0])) | (reach > float(self.clip[1]))
            return torch.where(at_clip, x, x - (x - self.center).sign() * step)
        size = x[0].numel()
        slack = ulps * (1 + scale * size**0.5 / max(float(self.eps), 1e-30))
        return self.center + (x - self.center) * (1 - slack).clamp(0, 1)


def _clamp(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(x, low), high)
