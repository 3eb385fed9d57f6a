"""The posterior of an exact Gaussian process with fixed hyperparameters, kept over a pool by low-rank updates."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular

from autoscope.errors import FitFailed, ModelError
from autoscope.surrogates.paths import PriorPath
from autoscope.surrogates.prior import Prior

Array = NDArray[np.float64]

CHUNK = 4096
"""Points handled at once: bounds the temporary memory of a prediction."""


class PoolPosterior:
    """Mean and variance over a finite pool, and the rows ``V = L^-1 K(X, pool)`` (n, m) that updates need.

    With them one more measurement costs one row, O(n m), instead of a rebuild, O(n^2 m).
    """

    def __init__(self, points: Array, prior: Prior, capacity: int) -> None:
        self.points = points
        self.mean: Array = np.full(len(points), prior.mean)
        self.variance: Array = np.full(len(points), prior.variance)
        self._rows = np.empty((capacity, len(points)))
        self._n = 0

    @property
    def rows(self) -> Array:
        """``V``, shape (n, m); a view."""
        return self._rows[: self._n]

    def append(self, rows: Array, whitened: Array, columns: slice = slice(None)) -> None:
        """Add rows of ``V`` (q, columns) with their whitened residuals (q,) to a block of pool points."""
        start, stop = self._n, self._n + len(rows)
        if stop > len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[start:stop, columns] = rows
        self.mean[columns] += whitened @ rows
        self.variance[columns] -= np.einsum("ij,ij->j", rows, rows)

    def commit(self, count: int) -> None:
        """Count ``count`` appended rows, once every block of pool points has them."""
        self._n += count


class ExactPosterior:
    """An exact GP posterior over ``x`` (n, d), ``y`` (n,) with known noise variance (n,), all standardised.

    Notation: ``K + noise + jitter = L L^T``; whitened residuals are ``L^-1 (y - mean)``. Predictions follow
    Rasmussen & Williams 2006, eqs. 2.25-2.26; updates are the block form of the Cholesky factor.

    Raises
    ------
    FitFailed
        The covariance of the data cannot be factorised.
    """

    def __init__(self, prior: Prior, x: Array, y: Array, noise_variance: Array) -> None:
        self.prior = prior
        self.x, self.y, self.noise_variance = x, y, noise_variance
        self._factor = _factorise(prior.covariance(x, x) + np.diag(noise_variance + prior.jitter))
        self._whitened = _solve_lower(self._factor, y - prior.mean)
        self.pool: PoolPosterior | None = None

    @property
    def n(self) -> int:
        """Number of measurements."""
        return len(self.y)

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Return mean and variance of the function at ``x`` (m, d), each (m,), in chunks."""
        mean, variance = np.empty(len(x)), np.empty(len(x))
        for block in _blocks(len(x)):
            solved = self._solve(x[block])
            mean[block] = self.prior.mean + self._whitened @ solved
            variance[block] = self.prior.variance - np.einsum("ij,ij->j", solved, solved)
        return mean, np.maximum(variance, 0.0)

    def attach(self, points: Array) -> None:
        """Build the posterior over a pool (m, d), which `extend` then maintains."""
        self.pool = PoolPosterior(points, self.prior, capacity=2 * self.n + 16)
        for block in _blocks(len(points)):
            self.pool.append(self._solve(points[block]), self._whitened, block)
        self.pool.commit(self.n)

    def extend(self, x: Array, y: float, noise_variance: float) -> None:
        """Take one more measurement at ``x`` (d,) into account without refit; the attached pool in O(n m)."""
        point, noise = x[None], np.array([noise_variance])
        column, pivot = self._border(point, noise)
        whitened = (y - self.prior.mean - column[:, 0] @ self._whitened) / pivot[0]
        if self.pool is not None:
            self.pool.append(self._pool_rows(self.pool, point, column, pivot), whitened)
            self.pool.commit(1)
        self._factor = np.block([[self._factor, np.zeros_like(column)], [column.T, pivot]])
        self._whitened = np.concatenate([self._whitened, whitened])
        self.x = np.concatenate([self.x, point])
        self.y, self.noise_variance = np.append(self.y, y), np.concatenate([self.noise_variance, noise])

    def pool_variance_given(self, x: Array, noise_variance: Array) -> Array:
        """Return the pool variance as if ``x`` (q, d) had been measured too, shape (m,); nothing is changed.

        The variance of a GP does not depend on the values measured, so pending points need no guess.
        """
        if self.pool is None:
            raise ModelError("no pool is attached", remedy="Call attach(pool) first")
        column, pivot = self._border(x, noise_variance)
        rows = self._pool_rows(self.pool, x, column, pivot)
        reduced = self.pool.variance - np.einsum("ij,ij->j", rows, rows)
        return np.asarray(np.maximum(reduced, 0.0))

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

    def sample(self, x: Array, rng: np.random.Generator, waves: int = 1024) -> Array:
        """Return one function drawn from the posterior, at ``x`` (m, d), without any (m, m) matrix, shape (m,).

        A prior path of random plane waves is corrected to fit the data by Matheron's rule (Wilson et al.,
        ICML 2020, eq. 13).
        """
        path = PriorPath(self.prior, rng, waves)
        noise = rng.normal(size=self.n) * np.sqrt(self.noise_variance + self.prior.jitter)
        weights = cho_solve((self._factor, True), self.y - path(self.x) - noise, check_finite=False)
        blocks = [path(x[b]) + weights @ self.prior.covariance(self.x, x[b]) for b in _blocks(len(x))]
        return np.concatenate(blocks) if blocks else np.empty(0)

    def _solve(self, x: Array) -> Array:
        return _solve_lower(self._factor, self.prior.covariance(self.x, x))

    def _border(self, x: Array, noise_variance: Array) -> tuple[Array, Array]:
        column = self._solve(x)
        noisy = self.prior.covariance(x, x) + np.diag(noise_variance + self.prior.jitter)
        return column, _factorise(noisy - column.T @ column)

    def _pool_rows(self, pool: PoolPosterior, x: Array, column: Array, pivot: Array) -> Array:
        cross = self.prior.covariance(x, pool.points)
        cross -= column.T @ pool.rows
        return _solve_lower(pivot, cross)


def _blocks(count: int) -> list[slice]:
    return [slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def _factorise(matrix: Array) -> Array:
    try:
        return np.asarray(cholesky(matrix, lower=True))
    except (LinAlgError, ValueError) as error:
        raise FitFailed("the covariance of the data cannot be factorised", value=str(error)) from error


def _solve_lower(factor: Array, right: Array) -> Array:
    return np.asarray(solve_triangular(factor, right, lower=True, check_finite=False))
