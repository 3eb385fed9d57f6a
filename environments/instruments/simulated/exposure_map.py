"""How many electrons each place of a specimen has received."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.instruments.simulated.config import DoseConfig

Array = NDArray[np.float64]
Cells = NDArray[np.intp]

BLOCK = 32768


class ExposureMap:
    """Electrons on a grid of square cells over a specimen; what falls beside it is counted too.

    Parameters
    ----------
    extent_m : tuple of float
        Width and height of the specimen, centred on the origin.
    config : DoseConfig
        Cell size, and the largest number of cells along a side.
    """

    def __init__(self, extent_m: tuple[float, float], config: DoseConfig) -> None:
        self.cell_m = max(config.cell_m, max(extent_m) / config.max_cells)
        self._half_m = (extent_m[0] / 2.0, extent_m[1] / 2.0)
        width, height = (max(1, round(np.ceil(side / self.cell_m - 1e-9))) for side in extent_m)
        self._electrons = np.zeros((height + 2, width + 2))  # a border of one cell catches what falls beside
        self.outside_e = 0.0

    @property
    def total_e(self) -> float:
        """Electrons received in all, on and beside the specimen."""
        return float(self._electrons.sum()) + self.outside_e

    def snapshot(self) -> dict[str, Any]:
        """Return the electrons of all cells that have any, as plain data."""
        cells = np.flatnonzero(self._electrons)
        return {
            "cells": _packed(np.diff(cells, prepend=0).astype("<i8")),
            "electrons": _packed(self._electrons.ravel()[cells].astype("<f8")),
            "outside_e": self.outside_e,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take up a snapshot."""
        self._electrons[:] = 0.0
        cells = np.cumsum(np.frombuffer(_unpacked(snapshot["cells"]), dtype="<i8"))
        self._electrons.ravel()[cells] = np.frombuffer(_unpacked(snapshot["electrons"]), dtype="<f8")
        self.outside_e = snapshot["outside_e"]

    def fluence_e_per_m2(self) -> Array:
        """Return the fluence of all cells, (rows, columns), row 0 at smallest y."""
        return self._electrons[1:-1, 1:-1] / self.cell_m**2

    def read(self, x_m: Array, y_m: Array) -> Array:
        """Return the fluence at points, shape of ``x_m``; zero beside the specimen."""
        rows, columns = self._cells(y_m, 0).astype(np.intp), self._cells(x_m, 1).astype(np.intp)
        fluence: Array = self._electrons[rows, columns] / self.cell_m**2
        return fluence

    def expose(self, x_m: Array, y_m: Array, electrons: float | Array) -> Array:
        """Add electrons at points and return the fluence there in the middle of this exposure.

        Parameters
        ----------
        x_m, y_m : array, any shape
            Specimen points.
        electrons : float or array of that shape
            Electrons at each point.

        Returns
        -------
        array, shape of ``x_m``
            What the cell of each point had before, plus half of what it now receives, per area.
        """
        (top, bottom), (left, right) = self._span(y_m, 0), self._span(x_m, 1)
        shape = (bottom - top + 1, right - left + 1)
        flat = self._flat_cells(x_m, y_m, top * shape[1] + left, shape[1])
        added = self._histogram(flat, electrons, shape)
        window = self._electrons[top : top + shape[0], left : left + shape[1]]
        middle = (window + 0.5 * added) / self.cell_m**2
        window += added
        beside = self._border(middle, top, left)
        for edge in beside:
            edge[:] = 0.0
        if beside:
            self._sweep_border()
        return middle.take(flat)

    def _histogram(self, flat: Cells, electrons: float | Array, shape: tuple[int, int]) -> Array:
        size = shape[0] * shape[1]
        single = isinstance(electrons, float)
        counts: Array = np.bincount(flat.ravel(), None if single else np.ravel(electrons), size).astype(np.float64)
        return (counts * electrons if single else counts).reshape(shape)

    def _border(self, window: Array, top: int, left: int) -> list[Array]:
        """Return the parts of a window that lie in the border, as views."""
        bottom, right = top + window.shape[0], left + window.shape[1]
        parts = (
            (top == 0, window[0]),
            (bottom == self._electrons.shape[0], window[-1]),
            (left == 0, window[:, 0]),
            (right == self._electrons.shape[1], window[:, -1]),
        )
        return [part for in_border, part in parts if in_border]

    def _sweep_border(self) -> None:
        for edge in self._border(self._electrons, 0, 0):
            self.outside_e += float(edge.sum())
            edge[:] = 0.0

    def _span(self, position_m: Array, axis: int) -> tuple[int, int]:
        """Return the first and last cell that points fall in."""
        ends = self._cells(np.array([position_m.min(), position_m.max()]), axis)
        return int(ends[0]), int(ends[1])

    def _flat_cells(self, x_m: Array, y_m: Array, first: int, width: int) -> Cells:
        """Return indices into a window ``width`` cells wide, shape of ``x_m``, in blocks that stay in cache."""
        flat = np.empty(x_m.shape, dtype=np.intp)
        step = max(1, BLOCK * len(x_m) // x_m.size)
        for start in range(0, len(x_m), step):
            block = slice(start, start + step)
            cells = self._cells(y_m[block], 0)
            cells *= width
            cells += self._cells(x_m[block], 1)
            cells -= first
            flat[block] = cells
        return flat

    def _cells(self, position_m: Array, axis: int) -> Array:
        """Return cell numbers along an axis of the map (0: y, 1: x) as floats, whose arithmetic is exact and fast."""
        scaled = position_m / self.cell_m
        scaled += self._half_m[1 - axis] / self.cell_m + 1.0
        np.clip(scaled, 0.0, self._electrons.shape[axis] - 1, out=scaled)
        return np.floor(scaled, out=scaled)


def _packed(values: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(values.tobytes(), 1)).decode("ascii")


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))
