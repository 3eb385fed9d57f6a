"""Cross-sections of single atoms: elastic scattering, ionisation, fluorescence, bremsstrahlung, energy-loss edges."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from environments.sample.kinematics import BOHR_M, FINE_STRUCTURE, RYDBERG_EV, Electron
from environments.sample.materials import Edge, Shell

Array = NDArray[np.float64]

CLASSICAL_RADIUS_M = 2.8179403e-15
"""Classical electron radius (CODATA 2018)."""
COULOMB_EV_M = 1.43996455e-9
"""Squared elementary charge over 4 pi eps0."""
SHELL_ELECTRONS: dict[Shell, int] = {"K": 2, "L": 8, "M": 18}
"""Electrons of a full shell."""
_POWELL: dict[Shell, tuple[float, float]] = {"K": (0.9, 0.65), "L": (0.6, 0.6), "M": (0.6, 0.6)}


def elastic_m2(number: int, electron: Electron, inner_rad: float, outer_rad: float = math.inf) -> float:
    """Return the screened-Rutherford cross-section into an annulus.

    ``dsigma/dOmega = 4 gamma^2 Z^2 / (a0^2 k0^4 (theta^2 + theta_0^2)^2)`` with ``theta_0 = Z^(1/3) / (k0 a0)``
    (Lenz, Z. Naturforsch. 9a, 185 (1954); Egerton 2011, eqs 3.4-3.6), integrated in the small-angle form
    ``dOmega = 2 pi theta dtheta``. Screening makes it grow as about ``Z^1.7`` for medium angles, ``Z^2`` far out.

    Parameters
    ----------
    number : int
        Atomic number Z.
    electron : Electron
    inner_rad, outer_rad : float
        Semi-angles of the annulus.

    Examples
    --------
    >>> f"{elastic_m2(79, Electron(200e3), 0.06, 0.2):.1e}"
    '2.6e-22'
    """
    k0 = electron.wave_number_per_m
    screening = number ** (1.0 / 3.0) / (k0 * BOHR_M)
    scale = 4.0 * math.pi * (electron.gamma * number / (BOHR_M * k0**2)) ** 2
    return float(scale * (1.0 / (inner_rad**2 + screening**2) - 1.0 / (outer_rad**2 + screening**2)))


def ionisation_m2(shell: Shell, binding_ev: float, electron: Electron) -> float:
    """Return the cross-section for ionising a shell: relativistic Bethe formula with Powell's constants.

    ``sigma = pi e^4 n b / (T E_c) [ln(c T / E_c) - ln(1 - beta^2) - beta^2]``, ``T = m0 v^2 / 2`` (Williams &
    Carter, *Transmission Electron Microscopy*, eq. 4.2). K shell: b = 0.9, c = 0.65 (Powell, Rev. Mod. Phys. 48,
    33 (1976)); L: b = 0.6, c = 0.6 near Powell's for L23; M by analogy. Zero where the beam cannot ionise.

    Examples
    --------
    >>> f"{ionisation_m2('K', 8979.0, Electron(200e3)):.1e}"
    '2.5e-26'
    """
    energy, (b, c) = electron.half_mv2_ev, _POWELL[shell]
    beta2 = electron.beta_squared
    bracket = math.log(c * energy / binding_ev) - math.log1p(-beta2) - beta2
    prefactor = math.pi * COULOMB_EV_M**2 * SHELL_ELECTRONS[shell] * b / (energy * binding_ev)
    return prefactor * max(0.0, bracket)


def fluorescence_yield(shell: Shell, number: int) -> float:
    """Return the mean fluorescence yield of a shell: fits of Hubbell et al., J. Phys. Chem. Ref. Data 23, 339 (1994).

    Examples
    --------
    >>> round(fluorescence_yield("K", 29), 2), round(fluorescence_yield("L", 78), 2)
    (0.45, 0.32)
    """
    z = float(number)
    if shell == "M":
        return float(1.29e-9 * max(0.0, z - 13.0) ** 4)
    if shell == "L" and number <= 36:
        return float(1.939e-8 * z**3.8874)
    c = (0.0370, 0.03112, 5.44e-5, -1.25e-6) if shell == "K" else (0.17765, 0.00298937, 8.91297e-5, -2.67184e-7)
    power = (c[0] + c[1] * z + c[2] * z**2 + c[3] * z**3) ** 4
    return float(power / (1.0 + power))


def bremsstrahlung_m2_per_ev(number: int, photon_ev: Array, electron: Electron) -> Array:
    """Return Kramers' cross-section for emitting a photon, per eV of photon energy, shape of ``photon_ev``.

    ``dsigma/dE = 16 pi / (3 sqrt 3) alpha r_e^2 Z^2 / (beta^2 E)`` (Kramers, Phil. Mag. 46, 836 (1923)), zero above
    the beam energy. Emission is taken as isotropic, which overestimates it at the usual backward take-off angles.
    """
    scale = 16.0 * math.pi / (3.0 * math.sqrt(3.0)) * FINE_STRUCTURE * CLASSICAL_RADIUS_M**2
    per_ev = scale * number**2 / (electron.beta_squared * np.maximum(photon_ev, 1.0))
    return np.where((photon_ev > 0.0) & (photon_ev < electron.voltage_v), per_ev, 0.0)


def oscillator_strength_per_ev(edge: Edge, number: int, loss_ev: Array) -> Array:
    """Return the optical oscillator strength of an edge per eV, shape of ``loss_ev``.

    A step followed by a power law, ``f (r - 1) / E_k (E / E_k)^-r``, with total strength ``f``: K shells
    ``2.1 - Z / 27`` and r = 3 (hydrogenic; Egerton 2011, section 4.5); L shells f = 4, r = 2.5, M shells f = 8,
    r = 2.5, below their electron numbers 6 and 10 by what Thomas-Reiche-Kuhn transfers to occupied states. M edges and
    L edges below 200 eV rise slowly (centrifugal barrier). White lines are Lorentzians of 2.5 eV in the ratio 2:1.
    """
    strength, exponent = {"K": (2.1 - number / 27.0, 3.0), "L": (4.0, 2.5), "M": (8.0, 2.5)}[edge.shell]
    ratio = np.maximum(loss_ev / edge.onset_ev, 1.0)
    step = strength * (exponent - 1.0) / edge.onset_ev * ratio**-exponent * (loss_ev >= edge.onset_ev)
    if edge.shell == "M" or (edge.shell == "L" and edge.onset_ev < 200.0):
        step = step * -np.expm1(-np.maximum(loss_ev - edge.onset_ev, 0.0) / (0.15 * edge.onset_ev))
    for share, onset_ev in ((2 / 3, edge.onset_ev + 1.0), (1 / 3, edge.onset_ev + edge.splitting_ev + 1.0)):
        step = step + share * edge.white_line * (1.25 / math.pi) / ((loss_ev - onset_ev) ** 2 + 1.25**2)
    return np.asarray(step, dtype=np.float64)


def edge_m2_per_ev(edge: Edge, number: int, loss_ev: Array, electron: Electron, collection_rad: float) -> Array:
    """Return the energy-differential cross-section of an edge inside a collection semi-angle, shape of ``loss_ev``.

    Dipole form of Bethe's theory, ``dsigma/dE = 4 pi a0^2 R^2 / (T E) df/dE ln[1 + (beta / theta_E)^2]``
    (Egerton 2011, eq. 3.151 and 4.65); exchange, and the Bethe ridge at large angles, are neglected.
    """
    loss = np.maximum(loss_ev, 1.0)
    theta = loss / (2.0 * electron.gamma * electron.half_mv2_ev)
    scale = 4.0 * math.pi * (BOHR_M * RYDBERG_EV) ** 2 / (electron.half_mv2_ev * loss)
    strength = oscillator_strength_per_ev(edge, number, loss)
    return np.asarray(scale * strength * np.log1p((collection_rad / theta) ** 2), dtype=np.float64)


def mean_free_path_m(density_g_per_cm3: float, electron: Electron, collection_rad: float) -> float:
    """Return the inelastic mean free path: Iakoubovskii et al., Microsc. Res. Tech. 71, 626 (2008), eq. 9.

    A parallel beam is assumed (convergence much smaller than collection).

    Examples
    --------
    >>> 100 < mean_free_path_m(2.7, Electron(200e3), 0.02) * 1e9 < 180
    True
    """
    energy_kev = electron.voltage_v / 1e3
    factor = (1.0 + energy_kev / 1022.0) / (1.0 + energy_kev / 511.0) ** 2
    theta_e = 5.5 * density_g_per_cm3**0.3 / (factor * energy_kev)
    theta_c, beta = 20.0, collection_rad * 1e3
    ratio = (2 * beta**2 + 2 * theta_e**2) / (2 * beta**2 + 2 * theta_c**2) * (theta_c / theta_e) ** 2
    inverse_nm = 11.0 * density_g_per_cm3**0.3 / (200.0 * factor * energy_kev) * math.log(ratio)
    return float(1e-9 / inverse_nm)
