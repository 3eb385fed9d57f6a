"""A two-dimensional crystal at atomic resolution, with vacancies and dopants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from autoscope.errors import ConfigError
from autoscope.quantities import Angle, PositiveLength
from environments.sample.core_loss import CoreLossConfig
from environments.sample.damage import DamageConfig
from environments.sample.eds import EdsConfig
from environments.sample.kinematics import Electron
from environments.sample.layered import Interaction, LayeredConfig
from environments.sample.low_loss import LossDensity
from environments.sample.materials import Material, element, pure
from environments.sample.neighbourhood import Discs, Tiles

Array = NDArray[np.float64]
_REACH_SIGMAS = 4.5
_SIGMA_PER_FWHM = 1.0 / (2.0 * math.sqrt(2.0 * math.log(2.0)))


@dataclass(frozen=True)
class Lattice:
    """A hexagonal lattice: constant, (symbol, atoms above each other) of its two sites, usual dopant of the first."""

    constant_m: float
    sites: tuple[tuple[str, int], tuple[str, int]]
    dopant: str


LATTICES = {
    "MoS2": Lattice(3.160e-10, (("Mo", 1), ("S", 2)), "V"),
    "WS2": Lattice(3.153e-10, (("W", 1), ("S", 2)), "V"),
    "MoSe2": Lattice(3.289e-10, (("Mo", 1), ("Se", 2)), "V"),
    "WSe2": Lattice(3.282e-10, (("W", 1), ("Se", 2)), "V"),
    "graphene": Lattice(2.461e-10, (("C", 1), ("C", 1)), "Si"),
}
"""Known crystals (lattice constants: Wilson & Yoffe, Adv. Phys. 18, 193 (1969); graphene: CRC Handbook)."""


class Crystal2dConfig(LayeredConfig):
    """A two-dimensional crystal; outside its extent there is vacuum."""

    kind: Literal["crystal2d"] = "crystal2d"
    extent_m: tuple[PositiveLength, PositiveLength] = (2e-8, 2e-8)
    crystal: Literal["MoS2", "WS2", "MoSe2", "WSe2", "graphene"] = "MoS2"
    angle_rad: Angle = 0.2
    """Direction of the first lattice vector."""
    dopant: str | None = None
    """Element that replaces some atoms of the first site; absent means the crystal's usual one (V, Si in graphene)."""
    dopant_fraction: float = Field(default=0.02, ge=0, le=1)
    vacancy_fraction: float = Field(default=0.01, ge=0, le=1)
    """Share of the atoms of the second site that are missing."""
    atom_sigma_m: PositiveLength = 3.5e-11
    """Standard deviation of an atom's elastic image without probe: potential width and thermal motion."""
    eds: EdsConfig | None = EdsConfig(grid_stray=0.0)
    core_loss: CoreLossConfig | None = CoreLossConfig(offset_ev=100.0)
    damage: DamageConfig = DamageConfig(
        critical_dose_e_per_m2={"S": 3e28, "Se": 3e28}, contamination_max_m=3e-10, contamination_dose_e_per_m2=1e29
    )

    @model_validator(mode="after")
    def _known_dopant(self) -> Crystal2dConfig:
        symbol = self.dopant or LATTICES[self.crystal].dopant
        try:
            element(symbol)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        if symbol in {site for site, _ in LATTICES[self.crystal].sites}:
            raise ValueError("the dopant must differ from the crystal's own elements")
        return self


@dataclass(frozen=True)
class Columns:
    """Atomic columns: position, species index, atoms left in it, atoms missing from it; shape (n,)."""

    x_m: Array
    y_m: Array
    species: NDArray[np.intp]
    atoms: NDArray[np.intp]
    missing: NDArray[np.intp]


class Crystal2d:
    """Structure of a two-dimensional crystal.

    Elastic scattering meets Gaussian atoms of unit integral; core losses wider ones, by the delocalisation
    ``d50 = 0.52 lambda / theta_E^(3/4)`` of the element's first edge (Egerton 2011, eq. 5.17; also used for X-rays,
    a little too wide); valence losses the mean film.

    Parameters
    ----------
    config : Crystal2dConfig
    electron : Electron
    rng : numpy.random.Generator
    """

    name = "crystal2d"
    localised = True
    modes: tuple[LossDensity, ...] = ()

    def __init__(self, config: Crystal2dConfig, electron: Electron, rng: np.random.Generator) -> None:
        self.extent_m = config.extent_m
        lattice = LATTICES[config.crystal]
        self._dopant = config.dopant or lattice.dopant
        symbols = tuple(dict.fromkeys([*(symbol for symbol, _ in lattice.sites), self._dopant]))
        self.materials: tuple[Material, ...] = tuple(pure(symbol) for symbol in symbols)
        self.columns = _grow(config, lattice, symbols, rng)
        elastic = np.full(len(symbols), config.atom_sigma_m)
        core = np.array([math.hypot(config.atom_sigma_m, delocalisation_m(s, electron)) for s in symbols])
        self._atoms = {"elastic": _Gaussians(self.columns, elastic), "core": _Gaussians(self.columns, core)}
        self._bulk_per_m3 = np.array([m.atoms_per_m3 for m in self.materials])
        counts = np.bincount(self.columns.species, self.columns.atoms, minlength=len(symbols))
        self._mean_m = counts / (config.extent_m[0] * config.extent_m[1]) / self._bulk_per_m3

    def thickness_m(self, x_m: Array, y_m: Array, by: Interaction) -> Array:
        """Return areal densities as equivalent thicknesses of the elements, shape ``(elements,) + x_m.shape``."""
        shape = (-1, *(1,) * x_m.ndim)
        if by == "valence":
            inside = (np.abs(x_m) <= 0.5 * self.extent_m[0]) & (np.abs(y_m) <= 0.5 * self.extent_m[1])
            return np.where(inside, self._mean_m.reshape(shape), 0.0)
        areal = self._atoms[by].areal_per_m2(Tiles(x_m, y_m, edge_px=8), len(self.materials))
        return np.asarray(areal / self._bulk_per_m3.reshape(shape))

    def mode_events(self, x_m: Array, y_m: Array) -> Array:
        """Return no surface modes, shape ``(0,) + x_m.shape``."""
        return np.zeros((0, *x_m.shape))

    def truth(self) -> Mapping[str, Any]:
        """Return atomic columns (arrays of shape (columns,)); ``is_rare`` marks dopants."""
        columns = self.columns
        symbols = np.array([m.name for m in self.materials], dtype="U2")[columns.species]
        return {
            "x_m": columns.x_m,
            "y_m": columns.y_m,
            "radius_m": np.full(len(columns.x_m), self._atoms["elastic"].sigma_m.max()),
            "is_rare": symbols == self._dopant,
            "symbol": symbols,
            "atoms": columns.atoms,
            "missing_atoms": columns.missing,
        }


class _Gaussians:
    """Atoms as Gaussians of unit integral, cut off far out."""

    def __init__(self, columns: Columns, sigma_m: Array) -> None:
        self.sigma_m = sigma_m[columns.species]
        self._reach_m = _REACH_SIGMAS * self.sigma_m
        inside = -math.expm1(-0.5 * _REACH_SIGMAS**2)
        self._peak = columns.atoms / (2.0 * math.pi * self.sigma_m**2 * inside)
        self._species = columns.species
        self._discs = Discs(columns.x_m, columns.y_m, self._reach_m)

    def areal_per_m2(self, tiles: Tiles, species: int) -> Array:
        """Return atoms per square metre of each species, shape ``(species,) + tiles.shape``."""
        return self._discs.sums(tiles, self._profile, self._species, species)

    def _profile(self, atom: NDArray[np.intp], dx_m: Array, dy_m: Array) -> Array:
        distance2 = dx_m**2 + dy_m**2
        value = self._peak[atom] * np.exp(-0.5 * distance2 / self.sigma_m[atom] ** 2)
        return np.where(distance2 <= self._reach_m[atom] ** 2, value, 0.0)


def delocalisation_m(symbol: str, electron: Electron) -> float:
    """Return the standard deviation of an element's core-loss image due to delocalisation.

    Half the electrons of loss E come from within ``d50 = 0.52 lambda / theta_E^(3/4)`` (Egerton 2011, eq. 5.17), taken
    as the full width at half maximum of a Gaussian.

    Examples
    --------
    >>> 3e-11 < delocalisation_m("V", Electron(60e3)) < 1e-10
    True
    """
    theta = electron.characteristic_angle_rad(element(symbol).edges[0].onset_ev)
    return float(_SIGMA_PER_FWHM * 0.52 * electron.wavelength_m / theta**0.75)


def _grow(config: Crystal2dConfig, lattice: Lattice, symbols: tuple[str, ...], rng: np.random.Generator) -> Columns:
    parts = []
    for site, (symbol, stacked) in enumerate(lattice.sites):
        x_m, y_m = _sites(config, lattice.constant_m, site)
        doped = rng.random(len(x_m)) < (config.dopant_fraction if site == 0 else 0.0)
        missing = rng.binomial(stacked, config.vacancy_fraction if site == 1 else 0.0, len(x_m))
        species = np.where(doped, len(symbols) - 1, symbols.index(symbol))
        parts.append((x_m, y_m, species, stacked - missing, missing))
    x_m, y_m, species, atoms, missing = (np.concatenate(column) for column in zip(*parts))
    return Columns(x_m, y_m, species.astype(np.intp), atoms.astype(np.intp), missing.astype(np.intp))


def _sites(config: Crystal2dConfig, constant_m: float, site: int) -> tuple[Array, Array]:
    """Return all positions of one site inside the extent; the second site lies a third of the long diagonal away."""
    reach = math.hypot(*config.extent_m) / constant_m
    index = np.arange(-math.ceil(reach), math.ceil(reach) + 1)
    first, second = (grid.ravel() + site / 3.0 for grid in np.meshgrid(index, index))
    along, across = constant_m * (first + 0.5 * second), constant_m * math.sqrt(0.75) * second
    cos, sin = math.cos(config.angle_rad), math.sin(config.angle_rad)
    x_m, y_m = cos * along - sin * across, sin * along + cos * across
    inside = (np.abs(x_m) <= 0.5 * config.extent_m[0]) & (np.abs(y_m) <= 0.5 * config.extent_m[1])
    return x_m[inside], y_m[inside]
