"""Perturbations: what they make of images, that bounds hold over dense grids of parameters, and that proofs do."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from verify.models import digits

import verify
from tests.support.nets import seeded
from tests.support.perturbations import ORACLES, drawn
from verify.check.checker import check
from verify.errors import InputError, UnsupportedMethod
from verify.fronts import Blur, Brightness, Perturbation, PixelNoise, Rotation, Translation, perturbation_of, perturbed
from verify.fronts.perturbed import front_of, picture_of, unchanged
from verify.ir.evaluate import exact_value
from verify.ir.front import behind
from verify.ir.graph import Network
from verify.ir.symbolic import variable
from verify.problem import Problem
from verify.registry import FRONTS
from verify.sets import Box
from verify.upper.crown import linear_boxes

X, Y = digits()
TEXTS = [entry.example for entry in FRONTS.values() if entry.example]
CHAIN = "rotation:4deg+brightness:0.05"
SHAPE = (1, 5, 5)
GRID = {1: 101, 2: 11}  # points an axis, by the number of parameters
DEAR = {"scaling", "shear", "rotation", "gain", "contrast", "boxblur", "motion", "patch"}  # conformance looks at them
GRIDDED = [pytest.param(text, marks=pytest.mark.conformance) if text.partition(":")[0] in DEAR else text
           for text in TEXTS]
METHODS = (verify.Interval(), verify.CROWN(), verify.BranchAndBound(time_limit=60))


def taker(shape: tuple[int, ...]) -> Network:
    """A network of images of this shape."""
    return (variable(shape) * 2).network()


def front(text: str, shape: tuple[int, ...] = SHAPE) -> Network:
    return front_of(perturbation_of(text), taker(shape), None)


def image(noise: np.random.Generator, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.vectorize(Fraction, otypes=[object])(noise.integers(0, 17, shape) / 16)


@pytest.mark.parametrize("text", TEXTS)
def test_what_becomes_of_an_image_is_what_the_oracle_says(text: str) -> None:
    """In rationals, where there are no sines."""
    noise, found, network = np.random.default_rng(0), perturbation_of(text), front(text)
    oracle = ORACLES[text.partition(":")[0]]
    shares = [Fraction(0), Fraction(1), Fraction(1, 2), *(Fraction(n, 64) for n in noise.integers(0, 65, 1).tolist())]
    for k in range(len(shares)):
        x, theta = image(noise), drawn(found.ranges(SHAPE), shares[k:] + shares[:k])
        want, point = oracle(found, x, theta), np.array([*x.ravel(), *theta], object)
        try:
            assert (exact_value(network, point).reshape(SHAPE) == want).all()
        except UnsupportedMethod:
            floats = network.double()(torch.from_numpy(point.astype(np.float64))[None])[0].numpy()
            np.testing.assert_allclose(floats, want.astype(np.float64), atol=1e-12)


@pytest.mark.parametrize("text", TEXTS)
def test_half_a_perturbation_is_a_part_of_the_whole(text: str) -> None:
    """What is verified at one eps is verified at smaller ones, and what fools at one fools at larger ones."""
    whole = perturbation_of(text)
    half, x = whole.times(Fraction(1, 2)), torch.rand(25, dtype=torch.float64, generator=torch.manual_seed(2))
    small, large = half.ranges(SHAPE), whole.ranges(SHAPE)
    assert bool(((large.low <= small.low) & (small.high <= large.high)).all())
    for share in (Fraction(0), Fraction(1, 3), Fraction(1)):
        theta = torch.tensor([float(value) for value in drawn(small, [share])], dtype=torch.float64)
        point = torch.cat([x, theta])[None]
        made = [front_of(found, taker(SHAPE), None).double()(point) for found in (half, whole)]
        torch.testing.assert_close(*made, atol=1e-12, rtol=0)


def test_every_perturbation_has_an_oracle() -> None:
    assert FRONTS.keys() == ORACLES.keys()


@pytest.mark.parametrize("text", [*TEXTS, CHAIN])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 6)])
def test_neutral_parameters_change_nothing_not_even_by_rounding(text: str, shape: tuple[int, ...]) -> None:
    x, found = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1)), perturbation_of(text)
    assert torch.equal(front(text, shape)(unchanged(found, x)), x)
    nothing = found.times(Fraction(0))
    assert not (nothing.ranges(shape).high - nothing.ranges(shape).low).any()
    assert torch.equal(front_of(nothing, taker(shape), None)(unchanged(nothing, x)), x)


def grid(problem: Problem, case: int, found: Perturbation) -> torch.Tensor:
    """Points of one case on a dense grid of parameters, and random ones where parameters are many."""
    shape, x = (1, 8, 8), problem.inputs.low[case : case + 1, :64]
    ranges = found.ranges(shape)
    axes = [np.linspace(float(low), float(high), GRID.get(len(ranges.low), 2))
            for low, high in zip(ranges.low, ranges.high, strict=True)]
    if len(axes) <= 2:
        theta = np.array([*product(*axes)])
    else:
        share = np.random.default_rng(case).random((2000, len(axes)))
        theta = ranges.low.astype(float) + share * (ranges.high - ranges.low).astype(float)
    return torch.cat([x.expand(len(theta), -1), torch.from_numpy(theta).float()], 1)


@pytest.mark.parametrize("text", [*GRIDDED, CHAIN])
def test_no_point_of_a_dense_grid_beats_a_bound(text: str) -> None:
    """Of perturbations a quarter as large, of which some samples are robust and some are not."""
    found, network = perturbation_of(text).times(Fraction(1, 4)), verify.load("digits-dense-interval")
    problem = perturbed(network, X[:3], Y[:3], found)
    brackets = [verify.solve(problem, method) for method in METHODS]
    attack = verify.solve(problem, verify.PGD())
    wide = problem.in_float64
    for case in range(3):
        points = grid(problem, case, found).double()
        many = wide.select(torch.full((len(points),), case))
        top = float(many.violation(points).max())
        for method, bracket in zip(METHODS, brackets, strict=True):
            assert top <= float(bracket.upper[case]) + 1e-6, (method.name, case)
        assert top < 1e-3 or attack.lower[case] >= 0, case  # what the grid finds, an attack does too
    assert min(float(b.upper[0]) for b in brackets) < 0  # some are bounds worth having


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([*TEXTS, CHAIN]), st.integers(0, 10**6), st.fractions(0, 1), st.fractions(0, 1))
def test_boxes_of_a_front_hold_its_values(text: str, seed: int, first: Fraction, second: Fraction) -> None:
    """Interval and backward bounds over parts of the ranges, around points of these parts."""
    noise, found, network = np.random.default_rng(seed), perturbation_of(text), front(text).double()
    ranges, pixels = found.ranges(SHAPE), torch.rand(25, dtype=torch.float64, generator=torch.manual_seed(seed))
    low, high = (np.array([float(a + (b - a) * share) for a, b in zip(ranges.low, ranges.high, strict=True)])
                 for share in sorted((first, second)))
    theta = low + noise.random((50, len(low))) * (high - low)
    least, most = (torch.cat([pixels, torch.from_numpy(end)])[None] for end in (low, high))
    boxes = linear_boxes(network, Box(least, most))[network.graph.output]
    values = network(torch.cat([pixels.expand(50, -1), torch.from_numpy(theta)], 1))
    assert bool(((boxes.low - 1e-9 <= values) & (values <= boxes.high + 1e-9)).all())


def test_products_with_pinned_pixels_lose_nothing() -> None:
    """A change of contrast is linear in its one parameter, so CROWN on a linear network is exact."""
    noise = torch.Generator().manual_seed(3)
    pixels = variable((1, 2, 2)).flatten()
    network = (pixels[[0, 1]] * 3 - pixels[[2, 3]]).network()
    x = torch.rand(4, 1, 2, 2, generator=noise)
    problem = perturbed(network, x, network(x).argmax(1), "contrast:1/4", clip=None)
    bracket = verify.solve(problem, verify.CROWN())
    wide = problem.in_float64
    ends = torch.stack([wide.violation(end) for end in (wide.inputs.low, wide.inputs.high)])
    torch.testing.assert_close(bracket.upper.double(), ends.amax(0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("text", [*GRIDDED, CHAIN, "brightness:0.05+linf:1/255"])
def test_certificates_of_perturbations_are_accepted_and_state_the_front(text: str) -> None:
    network = verify.load("digits-dense-interval")
    problem = perturbed(network, X[3:4], Y[3:4], perturbation_of(text).times(Fraction(1, 4)))
    proof = verify.prove(problem)
    assert proof.certificate is not None, proof.reason
    report = check(proof.certificate, "R")
    assert report.accepted
    assert report.front
    assert "the network's input" in report.front[0]


def test_a_perturbation_that_fools_has_a_point_that_does() -> None:
    network = verify.load("digits-dense-interval")
    problem = perturbed(network, X[:8], Y[:8], Translation("1", "1"))
    bracket = verify.solve(problem, verify.PGD())
    fooled = (bracket.lower >= 0).nonzero().flatten()
    assert len(fooled) > 3
    assert bracket.witness is not None
    assert problem.front is not None
    images = problem.front(bracket.witness[fooled])
    assert bool((network(images).argmax(1) != Y[:8][fooled]).all())
    assert bool(((images >= 0) & (images <= 1)).all())


def test_no_image_lies_outside_of_the_clip() -> None:
    """Rounding carries a few pixels of a moved image 6e-8 below 0, and what comes in is 0 wherever the clip lies."""
    found, x = Translation(2, 2), (2 * torch.rand(64, generator=torch.manual_seed(0))).clamp(0.5, 1.5) - 0.5
    theta = 4 * torch.rand(200, 2, generator=torch.manual_seed(1)) - 2
    points = torch.cat([x.expand(200, -1), theta], 1)
    unit, inner = (Fraction(0), Fraction(1)), (Fraction(1, 4), Fraction(1))
    executed, images = (of(found, taker((1, 8, 8)), unit)(points) for of in (front_of, picture_of))
    assert executed.min() < 0 == images.min()
    assert torch.equal(images, executed.clamp(0, 1))
    assert front_of(found, taker((1, 8, 8)), inner)(points.clamp(min=0.25)).min() == 0.25


def test_a_blur_of_any_deviation_has_a_range() -> None:
    for by in (Fraction(1, 10**200), Fraction(1, 40), Fraction(1, 3)):
        (high,) = Blur(by).ranges(SHAPE).high
        with mpmath.workdps(50):
            assert 0 < mpmath.exp(-1 / (2 * (mpmath.mpf(by.numerator) / by.denominator) ** 2)) <= float(high)


def test_texts_mean_what_their_classes_do() -> None:
    assert perturbation_of("brightness:1/10") == Brightness(Fraction(1, 10))
    assert perturbation_of("translation:2") == Translation(Fraction(2), Fraction(2))
    chain = perturbation_of("rotation:5deg + linf:1/255")
    assert chain.parts == (Rotation("5deg"), PixelNoise(Fraction(1, 255)))
    assert (Rotation("5deg") + PixelNoise("1/255")).parts[0] == chain.parts[0]
    for degrees, radians in (("5deg", 5 * np.pi / 180), ("0.1rad", 0.1), ("30", np.pi / 6)):
        (high,) = Rotation(degrees).ranges(SHAPE).high
        assert 0 <= float(high) - radians < 1e-7
    (high,) = Rotation("6deg").times(Fraction(1, 2)).ranges(SHAPE).high
    assert Fraction(np.pi / 60) <= high <= Fraction(np.pi / 60) + Fraction(1, 10**7)


@pytest.mark.parametrize(("text", "told"), [
    ("brightness:x", "is not a finite number"), ("brightness:-1", "must be at least 0"), ("translation:1,2,3", "has 3"),
    ("turning:5", "unknown perturbation"), ("rotation:5deg+", "unknown perturbation"), ("rotation:200deg", "at most"),
])
def test_what_is_not_understood_is_told(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        perturbation_of(text).ranges(SHAPE)


def test_flat_inputs_cannot_be_turned() -> None:
    with pytest.raises(InputError, match="moves the pixels of images"):
        perturbed(taker((4,)), torch.rand(1, 4), [0], "rotation:5deg")


def test_rows_stop_at_a_front_whose_last_neurons_are_off() -> None:
    """What they keep of a value is what its form is cut to."""
    front = seeded(nn.Sequential(nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 400), nn.ReLU()), 0)
    with torch.no_grad():
        front.get_parameter("2.bias")[:300] -= 9
    network = seeded(nn.Sequential(nn.Linear(400, 60), nn.ReLU(), nn.Linear(60, 3)), 1)
    whole = behind(verify.trace(network, torch.zeros(1, 400)), verify.trace(front, torch.zeros(1, 1)))
    problem = verify.robustness(whole, torch.full((2, 1), 0.5), [0, 1], eps="1/4")
    upper = verify.solve(problem, verify.CROWN()).upper
    points = problem.inputs.low + torch.linspace(0, 1, 101)[:, None, None] * (problem.inputs.high - problem.inputs.low)
    top = torch.stack([problem.violation(x) for x in points]).amax(0)
    assert bool((top <= upper).all())
    assert bool((upper < top + 0.5).all())
