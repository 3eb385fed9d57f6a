"""The posterior of a Gaussian process seen through inducing points, kept over a pool by low-rank updates.

Notation: Z are the ``u`` inducing points, ``K_ZZ = L L^T``, the feature of a point is ``phi(x) = L^-1 k(Z, x)``, and
``B = I + sum_i phi_i phi_i^T / noise_i`` over the measurements. With residuals ``r`` from the prior mean, whitened
weights are ``w = B^-1 sum_i phi_i r_i / noise_i``. This is the optimal variational posterior of Titsias 2009 (eq. 6 and
the predictive equations after it), whitened.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoscope.errors import FitFailed, ModelError
from autoscope.surrogates.paths import PriorPath
from autoscope.surrogates.prior import Prior

Array = NDArray[np.float64]
Floats = NDArray[np.floating]
Indices = NDArray[np.int64]

CHUNK = 4096
"""Points handled at once: bounds the temporary memory of a prediction."""
DISTINCT = 1e-6
"""A point whose variance, given the inducing points, is below this share of the prior's adds nothing to them."""
UNKNOWN = 0.02
"""A measured point whose variance, given the inducing points, is above this share of the prior's joins them."""
RIDGE = 1e-10
"""Added to the diagonal of ``K_ZZ``, as a share of the prior variance."""


def covariance(prior: Prior, a: Tensor, b: Tensor) -> Tensor:
    """Return the prior covariance between rows of ``a`` (n, d) and ``b`` (m, d) on their device, shape (n, m)."""
    total = torch.zeros(len(a), len(b), dtype=a.dtype, device=a.device)
    for columns, lengthscale, outputscale in zip(prior.groups, prior.lengthscales, prior.outputscales, strict=True):
        scale = torch.as_tensor(lengthscale, dtype=a.dtype, device=a.device)
        left, right = a[:, list(columns)] / scale, b[:, list(columns)] / scale
        middle = right.mean(dim=0)  # distances do not change, and products of small numbers lose fewer digits
        left, right = left - middle, right - middle
        squared = torch.addmm((left * left).sum(1)[:, None] + (right * right).sum(1), left, right.T, alpha=-2.0)
        total += outputscale * _correlation(prior.shape, squared.clamp_(min=0.0))
    return total


def _correlation(shape: str, squared: Tensor) -> Tensor:
    if shape == "rbf":
        return squared.mul_(-0.5).exp_()
    root = squared.mul_(5.0).sqrt_()
    return (1.0 + root + root * root / 3.0) * torch.exp(-root)


def select_inducing(prior: Prior, x: Floats, count: int, device: str = "cpu") -> Indices:
    """Return at most ``count`` rows of ``x`` (n, d), each the least known given those before it.

    Pivoted Cholesky factorisation of the prior covariance: the greedy choice of Fine & Scheinberg 2001, shown good
    for inducing points by Burt, Rasmussen & van der Wilk 2020. Deterministic; stops early where nothing is left to
    know. A longer choice begins with a shorter one.
    """
    points = _tensor(x, device)
    left = torch.full((len(points),), prior.variance, dtype=torch.float64, device=device)
    rows = torch.empty(min(count, len(points)), len(points), dtype=torch.float64, device=device)
    chosen: list[int] = []
    for k in range(len(rows)):
        pivot = int(left.argmax())
        if float(left[pivot]) <= DISTINCT * prior.variance:
            break
        row = covariance(prior, points[pivot : pivot + 1], points)[0] - rows[:k, pivot] @ rows[:k]
        rows[k] = row / left[pivot].sqrt()
        left = (left - rows[k] ** 2).clamp_(min=0.0)
        left[pivot] = 0.0
        chosen.append(pivot)
    return np.array(chosen, dtype=np.int64)


class SparsePool:
    """Mean, variance and features over a finite pool; the features in float32, since they are most of the memory."""

    def __init__(self, points: Floats, prior: Prior, capacity: int, device: str) -> None:
        self.points = points
        self.mean = torch.full((len(points),), prior.mean, dtype=torch.float64, device=device)
        self.variance = torch.full((len(points),), prior.variance, dtype=torch.float64, device=device)
        self.rows = torch.empty(capacity, len(points), dtype=torch.float32, device=device)

    def project(self, weights: Tensor) -> Tensor:
        """Return ``weights^T phi`` over the pool, of weights (u,) or (u, q): shape (m,) or (q, m)."""
        single = weights.to(torch.float32)
        flat = single.mT if single.dim() == 2 else single
        return (flat @ self.rows[: len(weights)]).to(torch.float64)


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
    device : str
        Where the pool and all matrices are kept.

    Raises
    ------
    FitFailed
        The covariance of the inducing points cannot be factorised.
    """

    def __init__(
        self,
        prior: Prior,
        x: Floats,
        y: Array,
        noise_variance: Array,
        inducing: Floats,
        *,
        spare: int = 0,
        device: str = "cpu",
    ) -> None:
        self.prior, self.device, self._capacity = prior, device, len(inducing) + spare
        self.pool: SparsePool | None = None
        self._x, self._residual = _tensor(x, device), _tensor(y, device) - prior.mean
        self._noise = _tensor(noise_variance, device) + prior.jitter
        self._inducing = _tensor(inducing, device)
        ridge = RIDGE * prior.variance * torch.eye(len(inducing), dtype=torch.float64, device=device)
        self._factor = _factorise(covariance(prior, self._inducing, self._inducing) + ridge)
        self._features = self._feature(self._x)
        eye = torch.eye(len(inducing), dtype=torch.float64, device=device)
        half = _factorise(eye + (self._features / self._noise) @ self._features.T)
        self._inverse = torch.cholesky_inverse(half)
        self._weights = self._inverse @ (self._features @ (self._residual / self._noise))
        self._bound = self._lower_bound(half)

    @property
    def n(self) -> int:
        """Number of measurements."""
        return len(self._residual)

    @property
    def inducing(self) -> Array:
        """The inducing points, (u, d)."""
        return _array(self._inducing)

    def log_bound(self) -> float:
        """Return the lower bound on the log evidence (Titsias 2009, eq. 9) of the data given at the start."""
        return self._bound

    def predict(self, x: Floats) -> tuple[Array, Array]:
        """Return mean and variance of the function at ``x`` (m, d), each (m,), in chunks."""
        mean, variance = np.empty(len(x)), np.empty(len(x))
        for block in _blocks(len(x)):
            feature = self._feature(_tensor(x[block], self.device))
            mean[block] = _array(self.prior.mean + self._weights @ feature)
            variance[block] = _array(self._variance(feature))
        return mean, np.maximum(variance, 0.0)

    def attach(self, points: Floats) -> None:
        """Build the posterior over a pool (m, d), which `extend` then maintains."""
        pool = SparsePool(points, self.prior, self._capacity, self.device)
        inverse = self._inverse.to(torch.float32)  # only small parts of a variance pass through it
        for block in _blocks(len(points)):
            feature = self._feature(_tensor(points[block], self.device))
            single = feature.to(torch.float32)
            pool.rows[: len(feature), block] = single
            pool.mean[block] = self.prior.mean + self._weights @ feature
            unknown = (self.prior.variance - (feature * feature).sum(0)).clamp_(min=0.0)
            pool.variance[block] = unknown + (single * (inverse @ single)).sum(0)
        self.pool = pool

    def extend(self, x: Floats, y: float, noise_variance: float) -> None:
        """Take one more measurement at ``x`` (d,) into account without refit, in O(u^2) and O(u m) for the pool.

        A point of which the inducing points know too little first joins them, while there is room.
        """
        point = _tensor(x[None], self.device)
        feature = self._feature(point)[:, 0]
        unknown = self.prior.variance - float(feature @ feature)
        if unknown > UNKNOWN * self.prior.variance and len(self._weights) < self._capacity:
            self._widen(point, feature, math.sqrt(unknown))
            feature = torch.cat([feature, feature.new_tensor([math.sqrt(unknown)])])
        self._absorb(feature, y - self.prior.mean, noise_variance + self.prior.jitter)
        self._x = torch.cat([self._x, point])
        self._features = torch.cat([self._features, feature[:, None]], dim=1)

    def _absorb(self, feature: Tensor, residual: float, noise: float) -> None:
        """Add ``phi phi^T / noise`` to B by the formula of Sherman & Morrison."""
        direction = self._inverse @ feature
        pivot = noise + float(feature @ direction)
        step = (residual - float(feature @ self._weights)) / pivot
        if self.pool is not None:
            change = self.pool.project(direction)
            self.pool.mean += change * step
            self.pool.variance -= change**2 / pivot
        self._inverse -= torch.outer(direction, direction) / pivot
        self._weights = self._weights + direction * step
        self._residual = torch.cat([self._residual, self._residual.new_tensor([residual])])
        self._noise = torch.cat([self._noise, self._noise.new_tensor([noise])])

    def _widen(self, point: Tensor, feature: Tensor, pivot: float) -> None:
        """Make a point an inducing one: border L by a row and B by a row and column (block inverse)."""
        row = (covariance(self.prior, point, self._x)[0] - feature @ self._features) / pivot
        column = (self._features / self._noise) @ row
        solved = self._inverse @ column
        schur = 1.0 + float((row / self._noise) @ row) - float(column @ solved)
        weight = (float((row / self._noise) @ self._residual) - float(column @ self._weights)) / schur
        if self.pool is not None:
            self._widen_pool(self.pool, point, feature, pivot, solved, schur, weight)
        last = torch.cat([-solved, solved.new_tensor([1.0])]) / math.sqrt(schur)
        self._inverse = torch.nn.functional.pad(self._inverse, (0, 1, 0, 1)) + torch.outer(last, last)
        self._weights = torch.cat([self._weights - solved * weight, self._weights.new_tensor([weight])])
        self._features = torch.cat([self._features, row[None]])
        self._inducing = torch.cat([self._inducing, point])
        self._factor = torch.nn.functional.pad(self._factor, (0, 1, 0, 1))
        self._factor[-1, :-1], self._factor[-1, -1] = feature, pivot

    def _widen_pool(
        self,
        pool: SparsePool,
        point: Tensor,
        feature: Tensor,
        pivot: float,
        solved: Tensor,
        schur: float,
        weight: float,
    ) -> None:
        both = pool.project(torch.stack([feature, solved], dim=1))
        for block in _blocks(len(pool.points)):
            cross = covariance(self.prior, point, _tensor(pool.points[block], self.device))[0]
            new = (cross - both[0, block]) / pivot
            change = new - both[1, block]
            pool.rows[len(feature), block] = new.to(torch.float32)
            pool.mean[block] += change * weight
            pool.variance[block] += change**2 / schur - new**2

    def pool_variance_given(self, x: Floats, noise_variance: Array) -> Array:
        """Return the pool variance as if ``x`` (q, d) had been measured too, shape (m,); nothing is changed."""
        if self.pool is None:
            raise ModelError("no pool is attached", remedy="Call attach(pool) first")
        feature = self._feature(_tensor(x, self.device))
        directions = self._inverse @ feature
        noise = torch.diag(_tensor(noise_variance, self.device) + self.prior.jitter)
        half = _factorise(noise + feature.T @ directions)
        changes = self.pool.project(torch.linalg.solve_triangular(half, directions.T, upper=False).T)
        return np.asarray(np.maximum(_array(self.pool.variance - (changes**2).sum(0)), 0.0))

    def pool_covariance(self, x: Floats) -> Array:
        """Return the posterior covariance of every point of the pool with ``x`` (d,), shape (m,)."""
        if self.pool is None:
            raise ModelError("no pool is attached", remedy="Call attach(pool) first")
        point, points = _tensor(x[None], self.device), self.pool.points
        feature = self._feature(point)[:, 0]
        seen = _array(self.pool.project(self._inverse @ feature - feature))
        cross = [
            _array(covariance(self.prior, point, _tensor(points[b], self.device))[0]) for b in _blocks(len(points))
        ]
        return seen + np.concatenate(cross)

    def sample_pool(self, rng: np.random.Generator, waves: int = 512) -> Array:
        """Return one function drawn from the posterior over the attached pool, shape (m,).

        Pathwise conditioning on the inducing values (Wilson et al. 2020, eq. 13): a function of the prior plus the
        correction that takes it to values drawn for the inducing points.
        """
        if self.pool is None:
            raise ModelError("no pool is attached", remedy="Call attach(pool) first")
        path = PriorPath(self.prior, rng, waves)
        noise = _tensor(rng.normal(size=len(self._weights)), self.device)
        drawn = self._weights + _factorise(self._inverse) @ noise
        prior_values = _tensor(path(self.inducing) - self.prior.mean, self.device)
        prior_drawn = torch.linalg.solve_triangular(self._factor, prior_values[:, None], upper=False)[:, 0]
        correction = _array(self.pool.project(drawn - prior_drawn))
        points = self.pool.points
        for block in _blocks(len(points)):
            correction[block] += path(np.asarray(points[block], dtype=np.float64))
        return correction

    def _feature(self, x: Tensor) -> Tensor:
        cross = covariance(self.prior, self._inducing, x)
        solved: Tensor = torch.linalg.solve_triangular(self._factor, cross, upper=False)
        return solved

    def _variance(self, feature: Tensor) -> Tensor:
        unknown: Tensor = (self.prior.variance - (feature * feature).sum(0)).clamp_(min=0.0)
        return unknown + (feature * (self._inverse @ feature)).sum(0)

    def _lower_bound(self, half: Tensor) -> float:
        misfit = self._residual / self._noise
        explained = float((self._features @ misfit) @ self._weights)
        logdet = float(torch.log(self._noise).sum() + 2.0 * torch.log(half.diagonal()).sum())
        unknown = ((self.prior.variance - (self._features**2).sum(0)).clamp_(min=0.0) / self._noise).sum()
        square = float(misfit @ self._residual) - explained
        return -0.5 * (self.n * math.log(2.0 * math.pi) + logdet + square + float(unknown))


def _tensor(array: Floats, device: str) -> Tensor:
    return torch.as_tensor(array, dtype=torch.float64, device=device)


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.cpu().numpy(), dtype=np.float64)


def _blocks(count: int) -> list[slice]:
    return [slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def _factorise(matrix: Tensor) -> Tensor:
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if int(failed) or not bool(torch.isfinite(factor).all()):
        raise FitFailed("a covariance through inducing points cannot be factorised", value=len(matrix))
    return factor
