"""Which two things to ask a person to compare next, from the joint posterior of their utilities."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, ndtr

Array = NDArray[np.float64]
AskFor = Literal["best", "order"]
"""What an answer is to tell: which one is best of all, or how all are ordered."""
C = math.sqrt(math.pi * math.log(2.0) / 2.0)


def utility_of_best(mean: Array, covariance: Array) -> Array:
    """Return the expected utility of the better one of each pair, (k, k).

    Of two jointly normal utilities (Clark 1961); asking the pair where it is highest finds what is best in the fewest
    answers (Lin, Astudillo, Frazier & Bakshy, AISTATS 2022, eq. 3).

    Parameters
    ----------
    mean : array (k,)
    covariance : array (k, k)
    """
    gap, spread = _gaps(mean, covariance)
    z = gap / spread
    density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    return np.asarray(mean[:, None] * ndtr(z) + mean[None, :] * ndtr(-z) + spread * density)


def answer_information(mean: Array, covariance: Array) -> Array:
    """Return what an answer to each pair tells of the utilities, in nats, (k, k).

    The mutual information of a probit answer and the latent gap (Houlsby et al. 2011, eq. 5): high where the model
    does not know the answer, and a person would.
    """
    gap, spread = _gaps(mean, covariance)
    variance = 0.5 * spread**2  # the likelihood compares with noise of unit variance on either side
    z = gap / math.sqrt(2.0)
    chance = ndtr(z / np.sqrt(variance + 1.0))
    unknown = entr(chance) + entr(1.0 - chance)
    undecidable = math.log(2.0) * C / np.sqrt(variance + C**2) * np.exp(-0.5 * z**2 / (variance + C**2))
    return np.asarray(unknown - undecidable)


def next_pair(
    mean: Array, covariance: Array, asked: Collection[tuple[int, int]], ask_for: AskFor, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Return the pair to ask next, none of those asked before in either order; None where all have been.

    Ties, and which of the two comes first, are left to chance, so that no place on the screen is favoured.

    Examples
    --------
    >>> mean, covariance = np.array([0.0, 0.1, -9.0]), np.eye(3)
    >>> sorted(next_pair(mean, covariance, [], "order", np.random.default_rng(0)))
    [0, 1]
    >>> next_pair(mean, covariance, [(0, 1), (2, 0), (1, 2)], "best", np.random.default_rng(0)) is None
    True
    """
    worth = utility_of_best(mean, covariance) if ask_for == "best" else answer_information(mean, covariance)
    worth[np.tril_indices(len(mean))] = -np.inf
    for first, second in asked:
        worth[min(first, second), max(first, second)] = -np.inf
    best = worth.max(initial=-np.inf)
    if best == -np.inf:
        return None
    equals = np.argwhere(worth == best)
    first, second = (int(i) for i in rng.permutation(equals[rng.integers(len(equals))]))
    return first, second


def _gaps(mean: Array, covariance: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of the difference of each pair; the latter not quite zero."""
    variance = np.diagonal(covariance)
    square = variance[:, None] + variance[None, :] - 2.0 * covariance
    return mean[:, None] - mean[None, :], np.sqrt(np.maximum(square, 1e-12))
