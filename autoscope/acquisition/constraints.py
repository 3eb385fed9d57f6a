"""Measuring where a bound on another target holds, as far as is known."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import log_ndtr

from autoscope.acquisition.functions import log_expected_improvement
from autoscope.acquisition.tabulated import Floats


def log_probability_of_feasibility(
    mean: Floats, std: Floats, at_least: float = -math.inf, at_most: float = math.inf
) -> Floats:
    """Return the log of the probability that each candidate lies within the bounds, shape (m,).

    Gardner et al., ICML 2014, section 3.2, in logs, so that hopeless candidates keep their order.

    Examples
    --------
    >>> log_probability_of_feasibility(np.array([0.0, 2.0]), np.ones(2), at_least=1.0).round(3).tolist()
    [-1.841, -0.173]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (at_least - mean) / std, (at_most - mean) / std
        flip = low > 0.0  # both above the mean: the difference is taken between the small tails
        low, high = np.where(flip, -high, low), np.where(flip, -low, high)
        outer = log_ndtr(high)
        values = outer + np.log1p(-np.exp(log_ndtr(low) - outer))
    certain = np.where((mean >= at_least) & (mean <= at_most), 0.0, -np.inf)
    return np.asarray(np.where(std > 0.0, values, certain), dtype=mean.dtype)


def log_constrained_expected_improvement(
    mean: Floats, std: Floats, best: float, log_feasible: Floats, *, any_feasible: bool = True
) -> Floats:
    """Return the log of the improvement expected where only feasible places count, shape (m,).

    The improvement times the probability of feasibility (Gardner et al., ICML 2014, eq. 5), targets taken as
    independent. Until something feasible is known there is nothing to improve on, and feasibility alone counts
    (section 3.3 there).

    Parameters
    ----------
    mean, std : array
        Of the target wanted high, (m,).
    best : float
        Its best value among feasible measurements; ignored where none is.
    log_feasible : array
        Sum over constraints of `log_probability_of_feasibility`, (m,).
    any_feasible : bool
        Whether anything measured is feasible.
    """
    if not any_feasible:
        return log_feasible
    return log_expected_improvement(mean, std, best) + log_feasible
