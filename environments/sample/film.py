"""A holey carbon film with contamination patches."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from environments.sample.catalyst_config import HolesConfig, SupportConfig
from environments.sample.height import SmoothField
from environments.sample.neighbourhood import Discs, Tiles

Array = NDArray[np.float64]


class Film:
    """The carbon film: holes and contamination patches.

    Parameters
    ----------
    config : SupportConfig
    extent_m : (float, float)
    rng : numpy.random.Generator
    """

    def __init__(self, config: SupportConfig, extent_m: tuple[float, float], rng: np.random.Generator) -> None:
        self._config = config
        self.hole_x_m, self.hole_y_m, self.hole_radius_m = _holes(config.holes, extent_m, rng)
        self._holes = Discs(self.hole_x_m, self.hole_y_m, self.hole_radius_m)
        self._single = np.zeros(len(self.hole_x_m), dtype=np.intp)
        self._patches = SmoothField(extent_m, config.patch_length_m, rng)
        self._threshold = math.inf if config.patch_share == 0.0 else _normal_quantile(1.0 - config.patch_share)

    def thickness_m(self, x_m: Array, y_m: Array, tiles: Tiles) -> Array:
        """Return the thickness of carbon, shape of ``x_m``; zero in holes. ``tiles`` are the same points."""
        if math.isfinite(self._threshold) and self._config.patch_m:
            patch = np.maximum(self._patches(x_m, y_m) - self._threshold, 0.0)
            thickness = self._config.thickness_m + self._config.patch_m * patch
        else:
            thickness = np.full(x_m.shape, self._config.thickness_m)
        return np.where(self.is_hole(tiles), 0.0, thickness)

    def is_hole(self, tiles: Tiles) -> NDArray[np.bool_]:
        """Return where there is vacuum, shape of the points."""
        inside = self._holes.sums(tiles, self._cover, self._single, 1)
        return np.asarray(inside[0] > 0.0)

    def _cover(self, hole: NDArray[np.intp], dx_m: Array, dy_m: Array) -> Array:
        return (dx_m**2 + dy_m**2 < self.hole_radius_m[hole] ** 2).astype(np.float64)


def _holes(
    config: HolesConfig | None, extent_m: tuple[float, float], rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    if config is None:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    across, down = (max(1, round(size / config.pitch_m)) for size in extent_m)
    column, row = np.meshgrid(np.arange(across) + 0.5 - across / 2, np.arange(down) + 0.5 - down / 2)
    jitter = config.jitter * rng.uniform(-1.0, 1.0, (3, across * down))
    slack_m = config.pitch_m - 2.0 * config.radius_m
    x_m = column.ravel() * config.pitch_m + 0.5 * slack_m * jitter[0]
    y_m = row.ravel() * config.pitch_m + 0.5 * slack_m * jitter[1]
    return x_m, y_m, config.radius_m * (1.0 + 0.5 * jitter[2])


def _normal_quantile(probability: float) -> float:
    return float(ndtri(probability))
