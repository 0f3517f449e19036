"""The family of curves: elementwise functions of one argument, and why their relaxations are sound.

A curve states where its pieces meet, whether it is linear, convex or concave on each, and f and f' there. Everything
else follows, and one remark carries all bounds. For any slope s, f(x) - s x over an interval is extreme at an end, at a
breakpoint (at a jump both one-sided values count), or inside a piece where f' = s. Hence *any* slope gives a sound line
once its intercept is that extreme value; the slope only decides how tight it is, and may be found by any means.

    linear     f(x) - s x is extreme at the piece's ends.
    concave    It is least at the ends. A tangent at any point t of the piece lies above f on it, so
               f(t) + f'(t) (x - t) - s x, which is linear and so largest at an end, bounds it from above: exactly where
               f'(t) = s, and where t is only near such a point up to the square of the error of t.
    convex     The same with above and below exchanged.

So the ends of the interval, the breakpoints at which a piece meets another that the tangents of neither bound
(`vertices`), and one tangent of each curved piece are all that a line must clear. The interval of f is the pair of
lines of slope 0, whose extreme values lie at ends and at the stated points where f turns.

An inflection b may be rounded to the nearest float, a share u of |b| away. On the strip between them f bends the wrong
way, but hardly: f' is off by D (u b)^2 with D the third derivative, and a tangent there by as much for each unit of
distance. The slack of some u of slope times distance is more than that by many orders.

Outside the domain of f, and where numbers overflow, bounds are infinite, never NaN, and lines flat.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cached_property, reduce
from math import inf

import numpy as np
import torch
from torch import Tensor

from verify.errors import UnsupportedMethod
from verify.ops.base import Encoder, IntervalBounds, Lines, Nonlinear, Parameters, Relaxation
from verify.ops.curve_rows import encode_curve
from verify.ops.domain import REALS, Domain, flattened, sloped, unbounded
from verify.ops.tangents import Curvature, Tangent, Vertices, better, bisected, intercepts, secant, size_of
from verify.rationals import exact_array, round_down, round_up


class Curve(Nonlinear):
    """Elementwise f with one `curvature` for each piece between its `breakpoints`."""

    is_exact, encloses = False, True
    is_continuous: bool = True
    ulps: int = 16  # units in the last place to which `forward` and `derivative` are trusted
    tail: float = 0.0  # those of 1 by which `forward` may err besides, where f is far smaller
    cancels: float = 1.0  # a size of numbers that cancel in `derivative`: to as many of its units is f' trusted at best

    @property
    def decides(self) -> bool:
        return Curvature.LINEAR in self.curvature

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        """Where pieces meet, ascending; an inflection may be rounded to the nearest float."""
        return ()

    @property
    @abstractmethod
    def curvature(self) -> tuple[Curvature, ...]:
        """How f bends on each piece, in order; one more than the breakpoints."""

    @abstractmethod
    def derivative(self, piece: int, x: Tensor) -> Tensor:
        """f' on a piece, at its ends one-sided; same shape as x."""

    @property
    def turns(self) -> tuple[float, ...]:
        """Where f turns from rising to falling or back, to the nearest float."""
        return ()

    @property
    def domain(self) -> Domain:
        """Where f has values."""
        return REALS

    @property
    def image(self) -> tuple[float, float]:
        """Two floats between which all values of f lie."""
        return -inf, inf

    @property
    def jumps(self) -> tuple[int, ...]:
        """The breakpoints at which f jumps, by their places; the pieces beside them must be linear."""
        return ()

    def beside(self, piece: int, x: Tensor) -> Tensor:
        """f on a piece, at its ends one-sided; only a curve with jumps says more than `forward`."""
        return self.forward((), x)

    @cached_property
    def corners(self) -> tuple[int, ...]:
        """The breakpoints that are vertices, by their places. Where a convex piece meets a concave one the tangent of
        the latter bounds f from above up to and at the breakpoint, that of the former from below."""
        meets = zip(self.curvature[:-1], self.curvature[1:], strict=True)
        return tuple(i for i, (left, right) in enumerate(meets) if left * right >= 0)

    @cached_property
    def curved(self) -> tuple[int, ...]:
        """The pieces that are not linear."""
        return tuple(i for i, curvature in enumerate(self.curvature) if curvature != Curvature.LINEAR)

    def vertices(self, box: IntervalBounds) -> Vertices:
        """The ends, each corner clamped into the interval, and each jump once more, for its other side."""
        places = (*self.corners, *self.jumps)
        inside = (torch.full_like(box.low, float(self.breakpoints[i])) for i in places)
        x = torch.stack([*box, *(b.minimum(box.high).maximum(box.low) for b in inside)])  # clamp has no gradient
        y = self.forward((), x)
        for i in self.jumps:
            b = float(self.breakpoints[i])
            left, right = 2 + self.corners.index(i), 2 + len(self.corners) + self.jumps.index(i)
            y[left] = torch.where((box.low < b) & (b <= box.high), self.beside(i, x[left]), y[left])
            y[right] = torch.where((box.low <= b) & (b < box.high), self.beside(i + 1, x[right]), y[right])
        return x, y

    def interval(self, p: Parameters, *boxes: IntervalBounds) -> IntervalBounds:
        """Sound because f is extreme at an end, where it turns, or beside a jump; trusts the library's f to `ulps`."""
        box = self.domain.part(boxes[0])
        if self.jumps:
            low, high = (end(self.vertices(box)[1], 0) for end in (torch.amin, torch.amax))
        else:
            first, last = self.forward(p, box.low), self.forward(p, box.high)
            low, high = first.minimum(last), first.maximum(last)
        for turn in self.turns:
            value = self.forward(p, torch.full_like(box.low, turn).minimum(box.high).maximum(box.low))
            low, high = low.minimum(value), high.maximum(value)
        return unbounded(self._outward(low, high), self.domain.left_by(boxes[0]))

    def unstable(self, p: Parameters, box: IntervalBounds) -> Tensor:
        """Where the interval is more than what rounding makes of a point; bool."""
        return box.is_wide

    def steepness(self, box: IntervalBounds) -> Tensor:
        """The largest |f'|, which lies at an end of a piece's part of the box since f' is monotone on pieces."""
        (least, most), gone = self._slopes(self.domain.part(box)), self.domain.left_by(box)
        return unbounded(IntervalBounds(least, least.abs().maximum(most.abs())), gone).high

    def amplified(self, p: Parameters, box: IntervalBounds, error: Tensor) -> Tensor:
        return error * self.steepness(box)

    def rounding(self, p: Parameters, box: IntervalBounds, unit: float) -> Tensor | float:
        low, high = self.interval(p, box)
        return self.slack(low.abs().maximum(high.abs()))

    def perturbed(self, p: Parameters, x: Tensor, error: Tensor, unit: float) -> tuple[Tensor, Tensor]:
        """The op's own outward rounded interval over what x may be."""
        error = 1.01 * error + 4 * unit * x.abs() + torch.finfo(x.dtype).tiny
        low, high = self.interval(p, IntervalBounds(x - error, x + error))
        return (low + high) / 2, (high - low) / 2 + unit * (low.abs() + high.abs())

    def relax(self, p: Parameters, box: IntervalBounds, at: Tensor | None = None) -> Lines:
        """The line on each side that is closest to f at the point `at`, by default the midpoint of the interval.

        The area between a line and f over the interval is fixed by the line's value at the midpoint, so the best line
        runs along the edge of the convex hull there: it joins two vertices, or touches a curved piece, at that point or
        where a line from an end of the interval does (Zhang et al. 2018 (CROWN), sections 3.2 and 3.3; Singh et al.
        2019 (DeepPoly), section 4). All these slopes are tried, and any point may be taken for a touching one.
        Sound because `line` is; trusts float rounding, and the library's f and f' to `ulps`.
        """
        whole, box = box, self.domain.part(box)
        at = (box.low + box.high) / 2 if at is None else at
        vertices = self.vertices(box)
        with torch.no_grad():  # any point gives a bound; its choice is no part of the gradient
            tangents = list(self._tangents(box, at, vertices))
        sides: list[list[Tensor]] = []
        for slope in self._candidate_slopes(box, *vertices):
            found = [[slope, intercept, sign * (slope * at + intercept)] for sign, intercept in
                     zip((-1, 1), intercepts(slope, vertices, tangents), strict=True)]
            sides = [better(*pair) for pair in zip(sides, found, strict=True)] if sides else found
        for tangent in tangents:
            side = int(tangent.is_above)
            intercept = intercepts(tangent.slope, vertices, tangents)[side]
            height = tangent.slope * at + intercept
            sides[side] = better(sides[side], [tangent.slope, intercept, height if side else -height])
        (lower_slope, lower, _), (upper_slope, upper, _) = sides
        if not self.ulps:
            return Lines(lower_slope, lower, upper_slope, upper)
        lower = lower - self.slack(size_of(lower_slope, vertices, tangents))
        upper = upper + self.slack(size_of(upper_slope, vertices, tangents))
        lines = Lines(lower_slope, lower, upper_slope, upper)
        return flattened(lines, self.domain.fails(whole, vertices[1]), self.interval((), whole))

    def nearer(self, p: Parameters, box: IntervalBounds, relaxation: Relaxation, at: Tensor, step: float) -> Lines:
        """Sound because `line` is."""
        assert isinstance(relaxation, Lines)
        end = self.relax((), box, at)
        lower = relaxation.lower_slope.lerp(end.lower_slope, step)
        upper = relaxation.upper_slope.lerp(end.upper_slope, step)
        return Lines(lower, self.line(box, lower)[0], upper, self.line(box, upper)[1])

    def line(self, box: IntervalBounds, slope: Tensor) -> tuple[Tensor, Tensor]:
        """(lower, upper) intercepts that make a line of this slope a bound of f over the box.

        Sound by the remark above; trusts float rounding, and the library's f and f' to `ulps`.
        """
        whole, box = box, self.domain.part(box)
        vertices = self.vertices(box)
        with torch.no_grad():
            parts = [(piece, self._part(piece, box)) for piece in self.curved]
            tangents = [self._tangent(piece, part, self._parallel(piece, part, slope)) for piece, part in parts]
        lower, upper = intercepts(slope, vertices, tangents)
        if not self.ulps:
            return lower, upper
        slack = self.slack(size_of(slope, vertices, tangents))
        lower, upper = lower - slack, upper + slack
        fails, values = self.domain.fails(whole, vertices[1]), self.interval((), whole)
        low, high = sloped(values, whole, slope)
        return low.where(fails | ~lower.isfinite(), lower), high.where(fails | ~upper.isfinite(), upper)

    def encode(
        self, p: Parameters, model: Encoder, columns: Sequence[np.ndarray], boxes: Sequence[IntervalBounds]
    ) -> np.ndarray:
        """Lines that touch at several points; a MILP refuses this op by `is_exact`."""
        return encode_curve(self, model, columns[0], boxes[0])

    def enclose(self, p: Parameters, *xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The interval over the floats around each point. Raises UnsupportedMethod where that is not finite."""
        ends = self.interval(p, IntervalBounds(round_down(xs[0], torch.float64), round_up(xs[0], torch.float64)))
        if not all(bool(end.isfinite().all()) for end in ends):
            raise UnsupportedMethod(f"{type(self).__name__} has no value within float64 at a point; choose another one")
        return exact_array(ends.low), exact_array(ends.high)

    def _outward(self, low: Tensor, high: Tensor) -> IntervalBounds:
        """Values of f as the ends of an interval; an infinite one is beyond the largest float."""
        largest, (least, most) = torch.finfo(low.dtype).max, self.image
        low, high = low.clamp(max=largest), high.clamp(min=-largest)
        return IntervalBounds((low - self.slack(low)).clamp(min=least), (high + self.slack(high)).clamp(max=most))

    def slack(self, size: Tensor) -> Tensor:
        """A few units in the last place, and the smallest normal numbers for values that are flushed to zero."""
        kind = torch.finfo(size.dtype)
        return self.ulps * (kind.eps * size.abs() + kind.tiny) + self.tail * kind.eps

    def _part(self, piece: int, box: IntervalBounds) -> IntervalBounds:
        """A piece's part of the box; an end of the box twice where it has none."""
        low, high = box
        start = low if piece == 0 else low.clamp(min=float(self.breakpoints[piece - 1])).minimum(high)
        if piece == len(self.breakpoints):
            return IntervalBounds(start, high)
        return IntervalBounds(start, high.clamp(max=float(self.breakpoints[piece])).maximum(low))

    def _here(self, piece: int, x: Tensor) -> Tensor | None:
        """Which x lie on a piece, its ends included; None for all, of a curve of one piece."""
        return self._holds(piece, IntervalBounds(x, x)) if self.breakpoints else None

    def _holds(self, piece: int, box: IntervalBounds) -> Tensor:
        """Which boxes lie on a piece, its ends included."""
        inside = [box.low >= float(b) for b in self.breakpoints[max(0, piece - 1) : piece]]
        inside += [box.high <= float(b) for b in self.breakpoints[piece : piece + 1]]
        return reduce(torch.logical_and, inside) if inside else torch.ones_like(box.low, dtype=torch.bool)

    def _slopes(self, box: IntervalBounds) -> tuple[Tensor, Tensor]:
        """At most and at least f' over the box, a few ulps of f' and of what cancels in it further out."""
        least, most = torch.full_like(box.low, torch.inf), torch.full_like(box.low, -torch.inf)
        for piece in range(len(self.curvature)):
            for x in self._part(piece, box):
                slope, here = self.derivative(piece, x), self._here(piece, x)
                least = least.minimum(slope if here is None else slope.where(here | x.isnan(), least))
                most = most.maximum(slope if here is None else slope.where(here | x.isnan(), most))
        kind = torch.finfo(box.low.dtype)
        slack = [self.ulps * (kind.eps * (end.abs() + self.cancels) + kind.tiny) for end in (least, most)]
        return least - slack[0], most + slack[1]

    def _candidate_slopes(self, box: IntervalBounds, x: Tensor, y: Tensor) -> list[Tensor]:
        """Slopes between the vertices: those of linear pieces, then the chord, which is such a piece where f is linear
        on the interval, then those from an end to a corner."""
        limited, linear = self._limited(box), []
        chord = limited(secant(x, y, 0, 1))
        for piece, curvature in enumerate(self.curvature):
            if curvature == Curvature.LINEAR:
                linear.append(self.derivative(piece, box.low))
                chord = torch.where(self._holds(piece, box), linear[-1], chord)
        corners = range(2, len(x)) if len(x) > 3 or self.curved else ()
        return [*linear, chord, *(limited(secant(x, y, *ends)) for k in corners for ends in ((0, k), (k, 1)))]

    def _limited(self, box: IntervalBounds) -> Callable[[Tensor], Tensor]:
        """What moves a slope between two points of f to one that f has over the box; more is but rounding."""
        least, most = self._slopes(box)
        return lambda slope: slope.maximum(least).minimum(most)

    def _tangents(self, box: IntervalBounds, at: Tensor, vertices: Vertices) -> Iterator[Tangent]:
        """Of every curved piece the tangent nearest to f at `at` that clears f at both ends of the box; where none
        does, that at an end of the piece, or parallel to the chord."""
        for piece in self.curved:
            part, low, high = self.touch_range(piece, box, vertices)
            t = at.maximum(low).minimum(high)
            if 0 < piece < len(self.breakpoints):
                t = torch.where(low > high, self._parallel(piece, part, secant(*vertices, 0, 1)), t)
            yield self._tangent(piece, part, t)

    def touch_range(self, piece: int, box: IntervalBounds, vertices: Vertices) -> tuple[IntervalBounds, Tensor, Tensor]:
        """A curved piece's part of the box, and from where to where its tangents clear f at the ends of the box, if
        they do anywhere."""
        part = self._part(piece, box)
        low = part.low if piece == 0 else self._touching(piece, part.low, part.high, vertices, 0)
        is_last = piece == len(self.breakpoints)
        return part, low, part.high if is_last else self._touching(piece, part.high, part.low, vertices, 1)

    def _tangent(self, piece: int, part: IntervalBounds, t: Tensor) -> Tangent:
        slope, here = self.derivative(piece, t), self._here(piece, t)
        slope = slope if here is None else torch.where(here, slope, 0)
        return Tangent(self.curvature[piece] == Curvature.CONCAVE, t, self.forward((), t), slope, part)

    def _touching(self, piece: int, start: Tensor, end: Tensor, vertices: Vertices, k: int) -> Tensor:
        """The point of a piece nearest to `start` whose tangent clears f at vertex k; `end` if none does. What lies
        beyond the vertex clears it by less, as f' is monotone."""
        x, y = (part[k] for part in vertices)
        clears = torch.ge if self.curvature[piece] == Curvature.CONCAVE else torch.le
        at = lambda t: torch.addcmul(self.forward((), t), self.derivative(piece, t), x - t)  # noqa: E731
        return bisected(start, end, lambda t: clears(at(t), y))

    def _parallel(self, piece: int, part: IntervalBounds, slope: Tensor) -> Tensor:
        """The point of a piece where f' is this slope, or an end of it."""
        beyond = torch.le if self.curvature[piece] == Curvature.CONCAVE else torch.ge
        return bisected(*part, lambda t: beyond(self.derivative(piece, t), slope))
