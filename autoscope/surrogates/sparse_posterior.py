"""The posterior of a Gaussian process seen through inducing points, kept over a pool by low-rank updates.

Notation: Z are the ``u`` inducing points, ``K_ZZ = L L^T``, the feature of a point is ``phi(x) = L^-1 k(Z, x)``, and
``B = I + sum_i phi_i phi_i^T / noise_i`` over the measurements. With residuals ``r`` from the prior mean, whitened
weights are ``w = B^-1 sum_i phi_i r_i / noise_i``. This is the optimal variational posterior of Titsias 2009 (eq. 6 and
the predictive equations after it), whitened.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from scipy.linalg.lapack import dtrtri

from autoscope.errors import FitFailed, ModelError
from autoscope.surrogates.paths import PriorPath
from autoscope.surrogates.pool import MAIN_MEMORY, Held, Home, Indices, Single, blocks
from autoscope.surrogates.prior import Features, Prior, correlation
from autoscope.surrogates.sparse_pool import SparsePool

Array = NDArray[np.float64]

CHUNK = 4096
"""Points handled at once: bounds the temporary memory of a prediction."""
IN_CACHE = 512
"""Measurements whose features are computed at once."""
DISTINCT = 1e-6
"""A point whose variance, given the inducing points, is below this share of the prior's adds nothing to them."""
UNKNOWN = 0.02
"""A measured point whose variance, given the inducing points, is above this share of the prior's joins them."""
RIDGE = 1e-10
"""Added to the diagonal of ``K_ZZ``, as a share of the prior variance."""


class _Scaled:
    """Points in units of the lengthscales, for one row of their covariance after another."""

    def __init__(self, prior: Prior, x: Array) -> None:
        self._prior = prior
        self._sides = [x[:, list(c)] / np.asarray(v) for c, v in zip(prior.groups, prior.lengthscales, strict=True)]
        self._norms = [np.einsum("ij,ij->i", z, z) for z in self._sides]

    def row(self, at: int) -> Array:
        """Return the covariance of one point with all, (n,)."""
        total = np.zeros(len(self._norms[0]))
        for z, norms, outputscale in zip(self._sides, self._norms, self._prior.outputscales, strict=True):
            squared = np.maximum(norms + norms[at] - 2.0 * (z @ z[at]), 0.0)
            total += outputscale * correlation(self._prior.shape, squared)
        return total


def select_inducing(prior: Prior, x: Features, count: int) -> Indices:
    """Return at most ``count`` rows of ``x`` (n, d), each the least known given those before it.

    Pivoted Cholesky factorisation of the prior covariance: the greedy choice of Fine & Scheinberg 2001, shown good
    for inducing points by Burt, Rasmussen & van der Wilk 2020. Deterministic; stops early where nothing is left to
    know. A longer choice begins with a shorter one.
    """
    scaled = _Scaled(prior, np.asarray(x, dtype=np.float64))
    left = np.full(len(x), prior.variance)
    rows = np.empty((min(count, len(x)), len(x)))
    chosen: list[int] = []
    for k in range(len(rows)):
        pivot = int(left.argmax())
        if left[pivot] <= DISTINCT * prior.variance:
            break
        rows[k] = (scaled.row(pivot) - rows[:k, pivot] @ rows[:k]) / math.sqrt(left[pivot])
        left = np.maximum(left - rows[k] ** 2, 0.0)
        left[pivot] = 0.0
        chosen.append(pivot)
    return np.array(chosen, dtype=np.int64)


class SparsePosterior:
    """A variational GP posterior over ``x`` (n, d), ``y`` (n,) with known noise variance (n,), all standardised.

    Parameters
    ----------
    prior : Prior
        Fixed hyperparameters.
    x, y, noise_variance : array
        The measurements.
    inducing : array
        (u, d) inducing points, e.g. of `select_inducing`.
    spare : int
        So many measured points may join the inducing points later.

    Raises
    ------
    FitFailed
        The covariance of the inducing points cannot be factorised.
    """

    def __init__(
        self, prior: Prior, x: Features, y: Array, noise_variance: Array, inducing: Features, *, spare: int = 0
    ) -> None:
        self.prior, self._capacity = prior, len(inducing) + spare
        self.pool: SparsePool | None = None
        self._n, self._u = len(y), len(inducing)
        self._x = np.array(x, dtype=np.float64)
        self._rest = np.stack([y - prior.mean, noise_variance + prior.jitter])
        self._inducing = np.asarray(inducing, dtype=np.float64)
        ridge = RIDGE * prior.variance * np.eye(self._u)
        self._factor = _factorise(prior.covariance(self._inducing, self._inducing) + ridge)
        parts = [self._feature(self._x[block]) for block in blocks(self._n, IN_CACHE)]
        self._store = np.concatenate(parts, axis=1)
        half = _factorise(np.eye(self._u) + (self._features / self._noise) @ self._features.T)
        inverse_half, _ = dtrtri(half, lower=1)
        self._inverse = inverse_half.T @ inverse_half
        self._weights = self._inverse @ (self._features @ (self._residual / self._noise))
        self._bound = self._lower_bound(half)

    @property
    def n(self) -> int:
        """Number of measurements."""
        return self._n

    @property
    def inducing(self) -> Array:
        """The inducing points, (u, d)."""
        return self._inducing

    @property
    def noise_variance(self) -> Array:
        """Variance of every measurement's noise, jitter included, (n,)."""
        return self._noise.copy()

    @property
    def _features(self) -> Array:
        return self._store[: self._u, : self._n]  # the stores behind these have room to grow

    @property
    def _residual(self) -> Array:
        return self._rest[0, : self._n]

    @property
    def _noise(self) -> Array:
        return self._rest[1, : self._n]

    def log_bound(self) -> float:
        """Return the lower bound on the log evidence (Titsias 2009, eq. 9) of the data given at the start."""
        return self._bound

    def predict(self, x: Features) -> tuple[Array, Array]:
        """Return mean and variance of the function at ``x`` (m, d), each (m,), in chunks."""
        mean, variance = np.empty(len(x)), np.empty(len(x))
        for block in blocks(len(x), CHUNK):
            feature = self._feature(x[block])
            mean[block] = self.prior.mean + self._weights @ feature
            variance[block] = self._unknown(feature) + self._uncertain(feature)
        return mean, np.maximum(variance, 0.0)

    def leave_one_out(self) -> tuple[Array, Array, Array]:
        """Return values, and mean and variance of each foretold from all others with its noise, each (n,).

        The inducing points stay; leaving out one measurement takes one rank off B (Sherman & Morrison 1950).
        """
        features, noise, residual = self._features, self._noise, self._residual
        spread = self._uncertain(features)
        kept = np.maximum(1.0 - spread / noise, 1e-12)
        mean = residual - (residual - self._weights @ features) / kept
        variance = spread / kept + self._unknown(features) + noise
        return self.prior.mean + residual, self.prior.mean + mean, variance

    def attach(self, points: Features, home: Home = MAIN_MEMORY, store: Held | None = None) -> None:
        """Build the posterior over a pool (m, d), which `extend` then maintains; in old memory if given."""
        pool = SparsePool(points, self.prior, self._capacity, store, home)
        inverse_factor, _ = dtrtri(self._factor, lower=1)
        pool.build(self._inducing, inverse_factor, self._weights, _lower_half(self._inverse))
        self.pool = pool

    def extend(self, x: Features, y: float, noise_variance: float) -> None:
        """Take one more measurement at ``x`` (d,) into account without refit, in O(u^2) and O(u m) for the pool.

        A point of which the inducing points know too little first joins them, while there is room.
        """
        point = np.asarray(x, dtype=np.float64)[None]
        feature = self._feature(point)[:, 0]
        unknown = float(self.prior.variance - feature @ feature)
        if unknown > UNKNOWN * self.prior.variance and self._u < self._capacity:
            self._widen(point, feature, math.sqrt(unknown))
            feature = np.append(feature, math.sqrt(unknown))
        self._absorb(feature, y - self.prior.mean, noise_variance + self.prior.jitter)
        self._keep(point, feature, y - self.prior.mean, noise_variance + self.prior.jitter)

    def _keep(self, point: Array, feature: Array, residual: float, noise: float) -> None:
        if self._n == len(self._x):
            room = 2 * self._n
            self._x = _widened(self._x.T, len(self._x.T), room).T
            self._store, self._rest = _widened(self._store, self._capacity, room), _widened(self._rest, 2, room)
        self._x[self._n], self._rest[:, self._n] = point[0], (residual, noise)
        self._store[: self._u, self._n] = feature
        self._n += 1

    def _absorb(self, feature: Array, residual: float, noise: float) -> None:
        """Add ``phi phi^T / noise`` to B by the formula of Sherman & Morrison."""
        direction = self._inverse @ feature
        pivot = noise + float(feature @ direction)
        step = (residual - float(feature @ self._weights)) / pivot
        if self.pool is not None:
            self.pool.absorb(direction, step, pivot)
        self._inverse -= np.outer(direction, direction / pivot)
        self._weights = self._weights + direction * step

    def _widen(self, point: Array, feature: Array, pivot: float) -> None:
        """Make a point an inducing one: border L by a row and B by a row and column (block inverse)."""
        features, noise, residual = self._features, self._noise, self._residual
        row = (self.prior.covariance(point, self._x[: self._n])[0] - feature @ features) / pivot
        solved = self._inverse @ (features @ (row / noise))
        schur = 1.0 + float((row / noise) @ (row - solved @ features))
        weight = float((row / noise) @ (residual - self._weights @ features)) / schur
        if self.pool is not None:
            self.pool.widen(point, feature, pivot, solved, schur, weight)
        last = np.append(-solved, 1.0) / math.sqrt(schur)
        self._inverse = np.pad(self._inverse, (0, 1)) + np.outer(last, last)
        self._weights = np.append(self._weights - solved * weight, weight)
        self._factor = np.pad(self._factor, (0, 1))
        self._factor[-1, :-1], self._factor[-1, -1] = feature, pivot
        self._inducing = np.concatenate([self._inducing, point])
        if self._u == len(self._store):
            self._store = _widened(self._store, self._capacity, self._store.shape[1])
        self._store[self._u, : self._n] = row
        self._u += 1

    def pool_variance_given(self, x: Features, noise_variance: Array) -> Single:
        """Return the pool variance as if ``x`` (q, d) had been measured too, shape (m,); nothing is changed."""
        feature = self._feature(x)
        directions = self._inverse @ feature
        half = _factorise(np.diag(noise_variance + self.prior.jitter) + feature.T @ directions)
        return self._pool().variance_given(_solve_lower(half, directions.T))

    def pool_covariance(self, x: Features) -> Single:
        """Return the posterior covariance of every point of the pool with ``x`` (d,), shape (m,)."""
        point = np.asarray(x, dtype=np.float64)[None]
        feature = self._feature(point)[:, 0]
        return self._pool().covariance_with(point, self._inverse @ feature - feature)

    def covariance_between(self, one: Indices, other: Indices) -> Single:
        """Return the posterior covariance between points of the pool, by index (a,), (b,), shape (a, b)."""
        return self._pool().covariance(one, other, self._inverse - np.eye(self._u))

    def sample_pool(self, rng: np.random.Generator, waves: int = 512) -> Array:
        """Return one function drawn from the posterior over the attached pool, shape (m,).

        Pathwise conditioning on the inducing values (Wilson et al. 2020, eq. 13): a function of the prior plus the
        correction that takes it to values drawn for the inducing points.
        """
        pool, path = self._pool(), PriorPath(self.prior, rng, waves)
        drawn = self._weights + _factorise(self._inverse) @ rng.normal(size=self._u)
        prior_drawn = _solve_lower(self._factor, path(self._inducing) - self.prior.mean)
        values = pool.home.get(pool.project(drawn - prior_drawn)).astype(np.float64)
        for block in blocks(len(values), CHUNK):
            values[block] += path(np.asarray(pool.points[block], dtype=np.float64))
        return values

    def _pool(self) -> SparsePool:
        if self.pool is None:
            raise ModelError("no pool is attached", remedy="Call attach(pool) first")
        return self.pool

    def _feature(self, x: Features) -> Array:
        return _solve_lower(self._factor, self.prior.covariance(self._inducing, x))

    def _unknown(self, feature: Array) -> Array:
        return np.asarray(np.maximum(self.prior.variance - np.einsum("ij,ij->j", feature, feature), 0.0))

    def _uncertain(self, feature: Array) -> Array:
        return np.asarray(np.einsum("ij,ij->j", feature, self._inverse @ feature))

    def _lower_bound(self, half: Array) -> float:
        misfit = self._residual / self._noise
        explained = float((self._features @ misfit) @ self._weights)
        logdet = float(np.log(self._noise).sum() + 2.0 * np.log(np.diagonal(half)).sum())
        unknown = float((self._unknown(self._features) / self._noise).sum())
        square = float(misfit @ self._residual) - explained
        return -0.5 * (self.n * math.log(2.0 * math.pi) + logdet + square + unknown)


def _widened(array: Array, rows: int, columns: int) -> Array:
    grown = np.zeros((rows, columns))
    grown[: array.shape[0], : array.shape[1]] = array
    return grown


def _factorise(matrix: Array) -> Array:
    try:
        return np.asarray(cholesky(matrix, lower=True))
    except (LinAlgError, ValueError) as error:
        raise FitFailed("a covariance through inducing points cannot be factorised", value=len(matrix)) from error


def _lower_half(matrix: Array) -> Array:
    """Return the lower triangular H with ``H^T H`` equal to a matrix: its Cholesky factor, begun from the end."""
    return np.ascontiguousarray(_factorise(matrix[::-1, ::-1])[::-1, ::-1].T)


def _solve_lower(factor: Array, right: Array) -> Array:
    return np.asarray(solve_triangular(factor, right, lower=True, check_finite=False))
