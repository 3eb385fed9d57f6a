"""A supported catalyst: thousands of metal particles on a holey carbon film, one in a hundred of them different."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.spatial import cKDTree
from scipy.special import ndtri

from autoscope.config import ConfigModel
from autoscope.errors import ConfigError
from autoscope.quantities import PositiveLength, Quantity
from environments.sample.damage import DamageConfig, Thickness
from environments.sample.height import HeightConfig, SmoothField
from environments.sample.layered import Interaction, LayeredConfig
from environments.sample.low_loss import LossDensity
from environments.sample.materials import Material, alloy, element, pure
from environments.sample.neighbourhood import Discs, Tiles
from environments.sample.particles import chord_m

Array = NDArray[np.float64]
PerArea = Annotated[float, Quantity("1/m^2", low=0.0)]
"""A number per area, zero allowed."""
_ROUNDS = 40
_GAP = 1.05


class HolesConfig(ConfigModel):
    """Round holes on a jittered square lattice."""

    pitch_m: PositiveLength = 2.5e-6
    radius_m: PositiveLength = 3.5e-7
    jitter: float = Field(default=0.25, ge=0, le=1)
    """Displacement and radius vary by this share of the pitch and the radius (uniformly, both ways)."""

    @model_validator(mode="after")
    def _film_is_left(self) -> HolesConfig:
        if 2.0 * self.radius_m >= self.pitch_m:
            raise ValueError("the holes leave no film: radius must be less than half the pitch")
        return self


class SupportConfig(ConfigModel):
    """The carbon film."""

    thickness_m: PositiveLength = 1.5e-8
    holes: HolesConfig | None = HolesConfig()
    patch_m: Thickness = 1.2e-8
    """Typical thickness of contamination patches."""
    patch_length_m: PositiveLength = 1.5e-6
    """Lateral size of the patches."""
    patch_share: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Share of the film under a patch."""


class RareConfig(ConfigModel):
    """The particles worth finding."""

    structure: Literal["alloy", "core_shell"] = "alloy"
    """"alloy": homogeneous; "core_shell": an alloy core under a shell of the common metal."""
    element: str = "Co"
    atomic_fraction: float = Field(default=0.25, gt=0, lt=1)
    """Of the rare element in the alloy (the core)."""
    core_radius_fraction: float = Field(default=0.75, gt=0, lt=1)
    fraction: float = Field(default=0.01, ge=0, le=0.5)
    """Expected share of the particles that are rare."""
    size_factor: float = Field(default=1.1, gt=0.3, le=3)
    """Radius of a rare particle relative to what it would have been."""
    clustering: float = Field(default=1.0, ge=0, le=3)
    """Log-odds per standard deviation of a smooth field; 0 scatters rare particles independently."""
    cluster_length_m: PositiveLength = 2e-6
    context: float = Field(default=0.5, ge=-1, le=1)
    """Correlation of that field with the one that sets the visible particle density."""


class CatalystConfig(LayeredConfig):
    """A supported catalyst."""

    kind: Literal["catalyst"] = "catalyst"
    extent_m: tuple[PositiveLength, PositiveLength] = (2e-5, 2e-5)
    metal: str = "Pt"
    density_per_m2: PerArea = 2e13
    """Mean number of particles per area of film."""
    radius_m: PositiveLength = 5e-9
    """Median radius."""
    radius_spread: float = Field(default=0.2, ge=0, le=0.6)
    """Standard deviation of the logarithm of the radius."""
    density_contrast: float = Field(default=0.6, ge=0, le=2)
    """Standard deviation of the logarithm of the local density."""
    density_length_m: PositiveLength = 2e-6
    """Lateral size of dense and sparse regions."""
    support: SupportConfig = SupportConfig()
    rare: RareConfig = RareConfig()
    height: HeightConfig = HeightConfig(tilt_x_rad=0.01, tilt_y_rad=-0.006, bump_m=6e-8, bump_length_m=4e-6)
    damage: DamageConfig = DamageConfig(critical_dose_e_per_m2={"Co": 1e28, "Ni": 1e28})

    @model_validator(mode="after")
    def _known_elements(self) -> CatalystConfig:
        for symbol in (self.metal, self.rare.element):
            try:
                element(symbol)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        if self.metal == self.rare.element:
            raise ValueError("the rare element must differ from the metal")
        return self


@dataclass(frozen=True)
class Population:
    """All particles: centre, radius, and whether rare; arrays of shape (n,)."""

    x_m: Array
    y_m: Array
    radius_m: Array
    is_rare: NDArray[np.bool_]


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
        self.population = _populate(config, self._film, rng)
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


def _populate(config: CatalystConfig, film: Film, rng: np.random.Generator) -> Population:
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


def _normal_quantile(probability: float) -> float:
    return float(ndtri(probability))
