"""How much surer the whole map becomes by one more measurement: what a map wants, rather than the least known point."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoscope.surrogates.surrogate import Surrogate

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]

TRIED = 512
"""Open candidates looked at in one decision: drawn at random, they hold one of the best few in a hundred."""
JUDGED = 1024
"""Places, drawn at random from the pool, over which the variance is averaged."""


def integrated_variance(
    model: Surrogate, std: Array, forbidden: Mask, rng: np.random.Generator, pending: Indices | None = None
) -> Array:
    """Return the mean fall of variance over the pool that measuring each of a random few candidates brings, shape (m,).

    The fall at r by measuring c is ``cov(c, r)**2 / (var(c) + noise)`` whatever is measured (Cohn, Ghahramani &
    Jordan, JAIR 1996, section 4.2; Seo et al., IJCNN 2000). Candidates not drawn are NaN: they have no value.

    Parameters
    ----------
    model : Surrogate
        With its pool of m candidates attached.
    std : array
        Of the model over the pool, (m,), as if what is pending had been measured.
    forbidden : array of bool
        Candidates that may not be measured, (m,).
    rng : numpy.random.Generator
        Draws candidates and places.
    pending : array of int64, optional
        Candidates being measured now, by index: what they will tell is not told again.
    """
    open_ = np.flatnonzero(~forbidden)
    tried = rng.choice(open_, size=min(TRIED, len(open_)), replace=False)
    judged = rng.choice(len(std), size=min(JUDGED, len(std)), replace=False)
    covariance = model.covariance_between(tried, judged)
    if pending is not None and len(pending):
        among = model.covariance_between(pending, pending) + model.typical_noise_std**2 * np.eye(len(pending))
        told = np.linalg.solve(among, model.covariance_between(pending, judged))
        covariance -= model.covariance_between(tried, pending) @ told
    noisy = std[tried] ** 2 + model.typical_noise_std**2
    values: Array = np.full(len(std), np.nan)
    values[tried] = np.square(covariance).mean(axis=1) / noisy
    return values
