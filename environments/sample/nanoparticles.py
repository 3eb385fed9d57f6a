"""A field of plasmonic nanoparticles on a membrane: cubes, rods, triangles and spheres."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from autoscope.errors import ConfigError
from autoscope.quantities import PositiveEnergy, PositiveLength
from environments.sample.core_loss import CoreLossConfig
from environments.sample.kinematics import Electron
from environments.sample.layered import Interaction, LayeredConfig
from environments.sample.low_loss import LossDensity, LowLossConfig
from environments.sample.materials import SILICON_NITRIDE, Material, pure
from environments.sample.particles import capsule_m, chord_m, cube_m, triangle_m
from environments.sample.plasmons import (
    CUBE_CORNER,
    CUBE_EDGE,
    CUBE_FACE,
    Mode,
    ModeMap,
    in_plane_factor,
    long_axis_factor,
    resonance_ev,
)

Array = NDArray[np.float64]
Shape = Literal["cube", "rod", "triangle", "sphere"]
_TRIES = 400
_ROUNDING = 0.1


class NanoparticlesConfig(LayeredConfig):
    """A field of plasmonic nanoparticles."""

    kind: Literal["nanoparticles"] = "nanoparticles"
    extent_m: tuple[PositiveLength, PositiveLength] = (1e-6, 1e-6)
    metal: Literal["Ag", "Au", "Al"] = "Ag"
    support: Literal["Si3N4", "C"] = "Si3N4"
    support_thickness_m: PositiveLength = 1e-8
    count: int = Field(default=14, ge=0, le=500)
    shapes: tuple[Shape, ...] = Field(default=("cube", "rod", "triangle", "sphere"), min_length=1)
    """Drawn with equal chance."""
    size_m: PositiveLength = 5e-8
    """Median size: edge of cubes and triangles, diameter of spheres; rods are this long times sqrt(aspect)."""
    size_spread: float = Field(default=0.2, ge=0, le=0.6)
    """Standard deviation of the logarithm of the size."""
    aspect: tuple[float, float] = (2.0, 5.0)
    """Least and greatest length over diameter of rods, edge over thickness of triangles."""
    medium: float = Field(default=1.4, ge=1, le=6)
    """Effective permittivity around the particles: between vacuum and support."""
    surface_damping_ev: PositiveEnergy = 0.12
    """Added to the metal's damping in the width of surface modes."""
    low_loss: LowLossConfig | None = LowLossConfig(channel_ev=0.02, offset_ev=-2.0, zero_loss_fwhm_ev=0.12)
    core_loss: CoreLossConfig | None = None

    @model_validator(mode="after")
    def _aspects(self) -> NanoparticlesConfig:
        if not 1.0 <= self.aspect[0] <= self.aspect[1] <= 20.0:
            raise ValueError("aspect needs 1 <= least <= greatest <= 20")
        return self


@dataclass(frozen=True)
class Particle:
    """One particle: shape, centre, orientation of its long axis (or of a side), length and diameter or thickness."""

    shape: Shape
    x_m: float
    y_m: float
    angle_rad: float
    length_m: float
    width_m: float

    @property
    def reach_m(self) -> float:
        """Radius of the circle around the centre that holds the particle's projection."""
        return self.length_m * {"cube": math.sqrt(0.5), "triangle": 1.0 / math.sqrt(3.0)}.get(self.shape, 0.5)

    @property
    def volume_m3(self) -> float:
        """Volume; the rounding of cubes is neglected."""
        length, width = self.length_m, self.width_m
        return {
            "sphere": math.pi / 6.0 * length**3,
            "cube": length**3,
            "rod": math.pi / 4.0 * width**2 * (length - width) + math.pi / 6.0 * width**3,
            "triangle": math.sqrt(3.0) / 4.0 * length**2 * width,
        }[self.shape]

    def thickness_m(self, x_m: Array, y_m: Array) -> Array:
        """Return the thickness along the beam, shape of ``x_m``."""
        cos, sin = math.cos(self.angle_rad), math.sin(self.angle_rad)
        dx, dy = x_m - self.x_m, y_m - self.y_m
        along, across = cos * dx + sin * dy, cos * dy - sin * dx
        length, width = self.length_m, self.width_m
        profiles: dict[Shape, Callable[[], Array]] = {
            "sphere": lambda: chord_m(np.array(0.5 * length), along**2 + across**2),
            "cube": lambda: cube_m(along, across, length, _ROUNDING * length),
            "rod": lambda: capsule_m(along, across, length, width),
            "triangle": lambda: triangle_m(along, across, length, width),
        }
        return profiles[self.shape]()

    def place(self, along_m: Array, across_m: Array) -> Array:
        """Return points given in the particle's frame as (n, 2) x, y in the specimen frame."""
        cos, sin = math.cos(self.angle_rad), math.sin(self.angle_rad)
        return np.column_stack([self.x_m + cos * along_m - sin * across_m, self.y_m + sin * along_m + cos * across_m])


def modes_of(particle: Particle, config: NanoparticlesConfig) -> list[Mode]:
    """Return the surface modes of a particle.

    Energies: `resonance_ev` at the permittivity ratios of Gans (sphere; rod as prolate, triangle as oblate spheroid)
    and Fuchs (cube). The second mode of a rod is the first of one half as long, since the wave number along the rod
    sets the energy (Schmidt et al., Nature Commun. 5, 3604 (2014)); the edge mode of a triangle likewise.
    """
    length, width = particle.length_m, particle.width_m
    if particle.shape == "sphere":
        return [_mode("dipole", particle, config, 2.0, 0.5 * length, *_middle(), 0.5 * length)]
    if particle.shape == "cube":
        inset = (0.5 - _ROUNDING) * length
        corners, sides = _corners(inset, 4, math.pi / 4), _sides(inset)
        return [
            _mode("corner", particle, config, CUBE_CORNER, 0.5 * length, *corners, _ROUNDING * length),
            _mode("edge", particle, config, CUBE_EDGE, 0.5 * length, *sides, _ROUNDING * length),
            _mode("face", particle, config, CUBE_FACE, 0.5 * length, *_middle(), 0.5 * length),
        ]
    if particle.shape == "rod":
        return [_rod_mode(particle, config, order) for order in (1, 2)] + [_transverse(particle, config)]
    disc = math.sqrt(math.sqrt(3.0) / math.pi) * length
    radius, core = length / math.sqrt(3.0) - width, 0.5 * width
    first, second = (in_plane_factor(max(1.0, disc / (order * width))) for order in (1, 2))
    corners = _corners(max(radius, 0.2 * length) * math.sqrt(0.5), 3, math.pi / 2)
    edges = _corners(0.2 * length * math.sqrt(0.5), 3, -math.pi / 2)
    return [
        _mode("corner", particle, config, (1 - first) / first, 0.5 * disc, *corners, core),
        _mode("edge", particle, config, (1 - second) / second, 0.25 * disc, *edges, core),
    ]


def _mode(
    name: str,
    particle: Particle,
    config: NanoparticlesConfig,
    ratio: float,
    half_length_m: float,
    along_m: Array,
    across_m: Array,
    weights: Array,
    core_m: float,
) -> Mode:
    drude = pure(config.metal).drude
    return Mode(
        name=name,
        energy_ev=resonance_ev(drude, ratio, half_length_m, config.medium),
        width_ev=drude.damping_ev + config.surface_damping_ev,
        size_m=(3.0 * particle.volume_m3 / (4.0 * math.pi)) ** (1.0 / 3.0),
        core_m=core_m,
        spots_m=particle.place(along_m, across_m),
        weights=weights / weights.sum(),
        strength=3.0 / (drude.background + ratio * config.medium),
    )


def _rod_mode(particle: Particle, config: NanoparticlesConfig, order: int) -> Mode:
    length, width = particle.length_m, particle.width_m
    factor = long_axis_factor(max(1.0, length / (order * width)))
    place = np.linspace(-0.5, 0.5, 15)
    weights = np.cos(order * math.pi * (place + 0.5)) ** 2
    half_length = 0.5 * length / order
    name = "longitudinal" if order == 1 else f"longitudinal_{order}"
    along = place * (length - width)
    return _mode(name, particle, config, (1 - factor) / factor, half_length, along, 0 * along, weights, 0.5 * width)


def _transverse(particle: Particle, config: NanoparticlesConfig) -> Mode:
    factor = 0.5 * (1.0 - long_axis_factor(particle.length_m / particle.width_m))
    along = np.linspace(-0.5, 0.5, 7) * (particle.length_m - particle.width_m)
    radius = 0.5 * particle.width_m
    ratio = (1 - factor) / factor
    return _mode("transverse", particle, config, ratio, radius, along, 0 * along, np.ones(7), radius)


def _middle() -> tuple[Array, Array, Array]:
    return np.zeros(1), np.zeros(1), np.ones(1)


def _corners(half_side_m: float, count: int, first_rad: float) -> tuple[Array, Array, Array]:
    """Return hot spots on a circle of radius ``sqrt(2) half_side_m``."""
    angle = first_rad + 2.0 * math.pi * np.arange(count) / count
    radius = math.sqrt(2.0) * half_side_m
    return radius * np.cos(angle), radius * np.sin(angle), np.ones(count)


def _sides(half_side_m: float) -> tuple[Array, Array, Array]:
    """Return hot spots along the four sides of a square, strongest in their middles."""
    place = np.linspace(-0.6, 0.6, 5) * half_side_m
    far = np.full(5, half_side_m)
    along, across = np.concatenate([place, place, far, -far]), np.concatenate([far, -far, place, place])
    return along, across, np.tile(np.cos(0.5 * math.pi * place / half_side_m) ** 2, 4)


class Nanoparticles:
    """Structure of a field of nanoparticles.

    Parameters
    ----------
    config : NanoparticlesConfig
    electron : Electron
    rng : numpy.random.Generator

    Raises
    ------
    ConfigError
        The particles do not fit into the field without touching.
    """

    name = "nanoparticles"
    localised = False

    def __init__(self, config: NanoparticlesConfig, electron: Electron, rng: np.random.Generator) -> None:
        self.extent_m = config.extent_m
        support = SILICON_NITRIDE if config.support == "Si3N4" else pure("C")
        self.materials: tuple[Material, ...] = (support, pure(config.metal))
        self._support_m = config.support_thickness_m
        self.particles = _scatter(config, rng)
        owned = [(owner, mode) for owner, p in enumerate(self.particles) for mode in modes_of(p, config)]
        self._owners, self._modes = [owner for owner, _ in owned], [mode for _, mode in owned]
        self.modes = tuple(LossDensity.mode(m.name, m.energy_ev, m.width_ev) for m in self._modes)
        self._map = ModeMap(self._modes, electron)

    def thickness_m(self, x_m: Array, y_m: Array, by: Interaction) -> Array:
        """Return the thickness of support and metal, shape ``(2,) + x_m.shape``."""
        metal = np.zeros(x_m.size)
        x, y = x_m.ravel(), y_m.ravel()
        for particle in self.particles:
            reach = particle.reach_m
            near = np.flatnonzero((np.abs(x - particle.x_m) <= reach) & (np.abs(y - particle.y_m) <= reach))
            metal[near] += particle.thickness_m(x[near], y[near])
        return np.stack([np.full(x_m.shape, self._support_m), metal.reshape(x_m.shape)])

    def mode_events(self, x_m: Array, y_m: Array) -> Array:
        """Return the mean number of excitations of each mode, shape ``(modes,) + x_m.shape``."""
        return self._map.events(x_m, y_m)

    def truth(self) -> Mapping[str, Any]:
        """Return particles (arrays of shape (particles,)) and their modes (arrays of shape (modes,))."""
        particles = self.particles
        return {
            "x_m": np.array([p.x_m for p in particles]),
            "y_m": np.array([p.y_m for p in particles]),
            "radius_m": np.array([p.reach_m for p in particles]),
            "angle_rad": np.array([p.angle_rad for p in particles]),
            "length_m": np.array([p.length_m for p in particles]),
            "width_m": np.array([p.width_m for p in particles]),
            "shape": np.array([p.shape for p in particles], dtype="U16"),
            "is_rare": np.zeros(len(particles), dtype=bool),
            "mode_particle": np.array(self._owners, dtype=np.intp),
            "mode_name": np.array([m.name for m in self._modes], dtype="U16"),
            "mode_energy_ev": np.array([m.energy_ev for m in self._modes]),
        }


def _scatter(config: NanoparticlesConfig, rng: np.random.Generator) -> list[Particle]:
    placed: list[Particle] = []
    for _ in range(config.count):
        shape = config.shapes[int(rng.integers(len(config.shapes)))]
        size = config.size_m * math.exp(config.size_spread * rng.standard_normal())
        aspect = float(rng.uniform(*config.aspect))
        length = size * math.sqrt(aspect) if shape == "rod" else size
        width = length / aspect if shape in ("rod", "triangle") else size
        placed.append(_fitting(Particle(shape, 0.0, 0.0, 0.0, length, width), placed, config, rng))
    return placed


def _fitting(
    draft: Particle, placed: list[Particle], config: NanoparticlesConfig, rng: np.random.Generator
) -> Particle:
    """Return the particle at a free place, turned at random."""
    reach, (across, down) = draft.reach_m, config.extent_m
    for _ in range(_TRIES):
        x_m, y_m = ((rng.random() - 0.5) * max(size - 2.2 * reach, 0.0) for size in (across, down))
        if all(math.hypot(x_m - p.x_m, y_m - p.y_m) > 1.1 * (reach + p.reach_m) for p in placed):
            angle = float(rng.uniform(0.0, 2.0 * math.pi))
            return Particle(draft.shape, x_m, y_m, angle, draft.length_m, draft.width_m)
    raise ConfigError(
        "the particles do not fit into the field without touching",
        where="count",
        value=config.count,
        remedy="Lower the count or the size, or enlarge the extent",
    )
