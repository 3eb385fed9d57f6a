"""The posterior of an exact Gaussian process with fixed hyperparameters, kept over a pool by low-rank updates."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dtrtri

from autoscope.errors import FitFailed, ModelError
from autoscope.surrogates.paths import PriorPath
from autoscope.surrogates.pool import MAIN_MEMORY, Held, Home, PoolPosterior, Single, blocks
from autoscope.surrogates.prior import Features, Prior

Array = NDArray[np.float64]

CHUNK = 4096
"""Points handled at once: bounds the temporary memory of a prediction."""
ROOM = 16
"""Measurements a newly built pool has room for at least; an eighth of what is known, if that is more, outlasts the
usual wait for the next fit."""


class ExactPosterior:
    """An exact GP posterior over ``x`` (n, d), ``y`` (n,) with known noise variance (n,), all standardised.

    Notation: ``K + noise + jitter = L L^T``; whitened residuals are ``L^-1 (y - mean)``. Predictions follow
    Rasmussen & Williams 2006, eqs. 2.25-2.26; updates are the block form of the Cholesky factor.

    Raises
    ------
    FitFailed
        The covariance of the data cannot be factorised.
    """

    def __init__(self, prior: Prior, x: Features, y: Array, noise_variance: Array) -> None:
        self.prior = prior
        self.x, self.y, self.noise_variance = np.asarray(x, dtype=np.float64), y, noise_variance
        self._lower = _factorise(prior.covariance(self.x, self.x) + np.diag(noise_variance + prior.jitter))
        self._whitened = _solve_lower(self._lower, y - prior.mean)
        self.pool: PoolPosterior | None = None
        self._last: tuple[tuple[int, bytes], Array] | None = None

    @property
    def n(self) -> int:
        """Number of measurements."""
        return len(self.y)

    @property
    def _factor(self) -> Array:
        return self._lower[: self.n, : self.n]  # the store behind it has room to grow

    def predict(self, x: Features) -> tuple[Array, Array]:
        """Return mean and variance of the function at ``x`` (m, d), each (m,), in chunks."""
        if len(x) == 1:
            column = self._column(x)
            known = max(self.prior.variance - float(column @ column), 0.0)
            return np.array([self.prior.mean + self._whitened @ column]), np.array([known])
        mean, variance = np.empty(len(x)), np.empty(len(x))
        for block in blocks(len(x), CHUNK):
            solved = self._solve(x[block])
            mean[block] = self.prior.mean + self._whitened @ solved
            variance[block] = self.prior.variance - np.einsum("ij,ij->j", solved, solved)
        return mean, np.maximum(variance, 0.0)

    def attach(self, points: Features, store: Held | None = None, home: Home = MAIN_MEMORY) -> None:
        """Build the posterior over a pool (m, d), which `extend` then maintains; in old memory if given."""
        self.pool = PoolPosterior(points, self.prior, self.n + max(ROOM, self.n // 8), store, home)
        inverse, _ = dtrtri(self._factor, lower=1)
        self.pool.build(self.x, inverse, self._whitened)

    def extend(self, x: Features, y: float, noise_variance: float) -> None:
        """Take one more measurement at ``x`` (d,) into account without refit; the attached pool in O(n m)."""
        point = np.asarray(x, dtype=np.float64)[None]
        column, pivot = self._border(point, noise_variance)
        whitened = float((y - self.prior.mean - column @ self._whitened) / pivot)
        if self.pool is not None:
            self.pool.append(self.pool.row(point, column, pivot), whitened)
        self._grow(column, pivot)
        self._whitened = np.append(self._whitened, whitened)
        self.x = np.concatenate([self.x, point])
        self.y, self.noise_variance = np.append(self.y, y), np.append(self.noise_variance, noise_variance)

    def pool_variance_given(self, x: Features, noise_variance: Array) -> Single:
        """Return the pool variance as if ``x`` (q, d) had been measured too, shape (m,); nothing is changed.

        The variance of a GP does not depend on the values measured, so pending points need no guess.
        """
        pool = self._pool()
        column = self._column(x)[:, None] if len(x) == 1 else self._solve(np.asarray(x, dtype=np.float64))
        noisy = self.prior.covariance(x, x) + np.diag(noise_variance + self.prior.jitter)
        lower = _factorise(noisy - column.T @ column)
        return pool.variance_given(x, column, _solve_lower(lower, np.eye(len(x))))

    def pool_covariance(self, x: Features) -> Single:
        """Return the posterior covariance between one point ``x`` (d,) and every point of the pool, shape (m,)."""
        pool, point = self._pool(), np.asarray(x, dtype=np.float64)[None]
        return pool.covariance_with(point, self._column(point))

    def leave_one_out(self) -> tuple[Array, Array]:
        """Return mean and variance of each observation predicted from all others, each (n,).

        Rasmussen & Williams 2006, eqs. 5.10-5.12; the variance includes the observation's own noise.
        """
        inverse = cho_solve((self._factor, True), np.eye(self.n), check_finite=False)
        precision = np.diagonal(inverse)
        return self.y - (inverse @ (self.y - self.prior.mean)) / precision, 1.0 / precision

    def log_evidence(self) -> float:
        """Return the log marginal likelihood of the data (Rasmussen & Williams 2006, eq. 2.30)."""
        half_logdet = float(np.log(np.diagonal(self._factor)).sum())
        return float(-0.5 * self._whitened @ self._whitened) - half_logdet - 0.5 * self.n * math.log(2 * math.pi)

    def sample(self, x: Features, rng: np.random.Generator, waves: int = 1024) -> Array:
        """Return one function drawn from the posterior, at ``x`` (m, d), without any (m, m) matrix, shape (m,).

        A prior path of random plane waves is corrected to fit the data by Matheron's rule (Wilson et al.,
        ICML 2020, eq. 13).
        """
        path = PriorPath(self.prior, rng, waves)
        noise = rng.normal(size=self.n) * np.sqrt(self.noise_variance + self.prior.jitter)
        weights = cho_solve((self._factor, True), self.y - path(self.x) - noise, check_finite=False)
        parts = [path(x[b]) + weights @ self.prior.covariance(self.x, x[b]) for b in blocks(len(x), CHUNK)]
        return np.concatenate(parts) if parts else np.empty(0)

    def _solve(self, x: Features) -> Array:
        return _solve_lower(self._factor, self.prior.covariance(self.x, x))

    def _column(self, x: Features) -> Array:
        """Return ``L^-1 k(X, x)`` of one point (1, d), shape (n,); kept, because it is foretold before it is learnt."""
        point = np.asarray(x, dtype=np.float64)
        key = (self.n, point.tobytes())
        if self._last is None or self._last[0] != key:
            self._last = (key, self._solve(point)[:, 0])
        return self._last[1]

    def _border(self, x: Features, noise_variance: float) -> tuple[Array, float]:
        """Return the new column and diagonal entry of the factor for one more point ``x`` (1, d)."""
        column = self._column(x)
        squared = self.prior.variance + noise_variance + self.prior.jitter - column @ column
        if not squared > 0.0:
            raise FitFailed("the covariance of the data cannot be factorised", value=float(squared))
        return column, math.sqrt(squared)

    def _grow(self, column: Array, pivot: float) -> None:
        n = self.n
        if n == len(self._lower):
            store = np.zeros((2 * n + 1, 2 * n + 1))
            store[:n, :n] = self._lower
            self._lower = store
        self._lower[n, :n], self._lower[n, n] = column, pivot

    def _pool(self) -> PoolPosterior:
        if self.pool is None:
            raise ModelError("no pool is attached", remedy="Call attach(pool) first")
        return self.pool


def _factorise(matrix: Array) -> Array:
    try:
        return np.asarray(cholesky(matrix, lower=True))
    except (LinAlgError, ValueError) as error:
        raise FitFailed("the covariance of the data cannot be factorised", value=str(error)) from error


def _solve_lower(factor: Array, right: Array) -> Array:
    return np.asarray(solve_triangular(factor, right, lower=True, check_finite=False))
