"""Where the probe is: scan coils with small errors, the tilted specimen, and drift while the frame is written."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscope.records import Scan, SpectrumImage
from environments.instruments.simulated.config import ScanConfig

Array = NDArray[np.float64]
View = Callable[[Array], Array]
"""Instrument times (n,) -> specimen points under the optical axis (n, 2)."""


def rotation(angle_rad: float) -> Array:
    """Return the matrix that turns vectors (x, y) from x towards y."""
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[c, -s], [s, c]])


def coil_matrix(config: ScanConfig) -> Array:
    """Return the matrix from asked to true deflection, (2, 2): scale errors and shear, then hidden rotation."""
    stretch = np.array([[1.0 + config.scale_error_x, config.shear], [0.0, 1.0 + config.scale_error_y]])
    matrix: Array = rotation(config.hidden_rotation_rad) @ stretch
    return matrix


@dataclass(frozen=True)
class Tilt:
    """A eucentric tilt about the point under the optical axis: ``alpha`` about x, ``beta`` about y."""

    alpha_rad: float = 0.0
    beta_rad: float = 0.0

    @property
    def stretch(self) -> Array:
        """From displacement (x, y) across the beam to displacement along the specimen: factors, (2,)."""
        return np.array([1.0 / math.cos(self.beta_rad), 1.0 / math.cos(self.alpha_rad)])

    def height_m(self, x_m: Array, y_m: Array) -> Array:
        """Return how much higher the tilted specimen is at an offset from the axis across the beam."""
        return y_m * math.tan(self.alpha_rad) + x_m * math.tan(self.beta_rad)


class Raster:
    """The grid of a scan: times and places of its pixels.

    Row ``i`` is written from ``start_s + i * line_s`` on, for ``width * dwell``; then the probe flies back. At the
    beginning of a line it is still behind by a part of the field, which dies away exponentially (the inductance
    of the coils; Sang and LeBeau, Ultramicroscopy 138 (2014) 28, measure such distortions).

    Parameters
    ----------
    action : Scan or SpectrumImage
        What was asked.
    config : ScanConfig
        Flyback.
    coils : array, shape (2, 2)
        From asked to true deflection, see `coil_matrix`.
    tilt : Tilt
        Tilt of the specimen.
    start_s : float
        Instrument time at which the first pixel begins.
    """

    def __init__(
        self, action: Scan | SpectrumImage, config: ScanConfig, coils: Array, tilt: Tilt, start_s: float
    ) -> None:
        self._action, self._tilt = action, tilt
        self._start_s = start_s
        self._tail = (config.flyback_lag * action.fov_m, action.dwell_s / config.lag_time_s)
        self.shape = (action.height_px, action.width_px)
        self.pixel_m = action.fov_m / action.width_px
        self.line_s = action.width_px * action.dwell_s + config.line_flyback_s
        self._centre_m = coils @ np.array([action.centre_x_m, action.centre_y_m])
        self._turn = coils @ rotation(action.rotation_rad)

    @property
    def pixel_matrix_m(self) -> Array:
        """From pixels (column, row) to deflection across the beam, (2, 2) in metres."""
        return self._turn * self.pixel_m

    def deflection_m(self, rows: Array, columns: Array) -> tuple[Array, Array]:
        """Return true deflections (x, y) of pixels, each (n, m) for n rows and m columns (fractions allowed)."""
        along, down = self._parts_m(rows, columns)
        return along[0] + down[0][:, None], along[1] + down[1][:, None]

    def points_m(self, rows: Array, columns: Array, view: View) -> tuple[Array, Array]:
        """Return specimen points (x, y) of pixels, each (n, m); drift within a row is taken as linear."""
        along, down = self._parts_m(rows, columns)
        begin_s = self._start_s + rows * self.line_s
        begin = view(begin_s).T
        change = view(begin_s + self.shape[1] * self._action.dwell_s).T - begin
        part = (columns + 0.5) / self.shape[1]
        points = []
        for axis, stretch in enumerate(self._tilt.stretch):
            place: Array = np.multiply.outer(change[axis], part)  # then in place: these arrays are large
            place += stretch * along[axis]
            place += (stretch * down[axis] + begin[axis])[:, None]
            points.append(place)
        return points[0], points[1]

    def _parts_m(self, rows: Array, columns: Array) -> tuple[Array, Array]:
        """Return what columns (2, m) and rows (2, n) contribute to the deflection (x, y)."""
        height, width = self.shape
        u = ((columns + 0.5) - width / 2.0) * self.pixel_m
        u -= self._tail[0] * np.exp(-(columns + 0.5) * self._tail[1])
        v = ((rows + 0.5) - height / 2.0) * self.pixel_m
        return np.multiply.outer(self._turn[:, 0], u), np.multiply.outer(self._turn[:, 1], v) + self._centre_m[:, None]

    def pixels_m(self, view: View) -> tuple[Array, Array]:
        """Return the specimen points of all pixels, each (height, width)."""
        return self.points_m(np.arange(self.shape[0], dtype=float), np.arange(self.shape[1], dtype=float), view)
