"""Numbers from spectra: integrals, peaks, ratios, core-loss edges, centres. Each with its standard uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, model_validator

from autoscope.errors import FrameRejected
from autoscope.perception.bands import Band, channels, convert
from autoscope.perception.spectra import Array, Noise, SpectrumScalarizer
from autoscope.records import Axis

FIT_STEPS = 8
"""Newton steps of the background fit; from a log-log start, three reach rounding error."""


class BandIntegral(SpectrumScalarizer):
    """The sum of the channels in a band, less a straight background through bands beside it if given.

    With background windows, their mean levels define a line that is subtracted channel by channel
    (the window method of X-ray analysis: Goldstein et al., Scanning Electron Microscopy and X-Ray Microanalysis,
    4th ed. (2018), ch. 19). The value is linear in the spectrum, so its variance is exact.
    """

    kind = "band_integral"

    class Config(SpectrumScalarizer.Config):
        """Options of `BandIntegral`."""

        band: Band | None = None
        """Channels to add, e.g. ``[1.66 keV, 1.88 keV]``; absent: the whole axis (precomputed scalars, too)."""
        background: tuple[Band, ...] = Field(default=(), max_length=2)
        """Windows beside the band: none (no background), one (constant level) or two (a line)."""

    config: Config

    def unit(self, spectrum_unit: str, axis_unit: str) -> str:
        """Return the unit of the spectrum: channels are added, not multiplied by their width."""
        return spectrum_unit

    def evaluate(self, spectra: Array, noise: Noise, axis: Axis) -> tuple[Array, Array]:
        """Return the weighted sums and their variances."""
        weights = self.weights(axis)
        return spectra @ weights, noise.propagate(weights)

    def weights(self, axis: Axis) -> Array:
        """Return what each channel counts for, shape (e,)."""
        band = channels(self.config.band, axis)
        weights = np.zeros(axis.size)
        weights[band] = 1.0
        windows = [channels(window, axis) for window in self.config.background]
        centre = float(band.mean())
        for window, other in zip(windows, reversed(windows)):
            share = _share(centre, float(window.mean()), float(other.mean())) if len(windows) == 2 else 1.0
            weights[window] -= share * band.size / window.size
        return weights


def _share(centre: float, near: float, far: float) -> float:
    """Return the weight of the level at ``near`` in a line through ``near`` and ``far``, read at ``centre``."""
    if near == far:
        raise FrameRejected("the two background windows have the same centre", limit="windows apart")
    return (far - centre) / (far - near)


@dataclass(frozen=True)
class _Parabola:
    """Parabolas ``a + b u + c u^2`` (n) around channel ``centre``; ``peaked``: the vertex is a maximum inside."""

    a: Array
    b: Array
    c: Array
    covariance: Array
    centre: NDArray[np.intp]
    reach: float

    @property
    def peaked(self) -> NDArray[np.bool_]:
        return (self.c < 0) & (np.abs(self.b) <= self.reach * np.abs(2 * self.c))

    @property
    def bend(self) -> Array:
        """Return ``c``, or -1 where there is no vertex to divide by it for."""
        return np.where(self.peaked, self.c, -1.0)

    def variance(self, *jacobian: Array) -> Array:
        """Return the variances (n,) of values with these derivatives to a, b and c."""
        derivatives = np.stack(jacobian, axis=1)
        return np.asarray(np.einsum("ni,nij,nj->n", derivatives, self.covariance, derivatives))


class _Peak(SpectrumScalarizer):
    """A parabola fitted to the highest place of a band.

    The parabola ``a + b u + c u^2`` (``u``: channels from the centre of the window) is fitted by least squares to
    every window of ``fit_channels`` in the band, and the window of the highest ``a`` is kept: Savitzky-Golay smoothing
    (Anal. Chem. 36 (1964) 1627) and peak in one. The vertex lies at ``u = -b/2c`` with height ``a - b^2/4c``.
    """

    class Config(SpectrumScalarizer.Config):
        """Options of the peak scalarizers."""

        band: Band | None = None
        """Where the peak is looked for; absent: the whole axis."""
        fit_channels: int = Field(default=5, ge=3, multiple_of=1)
        """Channels the parabola is fitted to: an odd number, about the width of the peak at half height."""

        @model_validator(mode="after")
        def _odd(self) -> Self:
            if self.fit_channels % 2 == 0:
                raise ValueError(f"fit_channels must be odd so that it has a centre, not {self.fit_channels}")
            return self

    config: Config

    def _fit(self, spectra: Array, noise: Noise, axis: Axis) -> _Parabola:
        """Return the parabola of the highest window of each spectrum."""
        band, width = channels(self.config.band, axis), self.config.fit_channels
        if band.size < width:
            raise FrameRejected("the band has fewer channels than the peak fit needs", value=band.size, limit=width)
        u = np.arange(width, dtype=np.float64) - width // 2
        solve = np.linalg.pinv(np.vander(u, 3, increasing=True))
        windows = np.lib.stride_tricks.sliding_window_view(spectra[:, band], width, axis=1)
        best, rows = np.argmax(windows @ solve[0], axis=1), np.arange(len(spectra))
        variances = np.lib.stride_tricks.sliding_window_view(noise.variance[:, band], width, axis=1)
        covariance = np.einsum("ik,nk,jk->nij", solve, np.maximum(variances[rows, best], noise.one_event), solve)
        a, b, c = (windows[rows, best] @ solve.T).T
        return _Parabola(a, b, c, covariance, band[best + width // 2], reach=width / 2)


class PeakHeight(_Peak):
    """The height of the highest peak in a band, from a parabola through its top.

    Where the top is no maximum (flat, or at the end of the band) the smoothed value there is returned. Taking the
    highest of many noisy places biases the value upwards by a fraction of its standard deviation.
    """

    kind = "peak_height"

    def unit(self, spectrum_unit: str, axis_unit: str) -> str:
        """Return the unit of the spectrum."""
        return spectrum_unit

    def evaluate(self, spectra: Array, noise: Noise, axis: Axis) -> tuple[Array, Array]:
        """Return heights and variances."""
        top = self._fit(spectra, noise, axis)
        b = np.where(top.peaked, top.b, 0.0)
        variance = top.variance(np.ones_like(b), -b / (2 * top.bend), b**2 / (4 * top.bend**2))
        return top.a - b**2 / (4 * top.bend), variance


class PeakEnergy(_Peak):
    """The place on the axis of the highest peak in a band, from a parabola through its top.

    The uncertainty never exceeds that of knowing nothing, band width / sqrt(12) (uniform distribution), and is
    that where the top is no maximum. It does not know that noise also chose the window: with a window much narrower
    than the peak the scatter is up to a third larger.
    """

    kind = "peak_energy"

    def unit(self, spectrum_unit: str, axis_unit: str) -> str:
        """Return the unit of the axis."""
        return axis_unit

    def evaluate(self, spectra: Array, noise: Noise, axis: Axis) -> tuple[Array, Array]:
        """Return positions and variances."""
        top = self._fit(spectra, noise, axis)
        ignorance = channels(self.config.band, axis).size ** 2 / 12.0
        spread = top.variance(np.zeros_like(top.b), -1 / (2 * top.bend), top.b / (2 * top.bend**2))
        variance = np.where(top.peaked, np.minimum(spread, ignorance), ignorance)
        place = top.centre + np.where(top.peaked, -top.b / (2 * top.bend), 0.0)
        return np.asarray(axis.offset + axis.scale * place), np.asarray(axis.scale**2 * variance)


class BandRatio(SpectrumScalarizer):
    """The ratio of the sums of two bands; overlapping bands are propagated with their correlation."""

    kind = "band_ratio"
    undefined = "the band below the fraction line holds no counts, so the ratio is undefined"

    class Config(SpectrumScalarizer.Config):
        """Options of `BandRatio`."""

        numerator: Band
        """Band above the fraction line."""
        denominator: Band
        """Band below the fraction line."""
        pseudocounts: NonNegativeFloat = 0.0
        """Added to both sums: keeps the ratio defined, and drawn to 1, where there are hardly any counts."""

    config: Config

    def unit(self, spectrum_unit: str, axis_unit: str) -> str:
        """Return no unit."""
        return ""

    def evaluate(self, spectra: Array, noise: Noise, axis: Axis) -> tuple[Array, Array]:
        """Return ratios and variances; NaN where the denominator is not positive."""
        above, below = np.zeros(axis.size), np.zeros(axis.size)
        above[channels(self.config.numerator, axis)] = 1.0
        below[channels(self.config.denominator, axis)] = 1.0
        bottom = spectra @ below + self.config.pseudocounts
        bottom = np.where(bottom > 0, bottom, np.nan)
        ratio = (spectra @ above + self.config.pseudocounts) / bottom
        jacobian = (above[None] - ratio[:, None] * below[None]) / bottom[:, None]
        return ratio, noise.propagate(jacobian)


class CentreOfMass(SpectrumScalarizer):
    """The centre of mass of a band on the axis: follows shifts of a line far smaller than a channel."""

    kind = "centre_of_mass"
    undefined = "the band holds no counts, so its centre is undefined"

    class Config(SpectrumScalarizer.Config):
        """Options of `CentreOfMass`."""

        band: Band | None = None
        """Channels that are weighed; absent: the whole axis."""

    config: Config

    def unit(self, spectrum_unit: str, axis_unit: str) -> str:
        """Return the unit of the axis."""
        return axis_unit

    def evaluate(self, spectra: Array, noise: Noise, axis: Axis) -> tuple[Array, Array]:
        """Return centres and variances; NaN where the band's sum is not positive."""
        inside = np.zeros(axis.size)
        inside[channels(self.config.band, axis)] = 1.0
        total = spectra @ inside
        total = np.where(total > 0, total, np.nan)
        place = axis.values()
        centre = spectra @ (inside * place) / total
        return centre, noise.propagate(inside * (place[None] - centre[:, None]) / total[:, None])


class Edge(SpectrumScalarizer):
    """The counts of a core-loss edge above a power-law background extrapolated from before it.

    The background ``A E^-r`` (Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011),
    sec. 4.4.1) is a straight line in log-log. It is found by least squares of the logarithms, each channel weighted
    with the inverse variance of its logarithm, and iterated with the fitted counts as weights, which converges to
    the maximum-likelihood estimate for counts (McCullagh & Nelder, Generalized Linear Models, 2nd ed. (1989),
    sec. 2.5): the plain fit is biased, and fails outright on empty channels, where counts are few.

    At that maximum ``d(ln A, -r) / dc_k = I^-1 x_k`` with ``x_k = (1, ln E_k)`` and the information
    ``I = sum_k m_k x_k x_k^T`` (``m``: fitted counts); both the noise of the edge and that of the extrapolated
    background enter the uncertainty.
    """

    kind = "edge"
    undefined = "the background cannot be extrapolated from this spectrum"

    class Config(SpectrumScalarizer.Config):
        """Options of `Edge`."""

        background: Band
        """Window before the edge in which the power law is fitted, e.g. ``[800 eV, 925 eV]``."""
        band: Band
        """Window from the onset on that is integrated, e.g. ``[931 eV, 1010 eV]``."""

        @model_validator(mode="after")
        def _before(self) -> Self:
            end, start = self.background[1], self.band[0]
            if convert(end.value, end.unit, start.unit) > start.value:
                raise ValueError(f"the background must end ({end}) before the edge's band starts ({start})")
            return self

    config: Config

    def unit(self, spectrum_unit: str, axis_unit: str) -> str:
        """Return the unit of the spectrum."""
        return spectrum_unit

    def evaluate(self, spectra: Array, noise: Noise, axis: Axis) -> tuple[Array, Array]:
        """Return net counts and variances."""
        before, edge = channels(self.config.background, axis), channels(self.config.band, axis)
        before = before[~np.isin(before, edge)]
        energy = axis.values()
        if before.size < 3 or energy[before].min() <= 0:
            raise FrameRejected(
                "the background window needs three or more channels of positive energy", value=int(before.size)
            )
        x = np.log(energy / energy[before].mean())
        level, slope, information = _power_law(spectra[:, before], x[before])
        extrapolated = np.exp(np.minimum(level[:, None] + slope[:, None] * x[edge], 700.0))
        jacobian = np.zeros_like(spectra)
        jacobian[:, edge] = 1.0
        gradient = np.stack([extrapolated.sum(axis=1), extrapolated @ x[edge]], axis=1)
        direction = _solve(information, gradient)
        jacobian[:, before] = -(direction[:, :1] + direction[:, 1:] * x[before])
        return spectra[:, edge].sum(axis=1) - extrapolated.sum(axis=1), noise.propagate(jacobian)


def _power_law(counts: Array, x: Array) -> tuple[Array, Array, Array]:
    """Return ln level (n,), slope (n,) and information (n, 2, 2) of ``exp(level + slope x)`` fitted to counts (n, m).

    A spectrum without positive counts gets the level -inf and an infinite information: background 0, known exactly.
    """
    empty = counts.sum(axis=1) <= 0
    safe = np.where(empty[:, None], 1.0, counts)
    weight = np.maximum(safe, 0.0)
    floor = 0.1 * np.maximum(safe.mean(axis=1, keepdims=True), 1e-300)
    x_powers = np.stack([np.ones_like(x), x])
    products = np.einsum("ik,jk->kij", x_powers, x_powers)
    score = (weight * np.log(np.maximum(safe, floor))) @ x_powers.T
    beta = _solve(np.einsum("nk,kij->nij", weight, products), score)
    for _ in range(FIT_STEPS):
        fitted = np.exp(np.clip(beta @ x_powers, -300.0, 300.0))
        information = np.einsum("nk,kij->nij", fitted, products)
        step = _solve(information, (safe - fitted) @ x_powers.T)
        beta = beta + step / np.maximum(1.0, np.abs(step).max(axis=1, keepdims=True) / 5.0)
    information[empty] = np.inf
    return np.where(empty, -np.inf, beta[:, 0]), np.where(empty, 0.0, beta[:, 1]), information


def _solve(matrices: Array, vectors: Array) -> Array:
    """Return the solutions (n, 2) of symmetric 2x2 systems (n, 2, 2); zero where a system is singular or infinite."""
    a, b, d = matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 1]
    determinant = a * d - b * b
    usable = np.isfinite(determinant) & (determinant > 1e-12 * a * d)
    inverse = np.where(usable, 1.0 / np.where(usable, determinant, 1.0), 0.0)
    first = np.where(usable, d * vectors[:, 0] - b * vectors[:, 1], 0.0)
    second = np.where(usable, a * vectors[:, 1] - b * vectors[:, 0], 0.0)
    return np.stack([first * inverse, second * inverse], axis=1)
