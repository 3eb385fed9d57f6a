"""What looks are worth, by what is wanted: a map, or the highest place with its value; and when enough is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscope.acquisition.exposure_choice import knowledge_gradient, variance_reduction
from policies.imaging_model import Belief, Indices

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

SEARCHED = 0.1
"""A search ends where no look promises to raise the best value by more than this share of the wanted precision."""
HARDLY = 0.01
"""Where the best look would lower a variance by less than this share, the value cannot be known better."""


@dataclass(frozen=True)
class Worth:
    """Worth of every look, (m, k), by what name, why in words, and, if nothing more is to be done, why not."""

    values: Array
    name: str
    reason: str
    done: str | None = None


def map_worth(belief: Belief, noise: Array, references: Indices, precision: float | None, per: str) -> Worth:
    """Return by how much looks of that noise variance (m, k) lower the mean variance of the reference places."""
    error, span = float(np.sqrt(np.mean(belief.std**2))), float(np.ptp(belief.mean))
    known = error / span if span > 0.0 else math.inf
    done = None
    if precision is not None and known <= precision:
        done = f"The map is known to {known:.1%} of its range."
    values = variance_reduction(belief.squared_covariance(references)[:, None], belief.std[:, None], noise)
    reason = f"lowers the error of the map most per {per}; it is now {known:.1%} of its range"
    return Worth(values, "map_error", reason, done)


def maximum_worth(belief: Belief, noise: Array, allowed: Mask, precision: float | None, per: str) -> Worth:
    """Return the expected rise of the best mean, or, once none promises much, how well a look confirms the leader.

    Parameters
    ----------
    belief : Belief
    noise : array
        Variance of each look, (m, k).
    allowed : array of bool
        (m, k).
    precision : float or None
        Relative std wanted of the highest value; None never stops searching.
    per : str
        What is paid, in words.
    """
    leader = int(np.argmax(belief.mean))
    height = max(float(belief.mean[leader]), 0.0)
    search = knowledge_gradient(belief.mean, belief.std, noise)
    hope = float(np.where(allowed, search, 0.0).max())
    if precision is None or hope > SEARCHED * precision * height:
        reason = f"is expected to raise the best known value most per {per}"
        return Worth(search, "knowledge_gradient", reason)
    return _confirmation(belief, noise, allowed, leader, height, precision, per)


def _confirmation(
    belief: Belief, noise: Array, allowed: Mask, leader: int, height: float, precision: float, per: str
) -> Worth:
    known = float(belief.std[leader]) / height if height > 0.0 else math.inf
    squared = belief.squared_covariance(np.array([leader], dtype=np.int64))
    values = variance_reduction(squared[:, None], belief.std[:, None], noise)
    reason = f"tells most per {per} about the highest place, now known to {known:.1%}"
    done = None
    if known <= precision:
        done = f"The highest value is known to {known:.1%}, and no look promises a higher one."
    elif np.where(allowed, values, 0.0).max() < HARDLY * float(belief.std[leader]) ** 2:
        done = f"The highest value is known to {known:.1%}, and no look allowed tells more about it."
    return Worth(values, "confirmation", reason, done)
