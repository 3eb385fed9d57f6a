"""Measurements in their order, kept in memory that grows ahead of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoscope.surrogates.prior import Features

Array = NDArray[np.float64]


class Measurements:
    """Features (n, d), values (n,) and noise standard deviations (n,); adding one costs no copy of the others.

    Examples
    --------
    >>> known = Measurements()
    >>> known.add(np.zeros((2, 3)), np.array([1.0, 2.0]), np.array([0.1, 0.1]))
    >>> known.x.shape, known.y.tolist(), len(known)
    ((2, 3), [1.0, 2.0], 2)
    """

    def __init__(self) -> None:
        self._x: Features = np.empty((0, 0), dtype=np.float32)
        self._rest: Array = np.empty((2, 0))
        self._n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def x(self) -> Features:
        """Features, a view."""
        return self._x[: self._n]

    @property
    def y(self) -> Array:
        """Values, a view."""
        return self._rest[0, : self._n]

    @property
    def noise_std(self) -> Array:
        """Standard uncertainties of the values, a view."""
        return self._rest[1, : self._n]

    def add(self, x: Features, y: Array, noise_std: Array) -> None:
        """Append measurements (q, d), (q,), (q,)."""
        end = self._n + len(x)
        if end > len(self._x):
            room = max(2 * end, 64)
            features, rest = np.empty((room, x.shape[1]), dtype=x.dtype), np.empty((2, room))
            if self._n:
                features[: self._n] = self.x
            rest[:, : self._n] = self._rest[:, : self._n]
            self._x, self._rest = features, rest
        self._x[self._n : end] = x
        self._rest[0, self._n : end], self._rest[1, self._n : end] = y, noise_std
        self._n = end
