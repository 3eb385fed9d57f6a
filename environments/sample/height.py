"""Smooth random fields, and the height of a specimen as a tilted plane with bumps."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator
from scipy.ndimage import gaussian_filter

from autoscope.config import ConfigModel
from autoscope.quantities import Angle, Length, PositiveLength

Array = NDArray[np.float64]
_CELLS_PER_LENGTH = 6.0
_MOST_CELLS = 1024


class HeightConfig(ConfigModel):
    """Shape of the specimen's surface: the defocus that focuses a point is minus its height."""

    tilt_x_rad: Angle = 0.0
    """Slope along x: the height grows by tan(tilt_x) per metre."""
    tilt_y_rad: Angle = 0.0
    bump_m: Length = 0.0
    """Root-mean-square height of the bumps."""
    bump_length_m: PositiveLength = 2e-6
    """Lateral size (correlation length) of the bumps."""

    @model_validator(mode="after")
    def _gentle(self) -> HeightConfig:
        if max(abs(self.tilt_x_rad), abs(self.tilt_y_rad)) > 1.2:
            raise ValueError("a tilt beyond 1.2 rad leaves no specimen to scan")
        if self.bump_m < 0.0:
            raise ValueError("the height of the bumps must not be negative")
        return self


class SmoothField:
    """A Gaussian random field of zero mean, unit variance and Gaussian autocorrelation.

    White noise filtered by a Gaussian of width ``length_m / sqrt(2)`` on a grid and interpolated linearly, so that
    the correlation of two points at distance d is ``exp(-d^2 / (2 length_m^2))`` up to the grid. Outside the extent
    the field keeps the value of the nearest point inside.

    Parameters
    ----------
    extent_m : (float, float)
        Width and height, centred on the origin.
    length_m : float
        Correlation length.
    rng : numpy.random.Generator
    """

    def __init__(self, extent_m: tuple[float, float], length_m: float, rng: np.random.Generator) -> None:
        cells = [max(4, min(_MOST_CELLS, math.ceil(_CELLS_PER_LENGTH * size / length_m))) for size in extent_m]
        self._extent_m, self._shape = extent_m, (cells[1] + 1, cells[0] + 1)
        widths = [length_m / math.sqrt(2.0) * n / size for n, size in zip(reversed(cells), reversed(extent_m))]
        noise = rng.standard_normal((self._shape[0], self._shape[1]))
        self.values = _unit_filter(noise, widths)
        """Values on the grid, shape (rows, columns)."""
        self._cells = _bilinear_cells(self.values)

    def __call__(self, x_m: Array, y_m: Array) -> Array:
        """Return the field at points, shape of ``x_m``."""
        column, right = _cell(x_m, self._extent_m[0], self._shape[1])
        row, up = _cell(y_m, self._extent_m[1], self._shape[0])
        column += row * (self._shape[1] - 1)
        corner, along_x, along_y, twist = self._cells
        low = corner[column] + along_x[column] * right
        return low + (along_y[column] + twist[column] * right) * up


def _cell(position_m: Array, extent_m: float, nodes: int) -> tuple[NDArray[np.intp], Array]:
    """Return index and fraction of the grid cell of each point, clipped to the grid."""
    place = np.clip(position_m * ((nodes - 1) / extent_m) + 0.5 * (nodes - 1), 0.0, nodes - 1.0)
    index = np.minimum(place.astype(np.intp), nodes - 2)
    return index, place - index


def _bilinear_cells(values: Array) -> tuple[Array, Array, Array, Array]:
    """Return corner value, slope along x, slope along y and twist of each cell, flattened row by row."""
    corner, right, up = values[:-1, :-1], values[:-1, 1:], values[1:, :-1]
    twist = values[1:, 1:] - right - up + corner
    return corner.ravel(), (right - corner).ravel(), (up - corner).ravel(), twist.ravel()


def _unit_filter(noise: Array, widths: list[float]) -> Array:
    """Return filtered noise of unit variance: a kernel's power is known, so no sample is normalised by itself."""
    axes = []
    for n, width in zip(noise.shape, widths):
        impulse = np.zeros(8 * math.ceil(width) + 17)
        impulse[len(impulse) // 2] = 1.0
        axes.append(
            float(np.sum(gaussian_filter(impulse, width, mode="constant", truncate=4.0) ** 2)) if n > 1 else 1.0
        )
    smooth = gaussian_filter(noise, widths, mode="wrap", truncate=4.0)
    return np.asarray(smooth / math.sqrt(axes[0] * axes[1]), dtype=np.float64)


class HeightMap:
    """Height of the surface: a plane through the origin plus smooth bumps.

    Parameters
    ----------
    config : HeightConfig
    extent_m : (float, float)
    rng : numpy.random.Generator
        Drawn from whether or not there are bumps, so that switching them off changes nothing else.
    """

    def __init__(self, config: HeightConfig, extent_m: tuple[float, float], rng: np.random.Generator) -> None:
        self._slopes = math.tan(config.tilt_x_rad), math.tan(config.tilt_y_rad)
        self._bump_m = config.bump_m
        self._bumps = SmoothField(extent_m, config.bump_length_m, rng)

    def __call__(self, x_m: Array, y_m: Array) -> Array:
        """Return the height in metres, shape of ``x_m``; the plane goes on outside the extent."""
        plane = self._slopes[0] * x_m + self._slopes[1] * y_m
        return plane + self._bump_m * self._bumps(x_m, y_m) if self._bump_m else plane
