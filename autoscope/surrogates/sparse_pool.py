"""A process seen through inducing points, kept over a large finite pool in single precision by low-rank updates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoscope.surrogates.pool import MAIN_MEMORY, Held, Home, Indices, PoolKernel, Single, blocks
from autoscope.surrogates.prior import Features, Prior

Array = NDArray[np.float64]


class SparsePool:
    """Mean, variance and features ``phi = L^-1 k(Z, pool)`` (u, m); notation of `sparse_posterior`.

    Parameters
    ----------
    points : array
        (m, d) features of the pool.
    prior : Prior
        Of the function.
    capacity : int
        Inducing points to leave room for.
    store : array, optional
        Memory of a posterior no longer needed, to be used again where it is large enough.
    home : Home
        Where all this is kept and computed.
    """

    def __init__(
        self, points: Features, prior: Prior, capacity: int, store: Held | None = None, home: Home = MAIN_MEMORY
    ) -> None:
        self.points, self.home = points, home
        self.kernel = PoolKernel(points, prior, home)
        self._mean, self._variance = home.full(len(points), prior.mean), home.full(len(points), prior.variance)
        self.store: Held = store if home.fits(store, capacity, len(points)) else home.empty(capacity, len(points))
        self._u = 0

    @property
    def mean(self) -> Single:
        """Mean over the pool, (m,)."""
        return self.home.get(self._mean)

    @property
    def variance(self) -> Single:
        """Variance over the pool, (m,)."""
        return self.home.get(self._variance)

    def build(self, inducing: Features, inverse_factor: Array, weights: Array, half: Array) -> None:
        """Take all at once: ``Z`` (u, d), ``L^-1`` (u, u), ``w`` (u,), and ``H`` (u, u) with ``B^-1 = H^T H``."""
        lower, known, single = (self.home.put(a) for a in (inverse_factor, half, weights))
        self._u = len(inducing)
        for block in blocks(len(self.points), self.home.block(self._u)):
            rows = self.home.lower_times(lower, self.kernel.rows(inducing, block))
            self.store[: self._u, block] = rows
            self._mean[block] += single @ rows
            # a sum is a copy wherever it is kept: both products may overwrite what they are given
            uncertain = self.home.sum_of_squares(self.home.lower_times(known, rows + 0.0))
            self._variance[block] -= self.home.sum_of_squares(rows) - uncertain

    def project(self, directions: Array) -> Held:
        """Return ``directions phi`` over the pool, of directions (u,) or (q, u): shape (m,) or (q, m)."""
        return self.home.put(directions) @ self.store[: self._u]

    def absorb(self, direction: Array, step: float, pivot: float) -> None:
        """Add ``step`` times the change in ``direction`` (u,) to the mean; take its square over ``pivot`` off."""
        change = self.project(direction)
        self._mean += step * change
        change *= change
        change *= 1.0 / pivot
        self._variance -= change

    def widen(self, point: Features, feature: Array, pivot: float, solved: Array, schur: float, weight: float) -> None:
        """Add an inducing point (1, d): its ``feature`` (u,) and ``pivot`` border L, ``solved`` and ``schur`` B^-1."""
        both = self.project(np.stack([feature, solved]))
        new = self.kernel.rows(point)[0]
        new -= both[0]
        new *= 1.0 / pivot
        self.store[self._u] = new
        self._u += 1
        change = new - both[1]
        self._mean += weight * change
        self._variance += change * change * (1.0 / schur) - new * new

    def variance_given(self, directions: Array) -> Single:
        """Return the variance less the squares of what is seen in ``directions`` (q, u), shape (m,)."""
        known = self.home.sum_of_squares(self.project(directions))
        return np.asarray(np.maximum(self.home.get(self._variance - known), np.float32(0.0)))

    def covariance_with(self, x: Features, direction: Array) -> Single:
        """Return the posterior covariance with a point ``x`` (1, d) whose ``(B^-1 - I) phi`` is given, shape (m,)."""
        return self.home.get(self.kernel.rows(x)[0] + self.project(direction))

    def covariance(self, one: Indices, other: Indices, between: Array) -> Single:
        """Return the posterior covariance of points of the pool (a,), (b,), ``between`` being ``B^-1 - I``; (a, b)."""
        rows = self.store[: self._u]
        left, right = rows[:, self.home.indices(one)], rows[:, self.home.indices(other)]
        return self.home.get(self.kernel.between(one, other) + left.T @ (self.home.put(between) @ right))
