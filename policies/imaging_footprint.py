"""Over which pixels a defocused probe averages, and over which area it spreads its electrons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from autoscope.records import Scan

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]

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


def square_radius_m(side_m: float) -> float:
    """Return the radius of the disc with the second moments of a square, ``side / sqrt(3)``.

    Examples
    --------
    >>> round(square_radius_m(3.0), 3)
    1.732
    """
    return side_m / math.sqrt(3.0)


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


@dataclass(frozen=True)
class Footprints:
    """What looks average over and destroy: every defocus with every binning, by number; 0 is one pixel in focus.

    Attributes
    ----------
    kinds : tuple of (float, int)
        Defocus and side in pixels of each.
    pitch_m : float
        Of the pixels.
    convergence_rad : float
        Semi-angle of the probe.
    exposed_m : float
        Side of the area that a parked probe in focus destroys.
    """

    kinds: tuple[tuple[float, int], ...]
    pitch_m: float
    convergence_rad: float
    exposed_m: float

    def _square_m(self, kind: int) -> float:
        binning = self.kinds[kind][1]
        return binning * self.pitch_m if binning > 1 else 0.0

    def _disc_m(self, kind: int) -> float:
        return disc_radius_m(self.kinds[kind][0], self.convergence_rad)

    def radius_m(self, kind: int) -> float:
        """Return the radius of the disc with the second moments of all a look averages over."""
        return math.hypot(self._disc_m(kind), square_radius_m(self._square_m(kind)))

    def side_m(self, kind: int) -> float:
        """Return the side of the square over which the electrons of a look spread in what they destroy."""
        return math.hypot(spread_side_m(self.exposed_m, self._disc_m(kind)), self._square_m(kind))

    def stencils(self, rows: int, columns: int, pitch_m: float) -> tuple[Indices, ...]:
        """Return over which nodes of a lattice each kind but the first averages; see `stencil_on_lattice`."""
        wide = range(1, len(self.kinds))
        return tuple(stencil_on_lattice(rows, columns, pitch_m, self.radius_m(kind)) for kind in wide)


def fits_inside(pixels: Indices, scan: Scan, sides: Sequence[int]) -> Mask:
    """Return whether squares of so many pixels (k,) around each of some pixels lie inside the field, (p, k)."""
    row, column = np.divmod(pixels, scan.width_px)
    nearest = np.min([row, column, scan.height_px - 1 - row, scan.width_px - 1 - column], axis=0) + 0.5
    return np.asarray(nearest[:, None] >= np.asarray(sides) / 2.0)


def brightness(image: Array) -> Array:
    """Return how bright every pixel of an image is, (pixels,), hardly smoothed, with zero mean and unit spread."""
    level = gaussian_filter(np.asarray(image, dtype=np.float64), SMOOTHED_PX, mode="mirror").ravel()
    centred, spread = level - level.mean(), float(level.std())
    return np.asarray(centred / spread if spread > 1e-12 * float(np.abs(level).max()) else np.zeros(len(level)))
