"""Which surface modes a nanoparticle of a given shape and size has, and where they are hot."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from environments.sample.materials import Drude
from environments.sample.particles import ROUNDING, Particle
from environments.sample.plasmons import (
    CUBE_CORNER,
    CUBE_EDGE,
    CUBE_FACE,
    Mode,
    in_plane_factor,
    long_axis_factor,
    resonance_ev,
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Optics:
    """The metal, the effective permittivity around it, and the damping that its surface adds."""

    drude: Drude
    medium: float
    surface_damping_ev: float


def modes_of(particle: Particle, optics: Optics) -> list[Mode]:
    """Return the surface modes of a particle.

    Energies: `resonance_ev` at the permittivity ratios of Gans (sphere; rod as prolate, triangle as oblate spheroid)
    and Fuchs (cube). The second mode of a rod is the first of one half as long, since the wave number along the rod
    sets the energy (Schmidt et al., Nature Commun. 5, 3604 (2014)); the edge mode of a triangle likewise.
    """
    length, width = particle.length_m, particle.width_m
    if particle.shape == "sphere":
        return [_mode("dipole", particle, optics, 2.0, 0.5 * length, *_middle(), 0.5 * length)]
    if particle.shape == "cube":
        inset = (0.5 - ROUNDING) * length
        corners, sides = _corners(inset, 4, math.pi / 4), _sides(inset)
        return [
            _mode("corner", particle, optics, CUBE_CORNER, 0.5 * length, *corners, ROUNDING * length),
            _mode("edge", particle, optics, CUBE_EDGE, 0.5 * length, *sides, ROUNDING * length),
            _mode("face", particle, optics, CUBE_FACE, 0.5 * length, *_middle(), 0.5 * length),
        ]
    if particle.shape == "rod":
        return [_rod_mode(particle, optics, order) for order in (1, 2)] + [_transverse(particle, optics)]
    disc = math.sqrt(math.sqrt(3.0) / math.pi) * length
    radius, core = length / math.sqrt(3.0) - width, 0.5 * width
    first, second = (in_plane_factor(max(1.0, disc / (order * width))) for order in (1, 2))
    corners = _corners(max(radius, 0.2 * length) * math.sqrt(0.5), 3, math.pi / 2)
    edges = _corners(0.2 * length * math.sqrt(0.5), 3, -math.pi / 2)
    return [
        _mode("corner", particle, optics, (1 - first) / first, 0.5 * disc, *corners, core),
        _mode("edge", particle, optics, (1 - second) / second, 0.25 * disc, *edges, core),
    ]


def _mode(
    name: str,
    particle: Particle,
    optics: Optics,
    ratio: float,
    half_length_m: float,
    along_m: Array,
    across_m: Array,
    weights: Array,
    core_m: float,
) -> Mode:
    drude = optics.drude
    return Mode(
        name=name,
        energy_ev=resonance_ev(drude, ratio, half_length_m, optics.medium),
        width_ev=drude.damping_ev + optics.surface_damping_ev,
        size_m=(3.0 * particle.volume_m3 / (4.0 * math.pi)) ** (1.0 / 3.0),
        core_m=core_m,
        spots_m=particle.place(along_m, across_m),
        weights=weights / np.abs(weights).sum(),
        strength=3.0 / (drude.background + ratio * optics.medium),
    )


def _rod_mode(particle: Particle, optics: Optics, order: int) -> Mode:
    """Return a longitudinal mode: charge ``cos(order pi s)`` along the rod, ``order + 1`` equal antinodes."""
    length, width = particle.length_m, particle.width_m
    factor = long_axis_factor(max(1.0, length / (order * width)))
    place = np.linspace(-0.5, 0.5, 15)
    charge = np.cos(order * math.pi * (place + 0.5))
    charge *= math.sqrt(order + 1) / np.abs(charge).sum()
    name = "longitudinal" if order == 1 else f"longitudinal_{order}"
    along, half_length = place * (length - width), 0.5 * length / order
    mode = _mode(name, particle, optics, (1 - factor) / factor, half_length, along, 0 * along, charge, 0.5 * width)
    return replace(mode, weights=charge, coherent=True)


def _transverse(particle: Particle, optics: Optics) -> Mode:
    factor = 0.5 * (1.0 - long_axis_factor(particle.length_m / particle.width_m))
    along = np.linspace(-0.5, 0.5, 7) * (particle.length_m - particle.width_m)
    radius = 0.5 * particle.width_m
    ratio = (1 - factor) / factor
    return _mode("transverse", particle, optics, ratio, radius, along, 0 * along, np.ones(7), radius)


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
