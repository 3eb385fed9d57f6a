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
