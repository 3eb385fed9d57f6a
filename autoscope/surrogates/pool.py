"""Mean and variance of a Gaussian process over a large finite pool, kept in single precision by low-rank updates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import strmm

from autoscope.surrogates.prior import Features, Prior, Shape

Array = NDArray[np.float64]
Single = NDArray[np.float32]
Indices = NDArray[np.int64]

BLOCK_ELEMENTS = 500_000
"""Entries of a covariance handled at once: a few megabytes stay in the processor's cache."""


class PoolKernel:
    """Prior covariances between given points and all points of a pool, in single precision.

    The pool's columns are divided by their lengthscales once, and beside them stands minus half their squared norm, so
    that one matrix product gives the whole exponent of the kernel, the log of its variance included.

    Parameters
    ----------
    points : array
        (m, d) features of the pool.
    prior : Prior
        Whose covariance is wanted.
    """

    def __init__(self, points: Features, prior: Prior) -> None:
        self.prior = prior
        self._sides = [
            _beside(points, columns, lengthscales, own=2)
            for columns, lengthscales in zip(prior.groups, prior.lengthscales, strict=True)
        ]

    def __len__(self) -> int:
        return len(self._sides[0])

    def rows(self, x: Features, block: slice = slice(None)) -> Single:
        """Return the covariances between ``x`` (q, d) and a block of the pool, shape (q, block)."""
        total: Single = np.empty((0, 0), dtype=np.float32)
        for g, (columns, lengthscales) in enumerate(zip(self.prior.groups, self.prior.lengthscales, strict=True)):
            near = _beside(x, columns, lengthscales, own=1)
            part = _covariance(self.prior.shape, near, self._sides[g][block], self.prior.outputscales[g])
            total = np.add(total, part, out=total) if g else part
        return total

    def between(self, one: Indices, other: Indices) -> Single:
        """Return the covariances between points of the pool, given by their indices (a,), (b,); shape (a, b)."""
        total: Single = np.empty((0, 0), dtype=np.float32)
        for g, side in enumerate(self._sides):
            part = _covariance(self.prior.shape, _turned(side[one]), side[other], self.prior.outputscales[g])
            total = np.add(total, part, out=total) if g else part
        return total


def _turned(far: Single) -> Single:
    """Return rows of the pool's side as rows of the other side: the last two columns change places."""
    near = far.copy()
    near[:, -2:] = far[:, :-3:-1]
    return near


def _beside(points: Features, columns: tuple[int, ...], lengthscales: tuple[float, ...], own: int) -> Single:
    """Return scaled columns, then ``1`` and minus half the squared norm, the latter at place ``own`` of the two."""
    table: Single = np.ones((len(points), len(columns) + 2), dtype=np.float32)
    scaled = table[:, : len(columns)]
    scaled[:] = points[:, list(columns)]
    scaled /= np.asarray(lengthscales, dtype=np.float32)
    table[:, len(columns) + own - 1] = -0.5 * np.einsum("ij,ij->i", scaled, scaled)
    return table


def _covariance(shape: Shape, near: Single, far: Single, outputscale: float) -> Single:
    if shape == "rbf":
        near[:, -2] += np.float32(np.log(outputscale))  # the column that meets the ones of the pool
        exponent = near @ far.T
        return np.asarray(np.exp(exponent, out=exponent))
    squared = near @ far.T
    squared *= np.float32(-10.0)  # five times the squared distance
    np.maximum(squared, np.float32(0.0), out=squared)  # rounding can make a distance negative
    root = np.sqrt(squared)
    squared *= np.float32(1.0 / 3.0)
    squared += root
    squared += np.float32(1.0)
    squared *= np.exp(np.negative(root, out=root), out=root)
    squared *= np.float32(outputscale)
    return squared


class PoolPosterior:
    """Mean and variance over a pool, and the rows ``V = L^-1 K(X, pool)`` (n, m) that updates need.

    With them one more measurement costs one row, O(n m), instead of a rebuild, O(n^2 m). Single precision halves the
    bytes to be moved, which is what an update costs; factors stay in double precision.

    Parameters
    ----------
    points : array
        (m, d) features of the pool.
    prior : Prior
        Of the function.
    capacity : int
        Measurements to leave room for; it grows by itself.
    store : array, optional
        Memory of a posterior no longer needed, to be used again where it is large enough: fresh memory costs more
        than what is computed into it.
    """

    def __init__(self, points: Features, prior: Prior, capacity: int, store: Single | None = None) -> None:
        self.points = points
        self.kernel = PoolKernel(points, prior)
        self.mean: Single = np.full(len(points), prior.mean, dtype=np.float32)
        self.variance: Single = np.full(len(points), prior.variance, dtype=np.float32)
        fits = store is not None and store.shape[1] == len(points) and len(store) >= capacity
        self.store: Single = store if store is not None and fits else _empty(capacity, len(points))
        self._n = 0

    @property
    def rows(self) -> Single:
        """``V``, shape (n, m); a view."""
        return self.store[: self._n]

    def build(self, x: Features, inverse_factor: Array, whitened: Array) -> None:
        """Take all measurements at once: ``x`` (n, d), ``L^-1`` (n, n) and whitened residuals (n,)."""
        lower, weights = inverse_factor.astype(np.float32), whitened.astype(np.float32)
        self._n = len(x)
        self._reserve(self._n)
        step = max(256, BLOCK_ELEMENTS // max(len(x), 1))
        for start in range(0, len(self.mean), step):
            block = slice(start, min(start + step, len(self.mean)))
            rows = strmm(1.0, lower.T, self.kernel.rows(x, block).T, side=1, overwrite_b=1).T
            self.store[: self._n, block] = rows
            self.mean[block] += weights @ rows
            np.square(rows, out=rows)
            self.variance[block] -= rows.sum(axis=0)

    def row(self, x: Features, column: Array, pivot: float) -> Single:
        """Return the row of ``V`` of one more point ``x`` (1, d), shape (m,).

        Parameters
        ----------
        column : array
            ``L^-1 k(X, x)``, (n,).
        pivot : float
            New diagonal entry of ``L``.
        """
        cross = self.kernel.rows(x)[0]
        cross -= column.astype(np.float32) @ self.rows
        cross /= np.float32(pivot)
        return np.asarray(cross)

    def covariance(self, one: Indices, other: Indices) -> Single:
        """Return the posterior covariance between points of the pool, given by indices (a,), (b,); shape (a, b)."""
        prior = self.kernel.between(one, other)
        prior -= self.rows[:, one].T @ self.rows[:, other]
        return prior

    def append(self, row: Single, whitened: float) -> None:
        """Add one row of ``V`` (m,) with its whitened residual."""
        self._reserve(self._n + 1)
        self.store[self._n] = row
        self._n += 1
        self.mean += np.float32(whitened) * row
        self.variance -= row * row

    def _reserve(self, count: int) -> None:
        if count > len(self.store):
            grown = _empty(max(count, len(self.store) * 3 // 2), len(self.mean))
            grown[: self._n] = self.store[: self._n]
            self.store = grown


def _empty(capacity: int, points: int) -> Single:
    return np.empty((capacity, points), dtype=np.float32)
