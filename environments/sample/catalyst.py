"""A supported catalyst: thousands of metal particles on a holey carbon film, one in a hundred of them different."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.sample.catalyst_config import CatalystConfig, RareConfig
from environments.sample.film import Film
from environments.sample.layered import Interaction
from environments.sample.low_loss import LossDensity
from environments.sample.materials import Material, alloy, pure
from environments.sample.neighbourhood import Discs, Tiles
from environments.sample.particles import chord_m
from environments.sample.population import Population, populate

Array = NDArray[np.float64]


class Catalyst:
    """Structure of a supported catalyst.

    Parameters
    ----------
    config : CatalystConfig
    rng : numpy.random.Generator

    Raises
    ------
    ConfigError
        The particles do not fit on the film without touching.
    """

    name = "catalyst"
    localised = False
    modes: tuple[LossDensity, ...] = ()

    def __init__(self, config: CatalystConfig, rng: np.random.Generator) -> None:
        self.extent_m = config.extent_m
        rare = config.rare
        self.materials: tuple[Material, ...] = (
            pure("C"),
            pure(config.metal),
            alloy(config.metal, rare.element, rare.atomic_fraction),
        )
        self._film = Film(config.support, config.extent_m, rng)
        self.population = populate(config, self._film, rng)
        self._spheres = _Spheres(self.population, rare)

    def thickness_m(self, x_m: Array, y_m: Array, by: Interaction) -> Array:
        """Return the thickness of carbon, metal and alloy, shape ``(3,) + x_m.shape``."""
        tiles = Tiles(x_m, y_m)
        thickness = self._spheres.thickness_m(tiles)
        thickness[0] = self._film.thickness_m(x_m, y_m, tiles)
        return thickness

    def mode_events(self, x_m: Array, y_m: Array) -> Array:
        """Return no surface modes, shape ``(0,) + x_m.shape``."""
        return np.zeros((0, *x_m.shape))

    def truth(self) -> Mapping[str, Any]:
        """Return particles and holes: arrays of shape (particles,) and (holes,), names of the materials."""
        common, rare = self.materials[1].name, self.materials[2].name
        return {
            "x_m": self.population.x_m,
            "y_m": self.population.y_m,
            "radius_m": self.population.radius_m,
            "is_rare": self.population.is_rare,
            "material": np.where(self.population.is_rare, rare, common),
            "hole_x_m": self._film.hole_x_m,
            "hole_y_m": self._film.hole_y_m,
            "hole_radius_m": self._film.hole_radius_m,
        }


class _Spheres:
    """Particles as signed spheres: a core-shell particle is a metal sphere, minus its core, plus an alloy core."""

    def __init__(self, population: Population, rare: RareConfig) -> None:
        is_rare, radius = population.is_rare, population.radius_m
        sets = [(~is_rare, 1.0, 1, 1.0), (is_rare, 1.0, 2, 1.0)]
        if rare.structure == "core_shell":
            core = rare.core_radius_fraction
            sets = [(~is_rare, 1.0, 1, 1.0), (is_rare, 1.0, 1, 1.0), (is_rare, core, 1, -1.0), (is_rare, core, 2, 1.0)]
        chosen = np.concatenate([np.flatnonzero(mask) for mask, *_ in sets])
        counts = [int(mask.sum()) for mask, *_ in sets]
        self._radius_m = radius[chosen] * np.repeat([scale for _, scale, *_ in sets], counts)
        self._material = np.repeat(np.array([material for *_, material, _ in sets], dtype=np.intp), counts)
        self._sign = np.repeat([sign for *_, sign in sets], counts)
        self._discs = Discs(population.x_m[chosen], population.y_m[chosen], self._radius_m)

    def thickness_m(self, tiles: Tiles) -> Array:
        """Return the thickness of (nothing yet), metal and alloy, shape ``(3,) + tiles.shape``."""
        thickness = self._discs.sums(tiles, self._chord, self._material, 3)
        return np.maximum(thickness, 0.0, out=thickness)

    def _chord(self, sphere: NDArray[np.intp], dx_m: Array, dy_m: Array) -> Array:
        return self._sign[sphere] * chord_m(self._radius_m[sphere], dx_m**2 + dy_m**2)
