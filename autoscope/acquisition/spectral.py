"""Which place tells most about whole spectra, from scores in an orthonormal basis of weighted spectra."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]


def spectral_variance(std: Array) -> Array:
    """Return the variance of the whole weighted spectrum, (m,), from the std (m, q) of its scores.

    The basis is orthonormal, so the expected squared error summed over channels is that summed over scores.

    Examples
    --------
    >>> spectral_variance(np.array([[1.0, 2.0], [3.0, 0.0]])).tolist()
    [5.0, 9.0]
    """
    return np.asarray(np.einsum("ij,ij->i", std, std))


def spectral_novelty(mean: Array, std: Array, seen: Array) -> Array:
    """Return how far each candidate's spectrum is expected to lie from every one seen, (m,).

    The root-mean-square distance in score space to the nearest of ``seen`` (n, q), for scores of that mean and std
    (m, q); as `functions.novelty` for a single target.

    Examples
    --------
    >>> spectral_novelty(np.array([[3.0, 4.0]]), np.zeros((1, 2)), np.zeros((1, 2))).tolist()
    [5.0]
    """
    distance, _ = cKDTree(seen).query(mean)
    return np.asarray(np.sqrt(distance**2 + spectral_variance(std)))
