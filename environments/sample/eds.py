"""X-ray spectra: expected counts per electron and channel for one atom per square metre of each element."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import erf

from autoscope.config import ConfigModel
from autoscope.quantities import Energy, PositiveEnergy, PositiveLength
from autoscope.records import Axis, SpectrumSignal
from environments.sample.cross_sections import (
    bremsstrahlung_m2_per_ev,
    elastic_m2,
    fluorescence_yield,
    ionisation_m2,
)
from environments.sample.kinematics import Electron
from environments.sample.materials import Element, element

Array = NDArray[np.float64]
MN_K_ALPHA_EV = 5895.0
_STRAY_RANGE_RAD = (0.05, math.pi / 2)


class EdsConfig(ConfigModel):
    """An X-ray detector."""

    solid_angle_sr: float = Field(default=0.9, gt=0, le=4 * math.pi)
    """Solid angle in steradian."""
    resolution_ev: PositiveEnergy = 130.0
    """Full width at half maximum at manganese K alpha."""
    window_ev: Energy = 250.0
    """Photon energy below which window and contact absorb most."""
    crystal_m: PositiveLength = 4.5e-4
    """Thickness of the silicon crystal."""
    grid_stray: float = Field(default=2e-3, ge=0, le=1)
    """Copper K alpha photons of the grid per electron scattered by the specimen beyond 50 mrad."""
    channels: int = Field(default=1024, ge=16, le=8192)
    channel_ev: PositiveEnergy = 20.0
    offset_ev: Energy = 0.0


def line_width_ev(energy_ev: float, resolution_ev: float) -> float:
    """Return the standard deviation of a line: Fiori & Newbury, ``FWHM^2 = FWHM_Mn^2 + 2.5 eV (E - E_Mn)``.

    The floor of 30 eV FWHM stands for electronic noise.

    Examples
    --------
    >>> round(line_width_ev(5895.0, 130.0) * 2.3548)
    130
    """
    fwhm2 = resolution_ev**2 + 2.5 * (energy_ev - MN_K_ALPHA_EV)
    return math.sqrt(max(fwhm2, 900.0)) / (2.0 * math.sqrt(2.0 * math.log(2.0)))


def efficiency(energy_ev: Array, config: EdsConfig) -> Array:
    """Return the detected share of photons that fly towards the crystal, in [0, 1], shape of ``energy_ev``.

    Window: ``exp(-(E_w / E)^3)``, the energy dependence of photo-absorption. Crystal: ``1 - exp(-t / L)`` with
    the attenuation length of silicon L = 127 um (E / 10 keV)^3 (Hubbell & Seltzer, NISTIR 5632, at 10 keV).
    """
    energy = np.maximum(np.asarray(energy_ev, dtype=np.float64), 1.0)
    window = np.exp(-((max(config.window_ev, 0.0) / energy) ** 3))
    return np.asarray(window * -np.expm1(-config.crystal_m / (127e-6 * (energy / 1e4) ** 3)))


class EdsResponse:
    """X-ray spectra as a linear map from areal densities of elements.

    Counts per electron in a line: ``N sigma_ionisation omega share (Omega / 4 pi) efficiency``. Absorption and
    secondary fluorescence in the specimen are neglected (thin-film approximation; Cliff & Lorimer 1975).

    Parameters
    ----------
    config : EdsConfig
    electron : Electron
    elements : sequence of Element
        Order of the areal densities.
    """

    def __init__(self, config: EdsConfig, electron: Electron, elements: Sequence[Element]) -> None:
        self.config, self._electron = config, electron
        axis = Axis(name="energy", unit="eV", size=config.channels, offset=config.offset_ev, scale=config.channel_ev)
        self.signal = SpectrumSignal(name="EDS", axis=axis)
        self._energy_ev = axis.values()
        self._share = config.solid_angle_sr / (4.0 * math.pi)
        self.template = np.stack([self._of(e) for e in elements])
        """Counts per electron and (atom/m^2), shape (elements, channels)."""

    def spectrum(self, areal_per_m2: Array) -> Array:
        """Return spectra of areal densities (..., elements) as counts per electron, shape (..., channels)."""
        return areal_per_m2 @ self.template

    def line_counts_m2(self, of: Element) -> list[tuple[float, float]]:
        """Return (line energy in eV, detected photons per electron and atom/m^2) for every line of an element."""
        counts = []
        for family in of.families:
            section = ionisation_m2(family.shell, family.binding_ev, self._electron)
            emitted = section * fluorescence_yield(family.shell, of.number) * self._share
            total = sum(weight for _, weight in family.lines)
            for energy_ev, weight in family.lines:
                seen = float(efficiency(np.array(energy_ev), self.config))
                counts.append((energy_ev, emitted * weight / total * seen))
        return counts

    def _of(self, of: Element) -> Array:
        background = bremsstrahlung_m2_per_ev(of.number, self._energy_ev, self._electron) * self.config.channel_ev
        total = background * self._share * efficiency(self._energy_ev, self.config)
        for energy_ev, counts in self.line_counts_m2(of):
            total = total + counts * self._peak(energy_ev)
        return total + self._stray(of)

    def _stray(self, of: Element) -> Array:
        copper_ev = element("Cu").families[0].lines[0][0]
        scattered = elastic_m2(of.number, self._electron, *_STRAY_RANGE_RAD)
        seen = self._share * float(efficiency(np.array(copper_ev), self.config))
        return scattered * self.config.grid_stray * seen * self._peak(copper_ev)

    def _peak(self, energy_ev: float) -> Array:
        sigma = line_width_ev(energy_ev, self.config.resolution_ev) * math.sqrt(2.0)
        low = self._energy_ev - 0.5 * self.config.channel_ev
        high = low + self.config.channel_ev
        return np.asarray(0.5 * (erf((high - energy_ev) / sigma) - erf((low - energy_ev) / sigma)))
