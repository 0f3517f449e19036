"""From a point to the best point of its linear region, by one linear program.

On the inputs that give every hinge the side that it has at a point, the network is affine; gradient ascent creeps along
the borders of such regions, while a linear program goes straight to the best vertex.
"""

from __future__ import annotations

import torch
from torch import Tensor

from verify.exact.search.leaf_lp import solve_leaf
from verify.exact.search.tasks import Tasks
from verify.upper.duals.domains import Domains
from verify.upper.duals.root_bounds import Root

LARGEST = 1 << 21  # entries of the linear program's matrix up to which climbing is worth its time


def can_climb(root: Root) -> bool:
    """Whether the regions are polyhedra whose linear programs are small."""
    hinges = all(layer.breakpoint is not None or not len(layer.tracked) for layer in root.dual.layers.values())
    small = root.dual.tracked * root.dual.radius[0].numel() <= LARGEST
    return hinges and small and not root.dual.mixing and root.dual.inputs.is_box


def climbed(root: Root, tasks: Tasks, case: int, x: Tensor) -> Tensor:
    """The best point of the linear region around x (1, *input shape) for the task that is violated most there; the
    same shape, float64."""
    wide, network = root.in_float64, root.in_float64.network
    values = network.values(x.double())
    low, high = root.low[case, None].clone(), root.high[case, None].clone()
    for layer in wide.layers.values():
        if layer.breakpoint is None:
            continue
        on = values[layer.source].flatten(1)[:, layer.tracked] >= layer.breakpoint
        low[:, layer.span] = torch.where(on, low[:, layer.span].clamp(min=layer.breakpoint), low[:, layer.span])
        high[:, layer.span] = torch.where(on, high[:, layer.span], high[:, layer.span].clamp(max=layer.breakpoint))
    owner = torch.tensor([case], device=x.device)
    domain = Domains(owner, low, high, wide.usual_slopes(low, high), torch.zeros_like(low))
    split = (low > root.low[case]) | (high < root.high[case])
    y, best, top = values[network.graph.output].flatten(), -torch.inf, None
    for task in (tasks.case == case).nonzero().flatten().tolist():
        rows, offset = tasks.terms(task)
        least = rows.a.flatten(1) @ y - offset
        if rows.direct is not None:
            least = least + rows.direct.flatten(1) @ x.double().flatten()
        if top is None or float(least.min()) > best:
            best, top = float(least.min()), (rows, offset)
    assert top is not None
    return solve_leaf(wide, *top, domain, split[0]).x
