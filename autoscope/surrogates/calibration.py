"""Does a model know what it does not know? Judged prequentially: each prediction before its measurement.

All functions take observed values ``y`` (n,), predicted means (n,) and predictive standard deviations (n,),
which include the noise of the measurement itself: ``sqrt(std**2 + noise_std**2)``. Prequential: Dawid 1984.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from autoscope.records import Value

Array = NDArray[np.float64]


class Calibration(Value):
    """How honest a series of predictions was.

    A calibrated Gaussian forecaster has mean z 0, std of z 1, and covers 90 % of values with 90 % intervals.
    """

    n: int
    mean_z: float
    std_z: float
    coverage_90: float
    log_score: float
    """Mean log predictive density; higher is better."""


def z_scores(y: Array, mean: Array, std: Array) -> Array:
    """Return standardised errors, shape (n,).

    Examples
    --------
    >>> z_scores(np.array([3.0]), np.array([1.0]), np.array([2.0])).tolist()
    [1.0]
    """
    return np.asarray((y - mean) / std)


def coverage(y: Array, mean: Array, std: Array, level: float = 0.9) -> float:
    """Return the fraction of values inside central intervals of probability ``level``.

    Examples
    --------
    >>> coverage(np.array([0.0, 5.0]), np.zeros(2), np.ones(2))
    0.5
    """
    half_width = float(norm.ppf(0.5 + level / 2.0))
    return float(np.mean(np.abs(z_scores(y, mean, std)) <= half_width))


def log_score(y: Array, mean: Array, std: Array) -> float:
    """Return the mean log predictive density of Gaussian forecasts (Gneiting & Raftery 2007, section 4.1)."""
    return float(np.mean(norm.logpdf(y, mean, std)))


def calibration(y: Array, mean: Array, std: Array) -> Calibration:
    """Return all figures at once for a non-empty series."""
    z = z_scores(y, mean, std)
    return Calibration(
        n=len(y),
        mean_z=float(np.mean(z)),
        std_z=float(np.std(z)),
        coverage_90=coverage(y, mean, std),
        log_score=log_score(y, mean, std),
    )
