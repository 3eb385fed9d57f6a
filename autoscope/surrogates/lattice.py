"""Covariances between points of a regular lattice, looked up instead of computed: they depend on the step alone.

Candidates are pixels, so of the millions of pairs of places only a few differ in how far apart they lie. Exact, and
more so than in single precision: the table is computed in double.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.surrogates.prior import Features, Shape, correlation

Array = NDArray[np.float64]
Single = NDArray[np.float32]
Indices = NDArray[np.int64]

ON_IT = 1e-3
"""A point so near one of the lattice, in steps of it, is that one: coordinates are kept in single precision."""


class Lattice:
    """Points (h * w, 2) in rows, the first coordinate running along them.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns, two or more each.
    start, step : array
        (2,) coordinates of the first point, and what lies between neighbours.

    Examples
    --------
    >>> y, x = np.mgrid[:2, :3]
    >>> lattice = Lattice.of(np.stack([x.ravel(), 2.0 * y.ravel()], axis=1))
    >>> lattice.shape, [at.tolist() for at in lattice.places(np.array([[2.0, 2.0]]))]
    ((2, 3), [[1], [2]])
    """

    def __init__(self, shape: tuple[int, int], start: Array, step: Array) -> None:
        self.shape, self.start, self.step = shape, start, step

    @classmethod
    def of(cls, points: Features) -> Lattice | None:
        """Return the lattice that points (m, 2) are, or None where they are none."""
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 4:
            return None
        turns = np.flatnonzero(points[:, 1] != points[0, 1])
        width = int(turns[0]) if len(turns) else 0
        height, left = divmod(len(points), width) if width >= 2 else (0, 1)
        if left or height < 2:
            return None
        x, y = points[:width, 0].astype(np.float64), points[::width, 1].astype(np.float64)
        step = np.array([(x[-1] - x[0]) / (width - 1), (y[-1] - y[0]) / (height - 1)])
        even = [_even(line, float(s)) for line, s in zip((x, y), step, strict=True)]
        table = points.reshape(height, width, 2)
        same = (table[..., 0] == points[:width, 0]).all() and (table[..., 1] == points[::width, 1][:, None]).all()
        return cls((height, width), np.array([x[0], y[0]]), step) if step.all() and all(even) and same else None

    def places(self, x: Features) -> tuple[Indices, Indices] | None:
        """Return row and column, each (q,), of points (q, 2), or None where one of them is not of the lattice."""
        steps = (x - self.start) / self.step
        near = np.rint(steps)
        column, row = near.astype(np.int64).T
        inside = (near >= 0).all() and (row < self.shape[0]).all() and (column < self.shape[1]).all()
        return (row, column) if inside and (np.abs(steps - near) <= ON_IT).all() else None


def _even(line: Array, step: float) -> bool:
    return bool(np.abs(line - line[0] - step * np.arange(len(line))).max() <= ON_IT * abs(step))


class LatticeKernel:
    """A stationary kernel between any points of a lattice.

    Parameters
    ----------
    lattice : Lattice
    shape : {"rbf", "matern52"}
    lengthscales : (float, float)
    outputscale : float
    """

    def __init__(self, lattice: Lattice, shape: Shape, lengthscales: tuple[float, ...], outputscale: float) -> None:
        self.lattice = lattice
        height, width = lattice.shape
        x, y = lattice.step / np.asarray(lengthscales)
        dx, dy = (x * np.arange(width)) ** 2, (y * np.arange(height)) ** 2
        quarter = (outputscale * correlation(shape, dy[:, None] + dx)).astype(np.float32)
        rows, columns = (np.abs(np.arange(1 - count, count)) for count in (height, width))
        self._table: Single = quarter[np.ix_(rows, columns)]
        windows: Any = np.lib.stride_tricks.sliding_window_view(self._table, (height, width))
        self._windows = windows

    def rows(self, places: tuple[Indices, Indices], block: slice) -> Single:
        """Return the covariances of points, by row and column (q,), with a block of the lattice, shape (q, block)."""
        height, width = self.lattice.shape
        start, stop, _ = block.indices(height * width)
        first, last = start // width, -(-stop // width)
        whole = self._windows[:, :, first:last][height - 1 - places[0], width - 1 - places[1]]
        return np.asarray(whole.reshape(len(whole), -1)[:, start - first * width : stop - first * width])

    def between(self, one: Indices, other: Indices) -> Single:
        """Return the covariances between points given by index, (a,) and (b,), shape (a, b)."""
        height, width = self.lattice.shape
        (r, c), (s, d) = np.divmod(one, width), np.divmod(other, width)
        return np.asarray(self._table[height - 1 - r[:, None] + s, width - 1 - c[:, None] + d])
