"""Geometry: how much of a particle the beam passes through."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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
