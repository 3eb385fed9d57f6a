"""What a measurement tells about how high the highest value is: max-value entropy search over a finite pool."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from autoscope.acquisition.tabulated import Array, Floats, blocks, entropy_lost, log_probability

QUARTILES = (0.25, 0.75)
SURE = 7.0
"""A candidate so many deviations below the maximum's lower quartile shifts its distribution by less than 1e-11."""
FOREMOST = 4096
"""The most promising candidates all enter the distribution of the maximum."""
OTHERS = 8192
"""Of the others at most about so many do, each standing for as many as there are of them."""


def maximum_as_gumbel(mean: Floats, std: Floats) -> tuple[float, float]:
    """Return location and scale of the Gumbel distribution whose quartiles are those of the pool's maximum.

    Candidates count as independent, so that ``P(max < y)`` is the product of ``Phi((y - mean) / std)`` (Wang &
    Jegelka, ICML 2017, section 3.1); the quartiles of that product are found, and a Gumbel distribution has them.

    Parameters
    ----------
    mean, std : array
        Over the pool, (m,), m > 0.

    Examples
    --------
    >>> location, scale = maximum_as_gumbel(np.zeros(1000), np.ones(1000))
    >>> round(location, 1), round(scale, 1)
    (3.1, 0.3)
    """
    low = float(np.max(mean + std * std.dtype.type(ndtri(QUARTILES[0]))))
    mu, sigma, weight = _contenders(mean, std, low)
    if not len(mu):
        return low, 0.0
    table, bounds = log_probability(), ndtri(np.power(QUARTILES, 1.0 / weight.sum()))

    def double_log(y: float) -> float:  # linear in y for a Gumbel distribution, so the root is found at once
        z = np.minimum((y - mu) / sigma, SURE)
        return -math.log(max(-float(weight @ table(z)), 1e-300))

    quartiles = []
    for probability, bound in zip(QUARTILES, bounds, strict=True):
        wanted, high = -math.log(-math.log(probability)), float(np.max(mu + sigma * bound))
        high = max(high, low) + 1e-9 * float(sigma.max())
        lower = double_log(low) >= wanted  # the bound is met exactly, as by a single candidate
        quartiles.append(low if lower else brentq(lambda y, w=wanted: double_log(y) - w, low, high, rtol=1e-10))
    spread = (quartiles[1] - quartiles[0]) / (math.log(-math.log(QUARTILES[0])) - math.log(-math.log(QUARTILES[1])))
    return quartiles[0] + spread * math.log(-math.log(QUARTILES[0])), spread


def _contenders(mean: Floats, std: Floats, low: float) -> tuple[Array, Array, Array]:
    """Return mean, std and weight of the candidates that matter above ``low``."""
    can = np.flatnonzero((std > 0.0) & (mean + SURE * std > low))
    weight = np.ones(len(can))
    if len(can) > FOREMOST + OTHERS:
        hopeful = np.argpartition(-(mean[can] + 2.0 * std[can]), FOREMOST)
        rest = np.sort(hopeful[FOREMOST:])
        stride = -(-len(rest) // OTHERS)
        can = can[np.concatenate([hopeful[:FOREMOST], rest[stride // 2 :: stride]])]
        weight = np.ones(len(can))
        weight[FOREMOST:] = len(rest) / (len(can) - FOREMOST)
    return mean[can].astype(np.float64), std[can].astype(np.float64), weight


def draw_maxima(mean: Floats, std: Floats, count: int, rng: np.random.Generator, least: float = -math.inf) -> Array:
    """Return plausible values of the highest target over a pool, shape (count,), drawn with the given chance.

    Parameters
    ----------
    mean, std : array
        Over the pool, (m,).
    count : int
        How many.
    rng : numpy.random.Generator
        Chance for the draw.
    least : float
        The maximum is at least this: the best posterior mean where something is measured.
    """
    location, scale = maximum_as_gumbel(mean, std)
    drawn = location - scale * np.log(-np.log(rng.uniform(np.finfo(np.float64).tiny, 1.0, size=count)))
    return np.asarray(np.maximum(drawn, least))


def max_value_entropy(mean: Floats, std: Floats, maxima: Array) -> Floats:
    """Return nats gained about the pool's highest value by measuring each candidate, shape (m,), never negative.

    Wang & Jegelka, ICML 2017, eq. 6: the mean over drawn maxima of what the candidate's distribution loses by being
    cut off there. A candidate that is certain tells nothing.

    Parameters
    ----------
    mean, std : array
        Over the pool, (m,).
    maxima : array
        Values drawn for the maximum, (k,).

    Examples
    --------
    >>> max_value_entropy(np.array([0.0, 0.0, 0.5]), np.array([0.0, 1.0, 1.0]), np.array([1.0])).round(3).tolist()
    [0.0, 0.317, 0.496]
    """
    lost, values = entropy_lost(), np.empty_like(mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        for block in blocks(len(mean)):
            centre, spread = mean[block].astype(np.float64), std[block].astype(np.float64)
            per_std = 1.0 / spread
            total = np.zeros(len(centre))
            for maximum in maxima:
                z = maximum - centre
                z *= per_std
                total += lost(np.minimum(z, 35.999, out=z))
            total /= len(maxima)
            values[block] = total if spread.all() else np.where(spread > 0.0, total, 0.0)
    return values
