"""Where the particles of a catalyst lie, how large they are, and which are rare."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from autoscope.errors import ConfigError
from environments.sample.catalyst_config import CatalystConfig
from environments.sample.film import Film
from environments.sample.height import SmoothField
from environments.sample.neighbourhood import Tiles

Array = NDArray[np.float64]
_ROUNDS = 40
_GAP = 1.05


@dataclass(frozen=True)
class Population:
    """All particles: centre, radius, and whether rare; arrays of shape (n,)."""

    x_m: Array
    y_m: Array
    radius_m: Array
    is_rare: NDArray[np.bool_]


def populate(config: CatalystConfig, film: Film, rng: np.random.Generator) -> Population:
    """Return the particles on a film.

    Their number is Poisson, their radii log-normal, their density the exponential of a smooth field. The chance to be
    rare is the configured share times ``exp(clustering * field)``, normalised over the particles; that field is partly
    the density's, so what is visible tells something, and only something, about what is not.

    Raises
    ------
    ConfigError
        The particles do not fit without touching.
    """
    width, height = config.extent_m
    dense = SmoothField(config.extent_m, config.density_length_m, rng)
    own = SmoothField(config.extent_m, config.rare.cluster_length_m, rng)
    holes = min(0.9, float(np.pi * np.sum(film.hole_radius_m**2)) / (width * height))
    wanted = int(rng.poisson(config.density_per_m2 * width * height * (1.0 - holes)))
    radius_m = config.radius_m * np.exp(config.radius_spread * rng.standard_normal(wanted))
    room_m = radius_m * max(1.0, config.rare.size_factor) * _GAP
    x_m, y_m = _place(config, film, dense, room_m, rng)
    context = config.rare.context
    field = context * dense(x_m, y_m) + math.sqrt(1.0 - context**2) * own(x_m, y_m)
    odds = np.exp(config.rare.clustering * field)
    chance = np.minimum(config.rare.fraction * odds / odds.mean(), 1.0) if wanted else odds
    is_rare = rng.random(wanted) < chance
    return Population(x_m, y_m, np.where(is_rare, radius_m * config.rare.size_factor, radius_m), is_rare)


def _place(
    config: CatalystConfig, film: Film, dense: SmoothField, room_m: Array, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return centres: dense where the field is high, none over holes, none touching."""
    x_m, y_m = np.full(len(room_m), np.nan), np.full(len(room_m), np.nan)
    for _ in range(_ROUNDS):
        missing = np.flatnonzero(np.isnan(x_m))
        if not len(missing):
            return x_m, y_m
        x_m[missing], y_m[missing] = _draw(config, film, dense, len(missing), rng)
        worse = _overlapping(x_m, y_m, room_m)
        x_m[worse] = y_m[worse] = np.nan
    raise ConfigError(
        "the particles do not fit on the film without touching",
        where="density_per_m2",
        value=config.density_per_m2,
        remedy="Lower the density, the radius or the density contrast",
    )


def _draw(
    config: CatalystConfig, film: Film, dense: SmoothField, count: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return points of the inhomogeneous Poisson process on the film, by drawing cells and jittering inside them.

    A point may stay NaN where it fell into a hole; it is drawn again in the next round.
    """
    rows, columns = dense.values.shape
    weight = np.exp(config.density_contrast * 0.25 * _corner_sums(dense.values)).ravel()
    cumulative = np.cumsum(weight)
    cell = np.minimum(np.searchsorted(cumulative, rng.random(count) * cumulative[-1]), len(weight) - 1)
    row, column = np.divmod(cell, columns - 1)
    x_m = ((column + rng.random(count)) / (columns - 1) - 0.5) * config.extent_m[0]
    y_m = ((row + rng.random(count)) / (rows - 1) - 0.5) * config.extent_m[1]
    free = ~film.is_hole(Tiles(x_m, y_m))
    return np.where(free, x_m, np.nan), np.where(free, y_m, np.nan)


def _corner_sums(values: Array) -> Array:
    return values[:-1, :-1] + values[1:, :-1] + values[:-1, 1:] + values[1:, 1:]


def _overlapping(x_m: Array, y_m: Array, room_m: Array) -> NDArray[np.intp]:
    """Return the later of each pair of particles that touch."""
    placed = np.flatnonzero(~np.isnan(x_m))
    if len(placed) < 2:
        return np.zeros(0, dtype=np.intp)
    tree = cKDTree(np.column_stack([x_m[placed], y_m[placed]]))
    pairs = placed[tree.query_pairs(2.0 * float(room_m.max()), output_type="ndarray")]
    distance = np.hypot(x_m[pairs[:, 0]] - x_m[pairs[:, 1]], y_m[pairs[:, 0]] - y_m[pairs[:, 1]])
    touching = distance < room_m[pairs[:, 0]] + room_m[pairs[:, 1]]
    return np.unique(pairs[touching].max(axis=1))
