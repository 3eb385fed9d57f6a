"""Geometry: how much of a particle the beam passes through."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Shape = Literal["cube", "rod", "triangle", "sphere"]
ROUNDING = 0.1
"""Radius of the rounded edges of a cube, relative to its edge."""


def chord_m(radius_m: Array, distance2_m2: Array) -> Array:
    """Return the chord of a sphere at a squared distance from its centre: ``2 sqrt(R^2 - d^2)``, zero outside.

    Examples
    --------
    >>> float(chord_m(np.array(5.0), np.array(9.0)))
    8.0
    """
    return 2.0 * np.sqrt(np.maximum(radius_m**2 - distance2_m2, 0.0))


def capsule_m(dx_m: Array, dy_m: Array, length_m: float, diameter_m: float) -> Array:
    """Return the thickness of a rod along x with hemispherical ends (total length ``length_m``), shape of ``dx_m``.

    Examples
    --------
    >>> float(capsule_m(np.array(3.0), np.array(0.0), 10.0, 2.0))
    2.0
    """
    beyond = np.maximum(np.abs(dx_m) - 0.5 * (length_m - diameter_m), 0.0)
    return chord_m(np.array(0.5 * diameter_m), beyond**2 + dy_m**2)


def cube_m(dx_m: Array, dy_m: Array, edge_m: float, rounding_m: float) -> Array:
    """Return the thickness of a cube lying on a face, its upright edges rounded, shape of ``dx_m``.

    Examples
    --------
    >>> cube_m(np.array([0.0, 4.9, 4.9]), np.array([0.0, 0.0, 4.9]), 10.0, 1.0)
    array([10., 10.,  0.])
    """
    half = 0.5 * edge_m - rounding_m
    outside = np.hypot(np.maximum(np.abs(dx_m) - half, 0.0), np.maximum(np.abs(dy_m) - half, 0.0))
    return np.where(outside <= rounding_m, edge_m, 0.0)


def triangle_m(dx_m: Array, dy_m: Array, edge_m: float, height_m: float) -> Array:
    """Return the thickness of an equilateral prism with one corner on the +y axis, shape of ``dx_m``.

    Examples
    --------
    >>> triangle_m(np.array([0.0, 0.0]), np.array([5.7, -5.7]), 10.0, 2.0)
    array([2., 0.])
    """
    inradius = edge_m / (2.0 * np.sqrt(3.0))
    slanted = 0.5 * dy_m + 0.5 * np.sqrt(3.0) * np.abs(dx_m)
    return np.where(np.maximum(-dy_m, slanted) <= inradius, height_m, 0.0)


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
            "cube": lambda: cube_m(along, across, length, ROUNDING * length),
            "rod": lambda: capsule_m(along, across, length, width),
            "triangle": lambda: triangle_m(along, across, length, width),
        }
        return profiles[self.shape]()

    def place(self, along_m: Array, across_m: Array) -> Array:
        """Return points given in the particle's frame as (n, 2) x, y in the specimen frame."""
        cos, sin = math.cos(self.angle_rad), math.sin(self.angle_rad)
        return np.column_stack([self.x_m + cos * along_m - sin * across_m, self.y_m + sin * along_m + cos * across_m])
