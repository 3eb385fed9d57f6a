"""What scalarizers of spectra share: options, counting noise, error propagation, identity, maps.

Uncertainty
-----------
A value ``v`` of a spectrum ``c`` (one entry a channel) has, to first order and for independent channels,

    var(v) = sum_k (dv/dc_k)^2 var(c_k)            (JCGM 100:2008, eq. 10)

Counts are Poisson distributed, so ``var(c_k) = g c_k`` with ``g`` the reading per detected event. A channel with
no counts would claim to be exact; therefore ``var(v)`` is never less than what one event in the most telling
channel would make, ``g^2 max_k (dv/dc_k)^2``. Counts less a dark reference have its variance (``Frame.dark_variance``)
on top, and count as none where they are negative. Spectra that are not counts have one noise level for all channels,
given as ``noise_std`` or estimated from second differences (Gasser, Sroka & Jennen-Steinmetz, Biometrika 73 (1986)
625), made robust by the median absolute deviation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat

from autoscope.config import ConfigModel, config_hash
from autoscope.errors import FrameRejected
from autoscope.records import Axis, Frame, Scalar

Array = NDArray[np.float64]

NOT_SPECTRAL = frozenset({"x", "y", "z", "time"})
"""Axis names that say that a one-dimensional frame is a line scan or a series, not a spectrum."""

MAD_TO_STD = 1.482602218505602
"""Standard deviation of a normal variable over its median absolute deviation."""


@dataclass(frozen=True)
class Noise:
    """Variance of each channel, shape (n, e), and the variance that a single event makes (0: not counted)."""

    variance: Array
    one_event: float

    def propagate(self, jacobian: Array) -> Array:
        """Return the variance (n,) of values with the given derivatives, shape (e,) or (n, e).

        Examples
        --------
        >>> Noise(np.array([[4.0, 9.0]]), 1.0).propagate(np.array([1.0, 1.0])).tolist()
        [13.0]
        """
        squared = np.square(np.atleast_2d(jacobian))
        spread = (squared * self.variance).sum(axis=1)
        return np.asarray(np.maximum(spread, self.one_event * squared.max(axis=1)))


class SpectrumScalarizer(ABC):
    """A spectrum in, one number and its standard uncertainty out; also over all spectra of a map at once."""

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    undefined: ClassVar[str] = "the value is undefined for this spectrum"

    class Config(ConfigModel):
        """Options that every scalarizer of spectra has."""

        signal: str | None = None
        """Signal it applies to ("EELS", "EDS"); absent: every frame with a single, not spatial, axis."""
        noise_std: PositiveFloat | None = None
        """Standard deviation of one channel, in the unit of the spectrum; absent: counting noise for counts,
        else estimated from the spectrum."""
        counts_per_event: PositiveFloat = 1.0
        """Reading that one detected event makes (gain of a camera; 1 for counted photons)."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def identity(self) -> str:
        """Name, version and digest of all options: ``band_integral/1/ab12cd34``."""
        return f"{self.kind}/{self.version}/{config_hash(self.parameters())[:8]}"

    def parameters(self) -> dict[str, Any]:
        """Return, as plain data, everything that the value depends on besides the frame."""
        return self.config.plain()

    def fits(self, frame: Frame) -> bool:
        """Return whether the frame is one spectrum of the wanted signal."""
        if self.config.signal is not None and frame.meta.signal != self.config.signal:
            return False
        return len(frame.meta.axes) == 1 and frame.meta.axes[0].name not in NOT_SPECTRAL

    def scalarize(self, frame: Frame, name: str) -> Scalar:
        """Return the value of one spectrum, shape (e,), with its standard uncertainty.

        Raises
        ------
        FrameRejected
            Not a single spectrum, not finite, a band beyond the axis, or a value undefined for this spectrum.
        """
        if not self.fits(frame):
            raise FrameRejected(
                "is not one spectrum of the signal this scalarizer is for",
                where=f"{name}: {frame.meta.signal}",
                value=tuple(axis.name for axis in frame.meta.axes),
                limit=self.config.signal or "one spectral axis",
                remedy="Check the 'signal' option and the signals that are measured",
            )
        axis, unit = frame.meta.axes[0], frame.meta.unit
        values, stds = self._values(np.atleast_2d(frame.data), axis, unit, frame.dark_variance)
        value, std = float(values[0]), float(stds[0])
        if not np.isfinite([value, std]).all():
            raise FrameRejected(self.undefined, where=f"{name}: {self.kind}", remedy="Measure longer or elsewhere")
        return Scalar(name=name, value=value, std=std, unit=self.unit(unit, axis.unit), scalarizer=self.identity)

    def map_scalar(self, spectra: NDArray[Any], axis: Axis, unit: str = "counts") -> tuple[Array, Array]:
        """Return value and standard uncertainty of every spectrum, shapes (h, w), of an array (h, w, e).

        Where the value is undefined, both are NaN.

        Raises
        ------
        FrameRejected
            Not finite, of another size than the axis, or a band beyond the axis.
        """
        values, stds = self._values(spectra.reshape(-1, spectra.shape[-1]), axis, unit)
        undefined = ~np.isfinite(values) | ~np.isfinite(stds)
        values, stds = np.where(undefined, np.nan, values), np.where(undefined, np.nan, stds)
        return values.reshape(spectra.shape[:-1]), stds.reshape(spectra.shape[:-1])

    def _values(
        self, raw: NDArray[Any], axis: Axis, unit: str, dark: NDArray[Any] | None = None
    ) -> tuple[Array, Array]:
        spectra = np.asarray(raw, dtype=np.float64)
        if spectra.shape[-1] != axis.size:
            raise FrameRejected("the spectrum does not match its axis", value=spectra.shape[-1], limit=axis.size)
        if not np.isfinite(spectra).all():
            raise FrameRejected("the spectrum holds values that are not finite", where=self.kind)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            values, variances = self.evaluate(spectra, self._noise(spectra, unit, dark), axis)
            return values, np.sqrt(variances)

    def _noise(self, spectra: Array, unit: str, dark: NDArray[Any] | None) -> Noise:
        gain = self.config.counts_per_event
        if self.config.noise_std is not None:
            return Noise(np.full_like(spectra, self.config.noise_std**2), 0.0)
        if unit == "counts":
            return Noise(gain * np.maximum(spectra, 0.0) + (0.0 if dark is None else dark), gain**2)
        return Noise(np.broadcast_to(residual_std(spectra)[:, None] ** 2, spectra.shape), 0.0)

    @abstractmethod
    def unit(self, spectrum_unit: str, axis_unit: str) -> str:
        """Return the unit of the value."""

    @abstractmethod
    def evaluate(self, spectra: Array, noise: Noise, axis: Axis) -> tuple[Array, Array]:
        """Return values and variances, shapes (n,), of spectra (n, e) float64; NaN where undefined."""


def residual_std(spectra: Array) -> Array:
    """Return the noise (n,) of smooth spectra (n, e) from second differences; 0 for fewer than three channels.

    The second difference of white noise has six times its variance.

    Examples
    --------
    >>> residual_std(np.linspace(0.0, 1.0, 9)[None]).round(12).tolist()
    [0.0]
    """
    if spectra.shape[1] < 3:
        return np.zeros(spectra.shape[0])
    second: Array = np.abs(np.diff(spectra, n=2, axis=1)) / np.sqrt(6.0)
    return np.asarray(MAD_TO_STD * np.median(second, axis=1))
