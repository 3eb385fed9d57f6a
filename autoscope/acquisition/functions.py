"""The worth of measuring each candidate, from the mean (m,) and std (m,) of a model there; higher is better.

All values are in the unit of the target (or its square, or a log of it, or nats), and choosing by any of them does
not depend on that unit: if the target is ``a * y + b`` with ``a > 0``, the same candidate wins. ``mean`` and ``std``
may be float32 or float64; values come back as precise as they were given.
"""

from __future__ import annotations

import numpy as np

from autoscope.acquisition.tabulated import Array, Floats, Tabulated, blocks, log_improvement, log_probability
from autoscope.surrogates.surrogate import Surrogate

BINS = 16384
"""Of the table that finds the neighbours of a value among those seen."""
MOST_PER_BIN = 8
"""Values seen in one bin; more are searched for instead."""


def upper_confidence_bound(mean: Floats, std: Floats, kappa: float) -> Floats:
    """Return ``mean + kappa * std`` (Srinivas et al., ICML 2010, eq. 6, with ``kappa**2`` for beta).

    Examples
    --------
    >>> upper_confidence_bound(np.array([1.0, 2.0]), np.array([2.0, 0.5]), 2.0).tolist()
    [5.0, 3.0]
    """
    values = std * float(kappa)
    values += mean
    return values


def log_expected_improvement(mean: Floats, std: Floats, best: float) -> Floats:
    """Return the log of the expected improvement over ``best``; -inf where none is possible.

    Ament et al., NeurIPS 2023, eq. 9: exact where the plain formula (Jones, Schonlau & Welch 1998, eq. 15) has
    long rounded to zero, so candidates far below the best keep their order.
    """
    values = np.empty_like(mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        for block in blocks(len(mean)):
            gap, spread, found = _standard(mean[block], std[block], best, log_improvement())
            found += np.log(spread)
            if not spread.all():
                found = np.where(spread > 0.0, found, np.log(np.maximum(gap, 0.0)))
            values[block] = found
    return values


def log_probability_of_improvement(mean: Floats, std: Floats, best: float) -> Floats:
    """Return the log of the probability of exceeding ``best`` (Kushner 1964); the log keeps far candidates in order."""
    values = np.empty_like(mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        for block in blocks(len(mean)):
            gap, spread, found = _standard(mean[block], std[block], best, log_probability())
            if not spread.all():
                found = np.where(spread > 0.0, found, np.where(gap > 0.0, 0.0, -np.inf))
            values[block] = found
    return values


def _standard(mean: Floats, std: Floats, best: float, of: Tabulated) -> tuple[Array, Array, Array]:
    """Return the gap to the best, the spread, and a function of their ratio, in float64."""
    gap = np.subtract(mean, best, dtype=np.float64)
    spread = std.astype(np.float64, copy=False)
    return gap, spread, of(gap / spread)


def max_variance(std: Floats) -> Floats:
    """Return the variance: measure where the model knows least, for a map rather than a maximum."""
    return std * std


def straddle(mean: Floats, std: Floats, level: float, kappa: float) -> Floats:
    """Return ``kappa * std - |mean - level|``: trace the contour where the target crosses ``level``.

    Bryan et al., NIPS 2005, eq. 1, with 1.96 for ``kappa``. It also seeks a wanted value of the target.
    """
    distance = mean - float(level)
    np.abs(distance, out=distance)
    values = std * float(kappa)
    values -= distance
    return values


def novelty(mean: Floats, std: Floats, seen: Array) -> Floats:
    """Return how far each candidate's target is expected to lie from every value seen so far (n,), shape (m,).

    The root-mean-square distance in target space to the nearest value seen; infinite while nothing has been seen.
    Novelty search (Lehman & Stanley 2011) with the nearest neighbour for its sparseness measure.
    """
    if len(seen) == 0:
        return np.full_like(mean, np.inf)
    nearest = _Nearest(seen)
    values = np.empty_like(mean)
    for block in blocks(len(mean)):
        distance = nearest.distance(mean[block].astype(np.float64, copy=False))
        spread = std[block].astype(np.float64, copy=False)
        distance *= distance
        distance += spread * spread
        values[block] = np.sqrt(distance)
    return values


class _Nearest:
    """Distances to the nearest of some values, by a table of where to begin to look among the sorted ones."""

    def __init__(self, values: Array) -> None:
        self._known = np.unique(values)
        self._middles = 0.5 * (self._known[1:] + self._known[:-1])
        self._low, span = self._known[0], self._known[-1] - self._known[0]
        self._per_unit = BINS / span if span > 0.0 and np.isfinite(BINS / span) else 0.0
        bins = np.minimum((self._middles - self._low) * self._per_unit, BINS - 1).astype(np.intp)
        counts = np.bincount(bins, minlength=BINS)
        self._passes = int(counts.max())
        self._first = np.cumsum(counts) - counts
        self._bounds = np.append(self._middles, np.inf)

    def distance(self, x: Array) -> Array:
        """Return the distance of every ``x`` (m,) to the nearest known value, shape (m,)."""
        if self._passes > MOST_PER_BIN:
            at = np.searchsorted(self._middles, x)
        else:
            scaled = np.clip((x - self._low) * self._per_unit, 0.0, BINS - 1)
            at = self._first.take(np.nan_to_num(scaled, copy=False).astype(np.intp))
            for _ in range(self._passes):
                at += x > self._bounds.take(at)
        return np.asarray(np.abs(x - self._known.take(at)))


def thompson(model: Surrogate, rng: np.random.Generator) -> Array:
    """Return one function drawn from the posterior over the model's pool (Thompson 1933), shape (m,)."""
    return model.sample_pool(rng)
