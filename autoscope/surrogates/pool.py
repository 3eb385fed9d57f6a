"""Mean and variance of a Gaussian process over a large finite pool, kept in single precision by low-rank updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import strmm

from autoscope.surrogates.lattice import Lattice, LatticeKernel
from autoscope.surrogates.prior import Features, Prior, Shape

Array = NDArray[np.float64]
Single = NDArray[np.float32]
Indices = NDArray[np.int64]
Held = Any
"""An array of single precision where the pool is kept: NumPy's in main memory, or a torch tensor on a device."""

BLOCK_ELEMENTS = 128_000
"""Entries of a covariance handled at once: with its intermediate results they stay in a core's own cache."""


class Home(Protocol):
    """Where a pool is kept, and the few steps that differ from place to place; all in single precision."""

    def put(self, array: Features) -> Held:
        """Take an array there."""

    def get(self, held: Held) -> Single:
        """Return what is held there as a NumPy array."""

    def indices(self, at: Indices) -> Held:
        """Take indices there."""

    def empty(self, rows: int, columns: int) -> Held:
        """Return memory there, with anything in it."""

    def full(self, count: int, value: float) -> Held:
        """Return ``count`` equal values there."""

    def fits(self, store: Held, rows: int, columns: int) -> bool:
        """Return whether memory is of this home, of so many columns and not fewer rows."""

    def block(self, rows: int) -> int:
        """Return how many columns of so many rows are best handled at once."""

    def lower_times(self, lower: Held, right: Held) -> Held:
        """Return the product of a lower triangular matrix (n, n) and another (n, b), which may be overwritten."""

    def sum_of_squares(self, rows: Held) -> Held:
        """Return the sum of squares of every column of (n, b), which may be overwritten."""

    def covariance(self, shape: Shape, near: Held, far: Held, outputscale: float) -> Held:
        """Return the covariance (q, b) of rows beside which stand their squared norms; see `PoolKernel`."""


class MainMemory:
    """NumPy arrays on the processor."""

    def put(self, array: Features) -> Single:
        """Return the array in single precision."""
        return np.asarray(array, dtype=np.float32)

    def get(self, held: Held) -> Single:
        """Return the array itself."""
        return np.asarray(held)

    def indices(self, at: Indices) -> Indices:
        """Return the indices themselves."""
        return at

    def empty(self, rows: int, columns: int) -> Single:
        """Return an array with anything in it."""
        return np.empty((rows, columns), dtype=np.float32)

    def full(self, count: int, value: float) -> Single:
        """Return an array of equal values."""
        return np.full(count, value, dtype=np.float32)

    def fits(self, store: Held, rows: int, columns: int) -> bool:
        """Return whether an array can hold so much."""
        return isinstance(store, np.ndarray) and store.shape[1] == columns and len(store) >= rows

    def block(self, rows: int) -> int:
        """Return as many columns as stay in the cache."""
        return max(256, BLOCK_ELEMENTS // max(rows, 1))

    def lower_times(self, lower: Single, right: Single) -> Single:
        """Return the product, in half the steps of one that knows nothing of the triangle."""
        return np.asarray(strmm(1.0, lower.T, right.T, side=1, overwrite_b=1).T)

    def sum_of_squares(self, rows: Single) -> Single:
        """Return the sums, squaring in place."""
        np.square(rows, out=rows)
        return np.asarray(rows.sum(axis=0))

    def covariance(self, shape: Shape, near: Single, far: Single, outputscale: float) -> Single:
        """Return the covariance; see `Home.covariance`."""
        return _covariance(shape, near, far, outputscale)


MAIN_MEMORY = MainMemory()


def home_of(device: str) -> Home:
    """Return where to keep a pool, by a device's name; ``"auto"`` is the GPU where there is one, else main memory.

    Raises
    ------
    ModelError
        There is no such device here.
    """
    if device == "cpu":
        return MAIN_MEMORY
    from autoscope.surrogates.device import TorchMemory, has_gpu  # torch takes long to load

    return MAIN_MEMORY if device == "auto" and not has_gpu() else TorchMemory("cuda" if device == "auto" else device)


class PoolKernel:
    """Prior covariances between given points and all points of a pool, in single precision.

    The pool's columns are divided by their lengthscales once, and beside them stands minus half their squared norm, so
    that one matrix product gives the whole exponent of the kernel, the log of its variance included. In main memory
    summands on the coordinates of a lattice are looked up instead (`lattice`).

    Parameters
    ----------
    points : array
        (m, d) features of the pool.
    prior : Prior
        Whose covariance is wanted.
    home : Home
        Where it is computed.
    """

    def __init__(self, points: Features, prior: Prior, home: Home = MAIN_MEMORY) -> None:
        self.prior, self.home = prior, home
        self._sides = [
            home.put(_beside(points, columns, lengthscales, own=2))
            for columns, lengthscales in zip(prior.groups, prior.lengthscales, strict=True)
        ]
        self._tables = {
            g: LatticeKernel(lattice, prior.shape, prior.lengthscales[g], prior.outputscales[g])
            for g, columns in enumerate(prior.groups)
            if home is MAIN_MEMORY and len(columns) == 2 and (lattice := Lattice.of(points[:, list(columns)]))
        }

    def __len__(self) -> int:
        return len(self._sides[0])

    def rows(self, x: Features, block: slice = slice(None)) -> Held:
        """Return the covariances between ``x`` (q, d) and a block of the pool, shape (q, block)."""

        def part(g: int) -> Held:
            columns, table = self.prior.groups[g], self._tables.get(g)
            places = None if table is None else table.lattice.places(x[:, list(columns)])
            if table is not None and places is not None:
                return table.rows(places, block)
            near = _beside(x, columns, self.prior.lengthscales[g], own=1)
            return self._computed(g, self.home.put(near), self._sides[g][block])

        return self._sum(part)

    def between(self, one: Indices, other: Indices) -> Held:
        """Return the covariances between points of the pool, given by their indices (a,), (b,); shape (a, b)."""
        near, far = self.home.indices(one), self.home.indices(other)

        def part(g: int) -> Held:
            if (table := self._tables.get(g)) is not None:
                return table.between(one, other)
            return self._computed(g, _turned(self._sides[g][near]), self._sides[g][far])

        return self._sum(part)

    def _computed(self, g: int, near: Held, far: Held) -> Held:
        return self.home.covariance(self.prior.shape, near, far, self.prior.outputscales[g])

    def _sum(self, part: Callable[[int], Held]) -> Held:
        total = part(0)
        for g in range(1, len(self.prior.groups)):
            total += part(g)
        return total


def _turned(far: Held) -> Held:
    """Return rows of the pool's side, which are ours, as rows of the other: the last two columns change places."""
    norms = far[:, -1] + 0.0  # a copy wherever it is kept
    far[:, -1] = far[:, -2]
    far[:, -2] = norms
    return far


def _beside(points: Features, columns: tuple[int, ...], lengthscales: tuple[float, ...], own: int) -> Single:
    """Return scaled columns, then ``1`` and minus half the squared norm, the latter at place ``own`` of the two."""
    table: Single = np.ones((len(points), len(columns) + 2), dtype=np.float32)
    scaled = table[:, : len(columns)]
    scaled[:] = points[:, list(columns)]
    scaled /= np.asarray(lengthscales, dtype=np.float32)
    table[:, len(columns) + own - 1] = -0.5 * np.einsum("ij,ij->i", scaled, scaled)
    return table


def _covariance(shape: Shape, near: Single, far: Single, outputscale: float) -> Single:
    log = np.float32(np.log(outputscale))
    if shape == "rbf":
        near[:, -2] += log  # the column that meets the ones of the pool
        exponent = near @ far.T
        return np.asarray(np.exp(exponent, out=exponent))
    log -= np.float32(np.log(3.0))
    near *= np.float32(-10.0)  # of minus half the squared distance
    root = near @ far.T
    np.abs(root, out=root)  # rounding can make a distance negative
    np.sqrt(root, out=root)
    decay = np.subtract(log, root)
    np.exp(decay, out=decay)
    root += np.float32(1.5)  # 1 + r + r^2 / 3 = ((r + 3/2)^2 + 3/4) / 3
    np.square(root, out=root)
    root += np.float32(0.75)
    root *= decay
    return np.asarray(root)


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
        self._n = 0
        self._last: tuple[tuple[int, bytes], Held] | None = None

    @property
    def mean(self) -> Single:
        """Mean over the pool, (m,)."""
        return self.home.get(self._mean)

    @property
    def variance(self) -> Single:
        """Variance over the pool, (m,)."""
        return self.home.get(self._variance)

    @property
    def _rows(self) -> Held:
        return self.store[: self._n]

    def build(self, x: Features, inverse_factor: Array, whitened: Array) -> None:
        """Take all measurements at once: ``x`` (n, d), ``L^-1`` (n, n) and whitened residuals (n,)."""
        lower, weights = self.home.put(inverse_factor), self.home.put(whitened)
        self._n = len(x)
        self._reserve(self._n)
        for block in blocks(len(self.points), self.home.block(len(x))):
            rows = self.home.lower_times(lower, self.kernel.rows(x, block))
            self.store[: self._n, block] = rows
            self._mean[block] += weights @ rows
            self._variance[block] -= self.home.sum_of_squares(rows)

    def row(self, x: Features, column: Array, pivot: float) -> Held:
        """Return the row of ``V`` of one more point ``x`` (1, d), shape (m,).

        Parameters
        ----------
        column : array
            ``L^-1 k(X, x)``, (n,).
        pivot : float
            New diagonal entry of ``L``.
        """
        return self._unscaled(x, column) / pivot

    def _unscaled(self, x: Features, column: Array) -> Held:
        """Return the posterior covariance of the pool with ``x`` (1, d): the costly part of a row.

        Kept for the last point, because one that is under way is asked about before it is learnt.
        """
        key = (self._n, np.asarray(x, dtype=np.float32).tobytes())
        if self._last is None or self._last[0] != key:
            cross = self.kernel.rows(x)[0]
            cross -= self.home.put(column) @ self._rows
            self._last = (key, cross)
        return self._last[1]

    def variance_given(self, x: Features, column: Array, inverse_factor: Array) -> Single:
        """Return the variance as if ``x`` (q, d) had been measured too, shape (m,); nothing is changed.

        Parameters
        ----------
        column : array
            ``L^-1 k(X, x)``, (n, q).
        inverse_factor : array
            (q, q), inverse of the Cholesky factor of what is unknown at ``x``, noise included.
        """
        if len(x) == 1:
            cross = self._unscaled(x, column[:, 0])[None]
        else:
            cross = self.kernel.rows(x)
            cross -= self.home.put(column.T) @ self._rows
        known = self.home.sum_of_squares(self.home.put(inverse_factor) @ cross)
        return np.asarray(np.maximum(self.home.get(self._variance - known), np.float32(0.0)))

    def covariance_with(self, x: Features, column: Array) -> Single:
        """Return the posterior covariance of the pool with a point ``x`` (1, d), shape (m,); ``column`` as in `row`."""
        return self.home.get(self._unscaled(x, column) * 1.0)

    def covariance(self, one: Indices, other: Indices) -> Single:
        """Return the posterior covariance between points of the pool, given by indices (a,), (b,); shape (a, b)."""
        prior, rows = self.kernel.between(one, other), self._rows
        prior -= rows[:, self.home.indices(one)].T @ rows[:, self.home.indices(other)]
        return self.home.get(prior)

    def append(self, row: Held, whitened: float) -> None:
        """Add one row of ``V`` (m,) with its whitened residual."""
        self._reserve(self._n + 1)
        self.store[self._n] = row
        self._n += 1
        self._mean += whitened * row
        self._variance -= row * row

    def _reserve(self, count: int) -> None:
        if count > len(self.store):
            grown = self.home.empty(max(count, len(self.store) * 3 // 2), len(self.points))
            grown[: self._n] = self.store[: self._n]
            self.store = grown


def blocks(count: int, step: int) -> list[slice]:
    """Return slices of at most ``step`` that cover ``count``.

    Examples
    --------
    >>> blocks(5, 3)
    [slice(0, 3, None), slice(3, 5, None)]
    """
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
