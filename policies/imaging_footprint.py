"""Over which pixels a defocused probe averages, and over which area it spreads its electrons."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

_ANGLES = np.arange(6) * (math.pi / 3.0)
SMOOTHED_PX = 0.5
"""Enough to calm the noise of single pixels, too little to lower small bright structures."""
STENCIL = np.vstack([np.zeros((1, 2)), np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])])
"""Points (7, 2) in units of the radius: the centre and a hexagon on the rim."""
STENCIL_WEIGHTS = np.array([0.5] + [1.0 / 12.0] * 6)
"""Weights with which the points have the second moments of an evenly filled disc (a quarter of its radius squared)."""


def disc_radius_m(defocus_m: float, convergence_rad: float) -> float:
    """Return the radius of the disc that a cone of that semi-angle fills out of focus, ``|f| tan(alpha)``.

    Examples
    --------
    >>> round(disc_radius_m(-1e-6, 0.025) * 1e9, 2)
    25.01
    """
    return abs(defocus_m) * math.tan(convergence_rad)


def spread_side_m(exposed_m: float, radius_m: float) -> float:
    """Return the side of the square whose area is that of the exposed square and of the disc together.

    Examples
    --------
    >>> spread_side_m(2e-8, 0.0)
    2e-08
    """
    return math.sqrt(exposed_m**2 + math.pi * radius_m**2)


def stencil_on_lattice(rows: int, columns: int, pitch_m: float, radius_m: float) -> Indices:
    """Return, for every node of a square lattice row by row, the nodes (rows * columns, 7) nearest to its stencil.

    At the border the nodes of the border stand for what lies beyond.

    Examples
    --------
    >>> stencil_on_lattice(1, 3, 1.0, 1.0)[1].tolist()
    [1, 2, 2, 0, 0, 0, 2]
    """
    halves_outward = 1.0 + 1e-9  # else round-off decides between neighbours, differently left and right
    steps = np.rint(STENCIL * (halves_outward * radius_m / pitch_m)).astype(np.int64)
    i, j = np.divmod(np.arange(rows * columns), columns)
    to_row = np.clip(i[:, None] + steps[:, 1], 0, rows - 1)
    to_column = np.clip(j[:, None] + steps[:, 0], 0, columns - 1)
    return np.asarray(to_row * columns + to_column, dtype=np.int64)


def brightness(image: Array) -> Array:
    """Return how bright every pixel of an image is, (pixels,), hardly smoothed, with zero mean and unit spread."""
    level = gaussian_filter(np.asarray(image, dtype=np.float64), SMOOTHED_PX, mode="mirror").ravel()
    centred, spread = level - level.mean(), float(level.std())
    return np.asarray(centred / spread if spread > 1e-12 * float(np.abs(level).max()) else np.zeros(len(level)))
