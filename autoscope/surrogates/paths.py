"""Functions drawn from a prior, as sums of random plane waves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoscope.surrogates.prior import Features, Prior

Array = NDArray[np.float64]


class PriorPath:
    """One function drawn from a `Prior`, callable at ``x`` (m, d) -> (m,).

    Random Fourier features (Rahimi & Recht, NIPS 2007): frequencies follow the kernel's spectral density,
    Gaussian for RBF and Student t with 5 degrees of freedom for Matern 5/2 (Rasmussen & Williams 2006, eq. 4.15).
    """

    def __init__(self, prior: Prior, rng: np.random.Generator, waves: int) -> None:
        self._mean = prior.mean
        self._parts = [
            (list(columns), self._frequencies(prior, np.asarray(scale), rng, waves), rng.uniform(0, 2 * np.pi, waves),
             rng.normal(size=waves) * np.sqrt(2.0 * outputscale / waves))
            for columns, scale, outputscale in zip(prior.groups, prior.lengthscales, prior.outputscales, strict=True)
        ]  # fmt: skip

    @staticmethod
    def _frequencies(prior: Prior, lengthscale: Array, rng: np.random.Generator, waves: int) -> Array:
        gaussian = rng.normal(size=(waves, len(lengthscale))) / lengthscale
        if prior.shape == "rbf":
            return np.asarray(gaussian)
        return np.asarray(gaussian / np.sqrt(rng.chisquare(5.0, size=(waves, 1)) / 5.0))

    def __call__(self, x: Features) -> Array:
        """Return the function at ``x`` (m, d), shape (m,)."""
        total = np.full(len(x), self._mean)
        for columns, frequencies, phase, weight in self._parts:
            total += np.cos(x[:, columns] @ frequencies.T + phase) @ weight
        return total
