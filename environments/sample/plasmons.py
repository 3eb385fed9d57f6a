"""Localised surface plasmons: their energies from size and shape, and how a passing electron excites them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import k0, k1

from environments.sample.kinematics import FINE_STRUCTURE, HBAR_C_EV_M, Electron
from environments.sample.materials import Drude

Array = NDArray[np.float64]
CUBE_CORNER, CUBE_EDGE, CUBE_FACE = 3.68, 2.37, 1.27
"""Minus the permittivities at which a small cube resonates (Fuchs, Phys. Rev. B 11, 1732 (1975), table I)."""
_CHUNK = 4096


@dataclass(frozen=True)
class Mode:
    """One surface mode of one particle.

    Attributes
    ----------
    name : str
        What oscillates: dipole, corner, edge, face, longitudinal, transverse.
    energy_ev, width_ev : float
    size_m : float
        Radius of the sphere of the particle's volume: sets the strength.
    core_m : float
        Distance to a hot spot below which the excitation grows no more.
    spots_m : Array
        Centres of the hot spots, shape (n, 2) as x, y in the specimen frame.
    weights : Array
        Shares of the hot spots, shape (n,), sum 1; of a coherent mode their signed amplitudes.
    strength : float
        Oscillator strength relative to an ideal metal, ``3 / (background + ratio)``.
    coherent : bool
        Whether the fields of the hot spots add before they are squared (a single mode with nodes between charges of
        opposite sign) or after (degenerate modes that share the energy, as on the corners of a cube).
    """

    name: str
    energy_ev: float
    width_ev: float
    size_m: float
    core_m: float
    spots_m: Array
    weights: Array
    strength: float
    coherent: bool = False


def long_axis_factor(aspect: float) -> float:
    """Return the depolarisation factor along the long axis of a prolate spheroid (Gans 1912; Bohren & Huffman 5.33).

    Examples
    --------
    >>> round(long_axis_factor(1.0), 4), long_axis_factor(5.0) < long_axis_factor(2.0)
    (0.3333, True)
    """
    if aspect < 1.0 + 1e-4:
        return 1.0 / 3.0
    e2 = 1.0 - aspect**-2
    e = math.sqrt(e2)
    return (1.0 - e2) / e2 * (math.log((1.0 + e) / (1.0 - e)) / (2.0 * e) - 1.0)


def in_plane_factor(aspect: float) -> float:
    """Return the depolarisation factor in the plane of an oblate spheroid (Bohren & Huffman 5.34).

    Examples
    --------
    >>> round(in_plane_factor(1.0), 4), in_plane_factor(5.0) < in_plane_factor(2.0)
    (0.3333, True)
    """
    if aspect < 1.0 + 1e-4:
        return 1.0 / 3.0
    e2 = 1.0 - aspect**-2
    g = math.sqrt((1.0 - e2) / e2)
    return g / (2.0 * e2) * (0.5 * math.pi - math.atan(g)) - 0.5 * g**2


def resonance_ev(drude: Drude, ratio: float, half_length_m: float, medium: float = 1.0) -> float:
    """Return the energy of a mode that resonates at ``eps = -ratio * medium`` when small, red-shifted by its size.

    With the Drude metal and first-order retardation ``eps = -(ratio + 12/5 x^2) medium``, ``x = sqrt(medium) E a /
    (hbar c)`` (Meier & Wokaun, Opt. Lett. 8, 581 (1983), for spheres; used for the other shapes with half their length
    along the oscillation), the energy is the root of a quadratic in ``E^2``.

    Parameters
    ----------
    drude : Drude
    ratio : float
        2 for a sphere, ``(1 - L) / L`` for depolarisation factor L.
    half_length_m : float
        Half the length along the oscillation.
    medium : float
        Effective permittivity around the particle.

    Examples
    --------
    >>> round(resonance_ev(Drude(1.0, 9.0, 0.1), 2.0, 1e-9), 2)  # plasma energy / sqrt(3)
    5.19
    """
    slope = 2.4 * (medium * half_length_m / HBAR_C_EV_M) ** 2
    level = drude.background + ratio * medium
    root = math.sqrt(level**2 + 4.0 * slope * drude.plasma_ev**2)
    return math.sqrt(2.0 * drude.plasma_ev**2 / (level + root))


def coupling(distance_m: Array, mode_energy_ev: Array, size_m: Array, electron: Electron) -> Array:
    """Return the probability that an electron passing a dipole at a distance excites it once, shape by broadcasting.

    Ferrell & Echenique, Phys. Rev. Lett. 55, 1526 (1985), integrated over the resonance of an ideal-metal sphere:
    ``(alpha / beta) (E a / hbar v)^3 [K1^2(xi) + K0^2(xi) / gamma^2] / gamma^2``, ``xi = E d / (gamma hbar v)``.
    """
    beta, gamma = math.sqrt(electron.beta_squared), electron.gamma
    per_m = mode_energy_ev / (HBAR_C_EV_M * beta)
    xi = per_m * distance_m / gamma
    field = k1(xi) ** 2 + k0(xi) ** 2 / gamma**2
    return np.asarray(FINE_STRUCTURE / beta * (per_m * size_m) ** 3 * field / gamma**2)


class ModeMap:
    """Mean number of excitations of each mode, anywhere.

    Parameters
    ----------
    modes : sequence of Mode
    electron : Electron
    """

    def __init__(self, modes: Sequence[Mode], electron: Electron) -> None:
        self._electron, self._count = electron, len(modes)
        counts = [len(m.weights) for m in modes]
        self._firsts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.intp) if modes else np.zeros(0, np.intp)
        self._spots_m = np.concatenate([np.zeros((0, 2)), *(m.spots_m for m in modes)])
        self._weights = np.concatenate([np.zeros(0), *(m.weights for m in modes)])[:, None]
        self._strength = np.array([m.strength for m in modes])[:, None]
        self._coherent = np.array([m.coherent for m in modes], dtype=bool)
        self._of_coherent = np.repeat(self._coherent, counts)
        self._energy_ev = np.repeat([m.energy_ev for m in modes], counts)
        self._size_m = np.repeat([m.size_m for m in modes], counts)
        self._core_m = np.repeat([m.core_m for m in modes], counts)

    def events(self, x_m: Array, y_m: Array) -> Array:
        """Return the mean number of excitations per electron, shape ``(modes,) + x_m.shape``."""
        events = np.zeros((self._count, x_m.size))
        x, y = x_m.ravel(), y_m.ravel()
        for start in range(0, x.size if self._count else 0, _CHUNK):
            part = slice(start, start + _CHUNK)
            distance = np.hypot(x[part] - self._spots_m[:, :1], y[part] - self._spots_m[:, 1:])
            near = np.maximum(distance, self._core_m[:, None])
            each = coupling(near, self._energy_ev[:, None], self._size_m[:, None], self._electron)
            each[self._of_coherent] **= 0.5
            summed = np.add.reduceat(each * self._weights, self._firsts, axis=0)
            summed[self._coherent] **= 2
            events[:, part] = summed * self._strength
        return events.reshape(self._count, *x_m.shape)
