"""The worth of measuring each candidate, from the mean (m,) and std (m,) of a model there; higher is better.

All values are in the unit of the target (or its square, or a log of it), and choosing by any of them does not
depend on that unit: if the target is ``a * y + b`` with ``a > 0``, the same candidate wins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr, ndtr

from autoscope.surrogates.surrogate import Surrogate

Array = NDArray[np.float64]

_LOG_SQRT_2PI = 0.5 * np.log(2.0 * np.pi)


def upper_confidence_bound(mean: Array, std: Array, kappa: float) -> Array:
    """Return ``mean + kappa * std`` (Srinivas et al., ICML 2010, eq. 6, with ``kappa**2`` for beta).

    Examples
    --------
    >>> upper_confidence_bound(np.array([1.0, 2.0]), np.array([2.0, 0.5]), 2.0).tolist()
    [5.0, 3.0]
    """
    return mean + kappa * std


def log_expected_improvement(mean: Array, std: Array, best: float) -> Array:
    """Return the log of the expected improvement over ``best``; -inf where none is possible.

    Ament et al., NeurIPS 2023, eq. 9: exact where the plain formula (Jones, Schonlau & Welch 1998, eq. 15) has
    long rounded to zero, so candidates far below the best keep their order.
    """
    gap = mean - best
    with np.errstate(divide="ignore", invalid="ignore"):
        certain = np.where(gap > 0.0, np.log(gap), -np.inf)
        uncertain = _log_improvement(gap / std) + np.log(std)
    return np.where(std > 0.0, uncertain, certain)


def _log_improvement(z: Array) -> Array:
    """Return ``log(phi(z) + z Phi(z))`` for any z."""
    near = np.clip(z, -1.0, None)
    direct = np.log(np.exp(-0.5 * near**2 - _LOG_SQRT_2PI) + near * ndtr(near))
    far = np.minimum(z, -1.0)
    tail = -0.5 * far**2 - _LOG_SQRT_2PI
    # phi + z Phi = phi (1 - |z| R(|z|)), R Mills' ratio; beyond |z| = 1e3 its series 1/z^2 - 3/z^4 is exact to double
    shrink = np.where(
        far > -1e3,
        1.0 + far * np.sqrt(np.pi / 2.0) * erfcx(-np.clip(far, -1e3, None) / np.sqrt(2.0)),
        far**-2.0 - 3.0 * far**-4.0,
    )
    return np.asarray(np.where(z > -1.0, direct, tail + np.log(shrink)))


def log_probability_of_improvement(mean: Array, std: Array, best: float) -> Array:
    """Return the log of the probability of exceeding ``best`` (Kushner 1964); the log keeps far candidates in order."""
    gap = mean - best
    with np.errstate(divide="ignore", invalid="ignore"):
        certain = np.where(gap > 0.0, 0.0, -np.inf)
        return np.where(std > 0.0, log_ndtr(gap / std), certain)


def max_variance(std: Array) -> Array:
    """Return the variance: measure where the model knows least, for a map rather than a maximum."""
    return std**2


def straddle(mean: Array, std: Array, level: float, kappa: float) -> Array:
    """Return ``kappa * std - |mean - level|``: trace the contour where the target crosses ``level``.

    Bryan et al., NIPS 2005, eq. 1, with 1.96 for ``kappa``. It also seeks a wanted value of the target.
    """
    return kappa * std - np.abs(mean - level)


def novelty(mean: Array, std: Array, seen: Array) -> Array:
    """Return how far each candidate's target is expected to lie from every value seen so far (n,), shape (m,).

    The root-mean-square distance in target space to the nearest value seen; infinite while nothing has been seen.
    Novelty search (Lehman & Stanley 2011) with the nearest neighbour for its sparseness measure.
    """
    if len(seen) == 0:
        return np.full(len(mean), np.inf)
    known = np.sort(seen)
    after = np.searchsorted(known, mean)
    above = np.abs(known[np.minimum(after, len(known) - 1)] - mean)
    below = np.abs(known[np.maximum(after - 1, 0)] - mean)
    return np.hypot(np.minimum(above, below), std)


def thompson(model: Surrogate, rng: np.random.Generator) -> Array:
    """Return one function drawn from the posterior over the model's pool (Thompson 1933), shape (m,)."""
    return model.sample_pool(rng)


def per_second(gain: Array, time_s: Array) -> Array:
    """Return gain per second for gains >= 0 and predicted times > 0, so that a cheap candidate can beat a good one.

    For the log of a gain, subtract ``log(time_s)`` instead.
    """
    return gain / time_s
