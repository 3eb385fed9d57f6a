"""Defocus and both astigmatisms from two images of one field, by making each as blurred as the other.

Blurring commutes. With a Gaussian probe ``h_i`` (Fourier amplitude ``exp(-|D_i k|^2 / 2)`` in the units of
`autoscope.perception.aberrations`) and one specimen, ``h_2 * image_1 = h_1 * image_2`` up to noise, for the true
aberrations only. The images are filtered *before* a window cuts them, so nothing that the window spreads disturbs
the comparison: edges, grain and whatever else the specimen holds drop out, phases included. Only the ratio of the
amplitudes matters; its logarithm ``Delta`` is linear in the offset of defocus and stigmators. Filters whose squares
sum to one,

    residual = sin(phi) image_1 - cos(phi) image_2,      tan(phi) = exp(-Delta),

leave white noise white (total least squares; Golub and Van Loan, SIAM J. Numer. Anal. 17 (1980) 883). Each cell of the
Fourier plane counts by the specimen's share of its power, since noise says nothing, and less where its residual is
above the noise. A displacement between the images is found with the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from scipy.signal.windows import blackman
from skimage.registration import phase_cross_correlation

from autoscope.errors import FrameRejected
from autoscope.perception.aberrations import NOISE_ABOVE, Aberrations, cells

Array = NDArray[np.float64]
Spectrum = NDArray[np.complex128]

MODES_PER_SAMPLE = 0.15
"""Independent samples of the power spectrum for each computed one: the window spreads each over its neighbours."""
NOISE_FREEDOM = 4.0
"""Samples that the noise of a cell is worth, as told by the corners of the Fourier plane, against its own residual."""
CHANCE = 3.0
"""Standard deviations by which noise may exceed its mean: what is below says nothing of the specimen."""
SHIFT_STD_PX = 5.0
"""Standard deviation of a displacement beyond the one found by cross correlation."""
INFLATION = 1.5
"""True over calculated standard deviation, about, in simulated alignments with development seeds."""
SYSTEMATIC = 0.005
"""Standard deviation that remains, over half the distance of the settings: the true probe is not quite Gaussian."""
STEPS = 12
"""Most Gauss-Newton steps."""
STILL = 5e-3
"""The fit ends when a step moves every aberration by less than this part of its prior."""
STRIDE = 0.5
"""Longest step, in standard deviations of the prior."""


@dataclass(frozen=True)
class _Point:
    offset_m: Array
    shift_px: Array


class _Pair:
    """Two images of one field in Fourier space, with all that does not change during the fit."""

    def __init__(self, images: tuple[Array, Array], settings_m: Array, pixel_m: float, convergence_rad: float) -> None:
        self.shape = images[0].shape
        window = np.outer(*(blackman(size, sym=False) for size in self.shape))
        self._window = window / np.sqrt(np.square(window).mean())
        mean = 0.5 * sum(float((image * window).sum() / window.sum()) for image in images)
        self.first, self.second = (np.asarray(scipy.fft.rfft2(image - mean)) for image in images)
        self.ky, self.kx = scipy.fft.fftfreq(self.shape[0])[:, None], scipy.fft.rfftfreq(self.shape[1])[None]
        squared = self.kx**2 + self.ky**2
        half = np.broadcast_to(self.kx > 0.0, squared.shape)  # the other half of the plane repeats this one
        grid = cells(*self.shape)
        index = grid.index[:, : squared.shape[1]]
        self._used = half & (index < len(grid.kx))
        self._index = index[self._used]
        self._size = np.maximum(np.bincount(self._index, minlength=len(grid.kx)), 1)
        corners = half & (squared > NOISE_ABOVE**2)
        powers = [float(np.square(np.abs(self._through(f)[corners])).mean()) for f in (self.first, self.second)]
        self.noise = max(min(powers), 1e-300)
        self._set_slopes(settings_m, math.pi * convergence_rad / pixel_m)

    def _set_slopes(self, settings_m: Array, unit: float) -> None:
        """Keep ``Delta = slopes . offset + constant``, the logarithm of first over second amplitude."""
        x, y = self.kx * unit, self.ky * unit
        round_, straight, diagonal = x**2 + y**2, x**2 - y**2, 2.0 * x * y
        f, a, b = settings_m[1] - settings_m[0]
        self._slopes = (
            f * round_ + a * straight + b * diagonal,
            a * round_ + f * straight,
            b * round_ + f * diagonal,
        )
        (f0, a0, b0), (f1, a1, b1) = settings_m
        self._constant = 0.5 * (f1**2 + a1**2 + b1**2 - f0**2 - a0**2 - b0**2) * round_
        self._constant = self._constant + (f1 * a1 - f0 * a0) * straight + (f1 * b1 - f0 * b0) * diagonal

    def _through(self, spectrum: Spectrum) -> Spectrum:
        """Return the spectrum of what the window lets through."""
        return np.asarray(scipy.fft.rfft2(self._window * scipy.fft.irfft2(spectrum, s=self.shape)))

    def _mean(self, power: Array) -> Array:
        return np.bincount(self._index, power, minlength=len(self._size)) / self._size

    def linearised(self, point: _Point) -> tuple[Spectrum, Spectrum, Array]:
        """Return residuals (n,), their derivatives by offset and shift (n, 5), and the weights of these (n,)."""
        delta = sum(o * slope for o, slope in zip(point.offset_m, self._slopes, strict=True)) + self._constant
        delta = np.clip(delta, -80.0, 80.0)
        sine, cosine = 1.0 / np.sqrt(1.0 + np.exp(2.0 * delta)), 1.0 / np.sqrt(1.0 + np.exp(-2.0 * delta))
        dy, dx = point.shift_px
        moved = self.second * np.exp(2j * np.pi * (self.ky * dy + self.kx * dx))
        specimen = cosine * self.first + sine * moved
        residual = self._through(sine * self.first - cosine * moved)[self._used]
        by_delta = -sine * cosine * specimen
        changes = [by_delta * slope for slope in self._slopes]
        changes += [-2j * np.pi * k * cosine * moved for k in (self.ky, self.kx)]
        derivatives = np.stack([self._through(change)[self._used] for change in changes], axis=1)
        return residual, derivatives, self._weights(residual, self._through(specimen)[self._used])

    def _weights(self, residual: Spectrum, specimen: Spectrum) -> Array:
        modes = np.maximum(self._size * MODES_PER_SAMPLE, 0.5)
        power = np.maximum(self._mean(np.square(np.abs(specimen))), 1e-300)
        share = np.maximum(power - self.noise * (1.0 + CHANCE / np.sqrt(modes)), 0.0) / power
        share = share**2  # once for the derivative, which holds noise itself, and once for what is unsure of the share
        seen = (modes * self._mean(np.square(np.abs(residual))) + NOISE_FREEDOM * self.noise) / (modes + NOISE_FREEDOM)
        return np.asarray((2.0 * MODES_PER_SAMPLE * share / np.maximum(seen, self.noise))[self._index])

    def misfit(self, residual: Spectrum) -> float:
        """Return the root-mean-square residual over the noise."""
        return math.sqrt(float(np.square(np.abs(residual)).mean()) / self.noise)


def estimate_pair(
    images: tuple[ArrayLike, ArrayLike],
    settings_m: Sequence[Sequence[float]],
    pixel_m: float,
    convergence_rad: float,
    centre_m: Sequence[float],
    prior_std_m: Sequence[float],
    start_m: Sequence[float] | None = None,
) -> Aberrations:
    """Return the offset of defocus and stigmators that makes two images of one field tell of one specimen.

    Parameters
    ----------
    images : two arrays (h, w)
        Of one field, at different settings.
    settings_m : 2 sequences of 3 floats
        Defocus and the two stigmators of each.
    pixel_m, convergence_rad : float
        Size of a pixel; convergence semi-angle.
    centre_m, prior_std_m : sequence of 3 floats
        Where the offset is expected, and within what.
    start_m : sequence of 3 floats, optional
        Where the fit begins: the centre, if nothing better is known.

    Raises
    ------
    FrameRejected
        Not two finite images of one shape, 32 pixels or more a side.
    """
    first, second = (np.asarray(image, dtype=np.float64) for image in images)
    if first.shape != second.shape or first.ndim != 2 or min(first.shape) < 32:
        raise FrameRejected("a focus pair needs two images of one shape", value=(first.shape, second.shape), limit=32)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise FrameRejected("a focus pair needs finite images", value=first.shape)
    settings = np.asarray(settings_m, dtype=np.float64)
    pair = _Pair((first, second), settings, pixel_m, convergence_rad)
    scale = np.append(np.asarray(prior_std_m, dtype=np.float64), [SHIFT_STD_PX] * 2)
    found = _displacement(first, second)
    centre = np.append(np.asarray(centre_m, dtype=np.float64), found)
    at = centre if start_m is None else np.append(np.asarray(start_m, dtype=np.float64), found)
    at, hessian, misfit = _fitted(pair, at, centre, scale)
    inverse = np.asarray(np.linalg.inv(hessian))[:3, :3] * np.outer(scale[:3], scale[:3])
    half_m = 0.5 * math.dist(settings[0], settings[1])
    covariance = INFLATION**2 * inverse + (SYSTEMATIC * half_m) ** 2 * np.eye(3)
    return Aberrations(at[:3], covariance, 1.0, misfit)


def _displacement(first: Array, second: Array) -> Array:
    """Return by how many pixels (y, x) to move the phase of the second image's spectrum onto the first."""
    window = np.outer(*(blackman(size, sym=False) for size in first.shape))
    spectra = [scipy.fft.fft2(window * (i - (i * window).sum() / window.sum())) for i in (first, second)]
    if not all(np.abs(spectrum).max() > 0.0 for spectrum in spectra):
        return np.zeros(2)
    register: Callable[..., Any] = phase_cross_correlation
    shift, _, _ = register(*spectra, space="fourier", normalization=None)
    return -np.asarray(shift, dtype=np.float64)


def _fitted(pair: _Pair, at: Array, centre: Array, scale: Array) -> tuple[Array, Array, float]:
    """Return the fit, its Hessian in units of the prior, and the misfit there."""
    for _ in range(STEPS):
        residual, derivatives, weight = pair.linearised(_Point(at[:3], at[3:]))
        scaled = derivatives * scale
        hessian = ((scaled.conj() * weight[:, None]).T @ scaled).real + np.eye(len(scale))
        pull = -((scaled.conj() * weight[:, None]).T @ residual).real + (centre - at) / scale
        step = np.linalg.solve(hessian, pull)
        longest = float(np.abs(step).max())
        at = at + scale * step * min(1.0, STRIDE / max(longest, 1e-300))
        if longest < STILL:
            break
    return at, hessian, pair.misfit(residual)
