"""A pool of open domains: equally shaped tensors, one row a domain, that grow and shrink without copying the rest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class OpenDomains:
    """Rows of several tensors with a bound each; free places are used again, room is doubled when it runs out."""

    def __init__(self, parts: Sequence[Tensor]):
        """An empty pool for rows like those of these tensors (n, ...)."""
        device = parts[0].device
        self.bounds = torch.empty(0, dtype=torch.float64, device=device)  # (room,), -inf in free places
        self.parts = [part.new_empty((0, *part.shape[1:])) for part in parts]
        self.free = torch.empty(0, dtype=torch.long, device=device)

    def __len__(self) -> int:
        return len(self.bounds) - len(self.free)

    @property
    def bytes(self) -> int:
        """Memory of the domains that are held."""
        return len(self) * sum(part[:1].numel() * part.element_size() for part in self.parts)

    def put(self, bounds: Tensor, parts: Sequence[Tensor]) -> None:
        """Adds domains: bounds (n,), parts (n, ...) each."""
        n = len(bounds)
        if len(self.free) < n:
            self._grow(max(n - len(self.free), len(self.bounds)))
        places, self.free = self.free[:n], self.free[n:]
        self.bounds[places] = bounds
        for mine, part in zip(self.parts, parts, strict=True):
            mine[places] = part

    def take(self, places: Tensor) -> list[Tensor]:
        """Removes the domains at these places and returns their parts."""
        out = [part[places] for part in self.parts]
        self.bounds[places] = -torch.inf
        self.free = torch.cat([self.free, places])
        return out

    def worst(self, n: int) -> Tensor:
        """The places of the n domains with the largest bounds, or of all; long."""
        return self.bounds.topk(min(n, len(self))).indices

    def best(self, n: int) -> Tensor:
        """The places of the n domains with the smallest bounds, or of all; long."""
        here = self.filled()
        return here[self.bounds[here].topk(min(n, len(here)), largest=False).indices]

    def filled(self) -> Tensor:
        """The places that hold domains, long; a domain's bound is never -inf."""
        return (self.bounds > -torch.inf).nonzero().flatten()

    def _grow(self, more: int) -> None:
        room = len(self.bounds)
        free = torch.cat([self.free, torch.arange(room, room + more, device=self.free.device)])
        bounds = torch.cat([self.bounds, self.bounds.new_full((more,), -torch.inf)])
        parts = [torch.cat([part, part.new_empty((more, *part.shape[1:]))]) for part in self.parts]
        # all or nothing: where memory runs out, the pool stays as it was
        self.free, self.bounds, self.parts = free, bounds, parts
