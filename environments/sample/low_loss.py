"""Low-loss spectra: zero-loss peak, bulk and surface plasmons, plural scattering."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from autoscope.config import ConfigModel
from autoscope.quantities import Angle, Energy, PositiveEnergy
from autoscope.records import Axis, SpectrumSignal
from environments.sample.kinematics import Electron
from environments.sample.materials import Drude

Array = NDArray[np.float64]
_CHUNK = 512
_NORMALISATION_EV = np.geomspace(1e-3, 3e3, 20_000)


class LowLossConfig(ConfigModel):
    """A spectrometer set for low losses."""

    channels: int = Field(default=1024, ge=16, le=8192)
    channel_ev: PositiveEnergy = 0.1
    offset_ev: Energy = -5.0
    """Energy loss of the first channel; negative, so that the zero-loss peak is on the axis."""
    zero_loss_fwhm_ev: PositiveEnergy = 0.8
    collection_rad: Angle = 0.02
    """Collection semi-angle."""

    @model_validator(mode="after")
    def _zero_loss_on_axis(self) -> LowLossConfig:
        end_ev = self.offset_ev + self.channels * self.channel_ev
        if not (self.offset_ev <= 0.0 < end_ev):
            raise ValueError("the axis must hold the zero-loss peak: offset <= 0 eV and a positive end")
        if self.collection_rad <= 0.0:
            raise ValueError("the collection angle must be positive")
        return self


def loss_function(drude: Drude, loss_ev: Array) -> Array:
    """Return ``Im(-1 / eps)`` of a Drude dielectric function, shape of ``loss_ev`` (zero at and below zero loss).

    With ``eps = b - P^2 / (E^2 + i E g)`` (Egerton 2011, eq. 3.42), written so that it is finite at E = 0.
    """
    energy = np.maximum(loss_ev, 0.0)
    b, p2, g = drude.background, drude.plasma_ev**2, drude.damping_ev
    return np.asarray(energy * p2 * g / ((b * energy**2 - p2) ** 2 + (b * energy * g) ** 2), dtype=np.float64)


def single_scattering_per_ev(drude: Drude, loss_ev: Array, electron: Electron, collection_rad: float) -> Array:
    """Return the probability density of one inelastic event, integral over all losses 1, shape of ``loss_ev``.

    ``Im(-1 / eps) ln[1 + (beta / theta_E)^2]`` (Egerton 2011, eq. 3.32), normalised numerically to 3 keV.
    """

    def weighted(energy: Array) -> Array:
        theta = electron.characteristic_angle_rad(1.0) * np.maximum(energy, 1e-6)
        return loss_function(drude, energy) * np.log1p((collection_rad / theta) ** 2)

    norm = float(np.trapezoid(weighted(_NORMALISATION_EV), _NORMALISATION_EV))
    return weighted(loss_ev) / norm


def lorentzian_per_ev(centre_ev: float, width_ev: float, loss_ev: Array) -> Array:
    """Return the loss profile of a surface mode, integral over positive losses 1, shape of ``loss_ev``.

    The difference of Lorentzians at plus and minus ``centre_ev`` (detailed balance at zero temperature), which vanishes
    at zero loss; ``width_ev`` is the full width at half maximum.
    """
    half = 0.5 * width_ev
    up = half / ((loss_ev - centre_ev) ** 2 + half**2)
    down = half / ((loss_ev + centre_ev) ** 2 + half**2)
    return np.asarray(np.where(loss_ev > 0.0, up - down, 0.0) / (2.0 * math.atan(centre_ev / half)))


class LowLossResponse:
    """Spectra from the mean number of events of each loss channel, all orders of scattering included.

    Independent Poisson events convolve as ``S = Z * exp[sum_i mu_i (s_i - 1)]`` in Fourier space (Johnson & Spence,
    J. Phys. D 7, 771 (1974); Egerton 2011, eq. 4.10), with zero-loss peak Z, single-event density s_i and mean mu_i.
    The period is twice the axis, so that wrapped-round losses stay off it. Multiplying events of different depths and
    interface losses between film and particle are neglected.

    Parameters
    ----------
    config : LowLossConfig
    densities_per_ev : sequence of callables
        One per loss channel: loss in eV (n,) -> probability density per eV (n,).
    """

    def __init__(self, config: LowLossConfig, losses: Sequence[LossDensity]) -> None:
        axis = Axis(
            name="energy_loss", unit="eV", size=config.channels, offset=config.offset_ev, scale=config.channel_ev
        )
        self.signal = SpectrumSignal(name="EELS", axis=axis)
        self._size = 2 * config.channels
        loss_ev = np.arange(config.channels + 1, dtype=np.float64) * config.channel_ev
        cells = np.stack([_cell_means(loss, loss_ev, config.channel_ev) for loss in losses])
        self._events = np.fft.rfft(cells, n=self._size, axis=-1) - 1.0
        self._zero_loss = np.fft.rfft(_zero_loss(config, self._size))

    def spectrum(self, events: Array) -> Array:
        """Return spectra for mean numbers of events (points, losses), shape (points, channels), sum at most 1."""
        out = np.empty((len(events), self.signal.axis.size))
        for start in range(0, len(events), _CHUNK):
            exponent = events[start : start + _CHUNK] @ self._events
            full = np.fft.irfft(self._zero_loss * np.exp(exponent), n=self._size, axis=-1)
            out[start : start + _CHUNK] = np.maximum(full[:, : out.shape[1]], 0.0)
        return out


class LossDensity:
    """One way to lose energy.

    Parameters
    ----------
    name : str
    loss_ev, per_ev : Array
        Single-event probability density on a fine grid of losses.
    """

    def __init__(self, name: str, loss_ev: Array, per_ev: Array) -> None:
        self.name, self._loss_ev = name, loss_ev
        steps = 0.5 * (per_ev[1:] + per_ev[:-1]) * np.diff(loss_ev)
        self._cumulative = np.concatenate([[0.0], np.cumsum(steps)])

    def below(self, loss_ev: Array) -> Array:
        """Return the probability that one event loses less than ``loss_ev``."""
        return np.asarray(np.interp(loss_ev, self._loss_ev, self._cumulative))

    @classmethod
    def bulk(cls, name: str, drude: Drude, electron: Electron, collection_rad: float) -> LossDensity:
        """Return the bulk losses of a Drude material."""
        grid = np.concatenate([[0.0], _NORMALISATION_EV])
        return cls(name, grid, single_scattering_per_ev(drude, grid, electron, collection_rad))

    @classmethod
    def mode(cls, name: str, centre_ev: float, width_ev: float) -> LossDensity:
        """Return a surface mode."""
        near = np.linspace(max(0.0, centre_ev - 20.0 * width_ev), centre_ev + 20.0 * width_ev, 801)
        far = np.geomspace(near[-1] * 1.01, 1e3 * centre_ev, 400)
        low = np.linspace(0.0, near[0], 60)[:-1] if near[0] > 0.0 else np.zeros(0)
        grid = np.concatenate([low, near, far])
        return cls(name, grid, lorentzian_per_ev(centre_ev, width_ev, grid))


def _cell_means(loss: LossDensity, loss_ev: Array, step_ev: float) -> Array:
    upper = loss.below(loss_ev + 0.5 * step_ev)
    lower = loss.below(np.maximum(loss_ev - 0.5 * step_ev, 0.0))
    return np.asarray(upper - lower)


def _zero_loss(config: LowLossConfig, size: int) -> Array:
    """Return the unit zero-loss Gaussian on the doubled, periodic axis."""
    sigma = config.zero_loss_fwhm_ev / (2.0 * math.sqrt(2.0 * math.log(2.0)))
    position = config.offset_ev + config.channel_ev * np.arange(size)
    period = size * config.channel_ev
    wrapped = (position + 0.5 * period) % period - 0.5 * period
    peak = np.exp(-0.5 * (wrapped / max(sigma, 0.3 * config.channel_ev)) ** 2)
    return np.asarray(peak / peak.sum())
