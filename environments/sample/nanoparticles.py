"""A field of plasmonic nanoparticles on a membrane: cubes, rods, triangles and spheres."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
from environments.sample.particle_modes import Optics, modes_of
from environments.sample.particles import Particle, Shape
from environments.sample.plasmons import ModeMap

Array = NDArray[np.float64]
_TRIES = 400


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
        optics = Optics(pure(config.metal).drude, config.medium, config.surface_damping_ev)
        owned = [(owner, mode) for owner, p in enumerate(self.particles) for mode in modes_of(p, optics)]
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
