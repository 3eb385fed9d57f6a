"""Core-loss spectra: ionisation edges on the power-law tail of the valence losses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from autoscope.config import ConfigModel
from autoscope.quantities import Angle, PositiveEnergy
from autoscope.records import Axis, SpectrumSignal
from environments.sample.cross_sections import edge_m2_per_ev
from environments.sample.kinematics import Electron
from environments.sample.low_loss import single_scattering_per_ev
from environments.sample.materials import Element, Material

Array = NDArray[np.float64]
_SUBSAMPLES = 8
_TAIL_START_OVER_PEAK = 1.7


class CoreLossConfig(ConfigModel):
    """A spectrometer set for core losses."""

    channels: int = Field(default=1024, ge=16, le=8192)
    channel_ev: PositiveEnergy = 1.0
    offset_ev: PositiveEnergy = 200.0
    """Energy loss of the first channel; beyond the plasmons, whose tail is a power law."""
    collection_rad: Angle = 0.02
    """Collection semi-angle."""
    background_exponent: float = Field(default=2.8, ge=1.5, le=6)
    """The tail falls as loss to minus this power (2 to 6 in practice; Egerton 2011, section 4.4)."""

    @model_validator(mode="after")
    def _beyond_plasmons(self) -> CoreLossConfig:
        if self.offset_ev < 60.0:
            raise ValueError("core losses start beyond the plasmons: offset >= 60 eV")
        if self.collection_rad <= 0.0:
            raise ValueError("the collection angle must be positive")
        return self


class CoreLossResponse:
    """Core-loss spectra as a linear map from areal densities and relative thicknesses (single scattering).

    Edges are areal density times `edge_m2_per_ev`; the background of a material is its relative thickness times
    ``s(E_m) (E / E_m)^-r`` joined to its valence losses at 1.7 times their peak. Plural scattering (the plasmon
    shoulder behind an edge) is neglected; for t / lambda of 0.2 it moves a fifth of the edge up by 24 eV.

    Parameters
    ----------
    config : CoreLossConfig
    electron : Electron
    elements : sequence of Element
        Order of the areal densities.
    materials : sequence of Material
        Order of the relative thicknesses.
    """

    def __init__(
        self, config: CoreLossConfig, electron: Electron, elements: Sequence[Element], materials: Sequence[Material]
    ) -> None:
        self.config, self._electron = config, electron
        axis = Axis(
            name="energy_loss", unit="eV", size=config.channels, offset=config.offset_ev, scale=config.channel_ev
        )
        self.signal = SpectrumSignal(name="EELS_CORE", axis=axis)
        offsets = (np.arange(_SUBSAMPLES) + 0.5) / _SUBSAMPLES - 0.5
        self._fine_ev = axis.values()[:, None] + config.channel_ev * offsets
        self.edges = np.stack([self._edges(e) for e in elements])
        """Counts per electron and (atom/m^2), shape (elements, channels)."""
        self.background = np.stack([self._background(m) for m in materials])
        """Counts per electron and unit relative thickness, shape (materials, channels)."""

    def spectrum(self, areal_per_m2: Array, thickness_over_path: Array) -> Array:
        """Return spectra of (..., elements) and (..., materials) as counts per electron, shape (..., channels)."""
        return areal_per_m2 @ self.edges + thickness_over_path @ self.background

    def _edges(self, of: Element) -> Array:
        beta = self.config.collection_rad
        sections = (edge_m2_per_ev(edge, of.number, self._fine_ev, self._electron, beta) for edge in of.edges)
        total = sum(sections, np.zeros_like(self._fine_ev))
        return np.asarray(total.mean(axis=1) * self.config.channel_ev)

    def _background(self, of: Material) -> Array:
        start_ev = _TAIL_START_OVER_PEAK * of.drude.plasma_ev / of.drude.background**0.5
        height = single_scattering_per_ev(of.drude, np.array([start_ev]), self._electron, self.config.collection_rad)
        tail = height[0] * (self._fine_ev / start_ev) ** -self.config.background_exponent
        return np.asarray(tail.mean(axis=1) * self.config.channel_ev)
