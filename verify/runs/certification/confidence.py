"""What a count of samples says of the population that they were drawn from."""

from __future__ import annotations

CONFIDENCE = 0.95


def clopper_pearson(low: int, high: int, samples: int) -> tuple[float, float]:
    """An interval for a share of which between `low` and `high` of so many samples are known to count.

    The exact binomial limits of Clopper and Pearson (1934): the lower one from `low`, the upper one from `high`. It
    covers the share with at least `CONFIDENCE` if samples are drawn independently.
    """
    from scipy.special import betaincinv

    tail = (1 - CONFIDENCE) / 2
    least = float(betaincinv(low, samples - low + 1, tail)) if low else 0.0
    most = float(betaincinv(high + 1, samples - high, 1 - tail)) if high < samples else 1.0
    return least, most
