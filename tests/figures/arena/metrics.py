"""How a campaign on a map is scored; all by the truth, all over the candidates."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

LEVEL = 0.95
TOP = 0.01
COVERED = 0.9


def measurements_to_level(order: Indices, truth: Array, share: float = LEVEL) -> int | None:
    """Return the measurements until one was taken where the truth is at least min + share of its range; None if never.

    Examples
    --------
    >>> measurements_to_level(np.array([0, 2, 1]), np.array([0.0, 1.0, 0.96]))
    2
    """
    reached = np.flatnonzero(truth[order] >= truth.min() + share * np.ptp(truth))
    return int(reached[0]) + 1 if reached.size else None


def share_of_top(order: Indices, truth: Array, top: float = TOP) -> float:
    """Return the share of the best ``top`` of the candidates that was measured, of what so many could have found.

    With fewer measurements than best candidates, finding nothing else counts as 1.

    Examples
    --------
    >>> share_of_top(np.array([3, 0]), np.arange(4.0), top=0.5)
    0.5
    """
    best = np.argsort(-truth, kind="stable")[: max(1, math.ceil(top * truth.size))]
    return float(np.isin(best, order).sum() / min(best.size, len(order)))


def map_error(mean: Array, truth: Array) -> float:
    """Return the root mean square error of a map over the range of the truth (NRMSE)."""
    return float(np.sqrt(np.mean((mean - truth) ** 2)) / np.ptp(truth))


def rank_correlation(mean: Array, truth: Array) -> float:
    """Return Spearman's rank correlation; 0 for a map without any structure."""
    return 0.0 if np.ptp(mean) == 0 else float(spearmanr(mean, truth).statistic)


def calibration(mean: Array, std: Array, measured: Array, order: Indices) -> tuple[float, float]:
    """Return the standard deviation of z and the coverage of the central 90 % over candidates not yet measured.

    ``std`` is that of a measurement: measurement noise belongs to it. An honest model has about (1, 0.9).
    """
    left = np.setdiff1d(np.arange(mean.size), order)
    z = (measured[left] - mean[left]) / np.maximum(std[left], 1e-12)
    return float(np.sqrt(np.mean(z**2))), float(np.mean(np.abs(z) <= norm.ppf(0.5 + COVERED / 2)))
