"""The parts of branch and bound: pool, tasks, branching, leaves, narrowing, maxima as hinges, limits."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.phases import exact_maximum
from tests.support.small_nets import NETWORKS, dense, problem
from verify.deadline import Deadline
from verify.errors import InputError
from verify.exact.search.branching import candidates, split_points
from verify.exact.search.leaf_lp import solve_leaf
from verify.exact.search.limits import Limits
from verify.exact.search.open_domains import OpenDomains
from verify.exact.search.refine_bounds import narrowed
from verify.exact.search.tasks import Tasks
from verify.ir.unfold import has_maxima, unfold_maxima
from verify.ops import Clip, LeakyReLU, Op, ReLU, Sigmoid
from verify.upper.duals.descent import optimise
from verify.upper.duals.domains import Domains
from verify.upper.duals.dual import RelaxedDomains
from verify.upper.duals.root_bounds import Root


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 6)), max_size=25), st.integers(0, 1000))
def test_a_pool_keeps_what_a_list_would(moves: list[tuple[bool, int]], seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    pool, expected = OpenDomains([torch.zeros(1, dtype=torch.long), torch.zeros(1, 3)]), {}
    count = 0
    for put, n in moves:
        if put:
            names, bounds = torch.arange(count, count + n), torch.rand(n, generator=rng, dtype=torch.float64)
            pool.put(bounds, [names, names[:, None].float().expand(-1, 3)])
            expected.update(zip(names.tolist(), bounds.tolist(), strict=True))
            count += n
        else:
            worst = sorted(expected, key=lambda name: -expected[name])[:n]
            names, values = pool.take(pool.worst(n))
            assert names.tolist() == worst
            assert torch.equal(values, names[:, None].float().expand(-1, 3))
            for name in worst:
                del expected[name]
        here = pool.filled()
        assert len(pool) == len(here) == len(expected)
        assert dict(zip(pool.parts[0][here].tolist(), pool.bounds[here].tolist(), strict=True)) == expected


@pytest.mark.parametrize("kind", ["untargeted", "conjunctive"])
def test_tasks_are_the_disjuncts(kind: str) -> None:
    """At every point the largest over tasks of the least row is the violation, and no share of rows exceeds that."""
    p = problem(dense(ReLU(), (4, 6, 3), 3), kind, 5)
    tasks, rng = Tasks(p), torch.Generator().manual_seed(0)
    every = torch.arange(len(tasks.case))
    for _ in range(20):
        x = p.inputs.sample(rng)
        y = p.network(x)
        rows, least = [], []
        for task in range(len(tasks.case)):
            objective, offset = tasks.terms(task)
            values = objective.a.flatten(1) @ y.double().flatten() - offset
            if objective.direct is not None:
                values = values + objective.direct.flatten(1) @ x.double().flatten()
            rows.append(values)
            least.append(float(values.min()))
        assert max(least) == pytest.approx(p.violation(x).item(), abs=1e-5)
        share = tasks.shifted(every, tasks.equal_shares(), x.expand(len(every), -1), y.expand(len(every), -1))
        assert torch.allclose(share.sum(1), torch.ones(len(every)))
        objective, offset = tasks.objective(every, share)
        mixed = objective.a.flatten(1) @ y.flatten() - offset
        if objective.direct is not None:
            mixed = mixed + objective.direct.flatten(1) @ x.flatten()
        equal = [float(values.mean()) for values in rows]
        for value, low, middle in zip(mixed.tolist(), least, equal, strict=True):
            assert low - 1e-5 <= value <= middle + 1e-5


def _root(op: Op, seed: int) -> tuple[Root, Tasks]:
    p = problem(dense(op, (4, 8, 6, 3), seed), "untargeted", seed).merged
    return Root.of(p), Tasks(p)


def _whole(root: Root, n: int) -> Domains:
    low, high = root.low[:1].float().expand(n, -1).clone(), root.high[:1].float().expand(n, -1).clone()
    owner = torch.zeros(n, dtype=torch.long)
    return Domains(owner, low, high, root.dual.usual_slopes(low, high), torch.zeros_like(low))


@pytest.mark.parametrize("op", [ReLU(), LeakyReLU(Fraction(3)), Sigmoid(), Clip(Fraction(-1), Fraction(1))])
def test_candidates_are_open_and_split_inside(op: Op) -> None:
    root, tasks = _root(op, 1)
    n = len(tasks.case)
    objective, _ = tasks.objective(torch.arange(n), tasks.equal_shares())
    optimised = optimise(root.dual, objective, _whole(root, n), 5)
    tracked = candidates(root.dual, optimised, 4)
    assert tracked.shape == (n, 4)
    unstable = root.dual.unstable(optimised.domains.low, optimised.domains.high)
    for row in range(n):
        real = tracked[row][tracked[row] >= 0]
        assert len(real)
        assert len(real.unique()) == len(real)
        assert bool(unstable[row, real].all())
        low, high = optimised.domains.low[row, real], optimised.domains.high[row, real]
        point = split_points(root.dual, real, low, high)
        assert bool(((low < point) & (point < high)).all())


@pytest.mark.parametrize("kind", ["untargeted", "conjunctive"])
@pytest.mark.parametrize("seed", range(5))
def test_leaves_cover_the_maximum(seed: int, kind: str) -> None:
    """Over all 2^6 phases, the largest of the leaves' linear programs is the maximum; each point attains its bound."""
    p = problem(dense(ReLU(), (3, 6, 3), seed), kind, seed)
    exact, root, tasks = exact_maximum(p), Root.of(p.merged), Tasks(p.merged)
    low, high = root.low[0], root.high[0]
    best = -torch.inf
    for phase in range(2**root.dual.tracked):
        on = torch.tensor([phase >> k & 1 for k in range(root.dual.tracked)], dtype=torch.bool)
        if bool((on & (high <= 0) | ~on & (low >= 0)).any()):
            continue
        below, above = torch.where(on, low.clamp(min=0), low)[None], torch.where(on, high, high.clamp(max=0))[None]
        domain = Domains(
            torch.zeros(1, dtype=torch.long),
            below,
            above,
            root.in_float64.usual_slopes(below, above),
            torch.zeros_like(below),
        )
        for task in range(len(tasks.case)):
            rows, offset = tasks.terms(task)
            leaf = solve_leaf(root.in_float64, rows, offset, domain, ((below > low) | (above < high))[0])
            assert bool(p.inputs.contains(p.inputs.project(leaf.x.float())).all())
            assert leaf.share.sum().item() == pytest.approx(1)
            a = (leaf.share[:, None] * rows.a.flatten(1)).sum(0)[None]
            direct = None if rows.direct is None else (leaf.share[:, None] * rows.direct.flatten(1)).sum(0)[None]
            relaxed = RelaxedDomains(root.in_float64, domain)
            pulled = relaxed.pull(rows._replace(a=a, direct=direct), domain.slope, leaf.multiplier)
            best = max(best, float(pulled.bound - leaf.share @ offset))
    assert best == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_narrowed_ranges_hold_and_shrink(seed: int) -> None:
    p = problem(dense(ReLU(), (4, 8, 8, 3), seed), "untargeted", seed).merged
    root, rng = Root.of(p), torch.Generator().manual_seed(seed)
    tight = narrowed(root, 7, Limits())
    assert bool((tight.low >= root.low).all() and (tight.high <= root.high).all())
    assert float((tight.high - tight.low).sum()) < float((root.high - root.low).sum())
    for _ in range(200):
        x, z = p.inputs.sample(rng), []
        values = {root.dual.network.graph.input: x}
        for node, parameters in root.dual.network.walk():
            values[node.name] = node.op.forward(parameters, *(values[name] for name in node.inputs))
        for layer in root.dual.layers.values():
            z.append(values[layer.source].flatten(1)[:, layer.tracked])
        z = torch.cat(z, 1).double()
        assert bool(((z >= tight.low - 1e-5) & (z <= tight.high + 1e-5)).all())


def test_narrowing_stops_at_the_deadline() -> None:
    root = Root.of(problem(dense(ReLU(), (4, 8, 8, 3), 0), "untargeted", 0).merged)
    late = narrowed(root, 7, Limits(Deadline.after(-1.0)))
    assert torch.equal(late.low, root.low)


def test_maxima_as_hinges_are_the_same_function() -> None:
    network = NETWORKS["maxpool"](3)
    unfolded = unfold_maxima(network)
    assert has_maxima(network)
    assert not has_maxima(unfolded)
    x = torch.randn(50, *network.input_shape, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(network(x), unfolded(x), atol=1e-5)


def test_limits_say_why() -> None:
    assert Limits().reached(10**9) is None
    assert Limits(domains=5).reached(4) is None
    assert "5 domains" in str(Limits(domains=5).reached(5))
    assert "time" in str(Limits(Deadline.after(-1.0)).reached(0))
    with pytest.raises(InputError, match="time_limit is 0"):
        Limits.starting_now(0)
