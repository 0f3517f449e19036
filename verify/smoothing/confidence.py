"""What counts of random draws say of probabilities."""

from __future__ import annotations

from scipy.special import bdtrc, betaincinv, ndtri

SURE = 1e-9  # relative error of SciPy's functions that is allowed for


def least_probability(hits: int, draws: int, risk: float) -> float:
    """A lower bound on the probability of an event that was met so often, wrong with probability at most `risk`.

    One-sided, by Clopper and Pearson (1934). Sound because a smaller probability has so many hits or more with
    probability at most `risk`; trusts SciPy's inverse of the incomplete beta function to 1e-9.
    """
    return float(betaincinv(hits, draws - hits + 1, risk)) * (1 - SURE) if hits else 0.0


def is_majority(first: int, second: int, risk: float) -> bool:
    """Whether the first of two events is the more probable one, by their counts; wrong with probability at most `risk`.

    The two-sided binomial test of a fair coin, as Hung and Fithian (2019) use it for the winner of a vote.
    """
    return 2 * float(bdtrc(first - 1, first + second, 0.5)) * (1 + SURE) <= risk if first > second else False


def certified_radius(probability: float, sigma: float) -> float:
    """The L2 radius in which a class of at least this probability stays the most probable one; 0 where it is no
    majority.

    sigma Phi^-1(p) of Cohen et al. (2019), theorem 1, with the other classes together at 1 - p. Sound because Phi^-1(p)
    of the smoothed probability is Lipschitz with 1 / sigma; trusts SciPy's inverse of the normal distribution to 1e-9.
    """
    return sigma * max(0.0, float(ndtri(probability)) - SURE) * (1 - SURE) if probability > 0.5 else 0.0
