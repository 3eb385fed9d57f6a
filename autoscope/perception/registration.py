"""How far an image has moved since a reference: drift, from two frames of the same field."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from scipy import ndimage
from scipy.signal.windows import tukey

from autoscope.errors import FrameRejected
from autoscope.perception.regions import pixel_size_m
from autoscope.records import Frame, Value

Array = NDArray[np.float64]
Spectrum = NDArray[np.complex128]

TAPER = 0.3
"""Part of the width over which the window falls to zero, both sides together."""
NOISE_ABOVE = 0.5
"""Frequencies (cycles/pixel) beyond this, the corners of the Fourier plane, tell the level of white noise."""
MISMATCH = 0.05
"""Part of the signal's power that counts as noise: edges, shading and distortion differ however many electrons."""
REACH_PX = 1.5
"""The sub-pixel search looks this far around the highest pixel."""
SMALLEST_PX = 16
"""Smallest side of an image, or of the overlap of two, that is registered."""


class Shift(Value):
    """Where features of the reference are found in the image: what was at x is now at ``x + dx_m``."""

    dx_m: float
    """Along the columns of the array, in the direction of growing column index."""
    dy_m: float
    """Along the rows, in the direction of growing row index."""
    confidence: float = Field(ge=0.0, le=1.0)
    """1 - (second highest correlation peak) / (highest). Below 0.3: noise, nothing in common, or a lattice that fits
    at several shifts equally well."""


def register(reference: Frame | ArrayLike, image: Frame | ArrayLike, pixel_m: float | None = None) -> Shift:
    """Return the shift from a reference to an image of the same shape.

    Cross-correlation with each frequency weighted for maximum likelihood, ``S / (N^2 + 2 S N)`` for signal power
    ``S`` in noise of power ``N`` (Knapp & Carter, IEEE Trans. Acoust. Speech Signal Process. 24 (1976) 320): where
    the signal is strong this is phase correlation, and where there is none the frequency does not count. A first
    pass finds the whole pixels; a second compares only what both show and refines to a fraction of a pixel on an
    upsampled Fourier transform (Guizar-Sicairos, Thurman & Fienup, Opt. Lett. 33 (2008) 156).

    Parameters
    ----------
    reference, image : Frame or array (h, w)
        Two images of the same field and pixel size.
    pixel_m : float, optional
        Pixel size; needed for arrays, taken from the axes of frames.

    Raises
    ------
    FrameRejected
        Shapes or pixel sizes differ, smaller than 16 pixels, not finite, or without any contrast.
    """
    first, second = _pixels(reference), _pixels(image)
    size_m = _common_pixel_m(reference, image, pixel_m)
    if first.shape != second.shape or first.ndim != 2 or min(first.shape) < SMALLEST_PX:
        raise FrameRejected(
            "images to be registered need one shape, of 16 pixels or more",
            where="registration",
            value=(first.shape, second.shape),
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()) or first.std() == 0.0 or second.std() == 0.0:
        raise FrameRejected("images to be registered must be finite and have contrast", where="registration")
    whole_y, whole_x, confidence = _whole_pixels(_cross_spectrum(first, second))
    rest_y = rest_x = 0.0
    ours, theirs = _overlap(first, second, whole_y, whole_x)
    if min(ours.shape) >= SMALLEST_PX and ours.std() > 0.0 and theirs.std() > 0.0:
        rest_y, rest_x, confidence = _fraction(_cross_spectrum(ours, theirs))
    return Shift(
        dx_m=float((whole_x + rest_x) * size_m), dy_m=float((whole_y + rest_y) * size_m), confidence=confidence
    )


def _pixels(image: Frame | ArrayLike) -> Array:
    return np.asarray(image.data if isinstance(image, Frame) else image, dtype=np.float64)


def _common_pixel_m(reference: Frame | ArrayLike, image: Frame | ArrayLike, pixel_m: float | None) -> float:
    sizes = [pixel_size_m(given) for given in (reference, image) if isinstance(given, Frame)]
    sizes += [pixel_m] if pixel_m is not None else []
    if not sizes:
        raise FrameRejected("arrays need a pixel size to be registered", where="registration", remedy="Give pixel_m")
    if max(sizes) - min(sizes) > 1e-3 * max(sizes):
        raise FrameRejected("images to be registered have different pixel sizes", where="registration", value=sizes)
    return sizes[0]


def _cross_spectrum(reference: Array, image: Array) -> Spectrum:
    """Return the weighted product of both spectra, (h, w) complex; its inverse transform peaks at the shift."""
    window = np.outer(*(tukey(size, TAPER) for size in reference.shape))
    first, second = _spectrum(reference, window), _spectrum(image, window)
    k_y, k_x = (np.fft.fftfreq(size) for size in reference.shape)
    squared = k_y[:, None] ** 2 + k_x[None] ** 2
    power = np.sqrt(_power(first, squared) * _power(second, squared))
    noise = float(power[squared > NOISE_ABOVE**2].mean())
    signal = np.maximum(power - noise, 0.0)
    noise_there = noise + MISMATCH * signal
    weight = signal / (noise_there * (noise_there + 2.0 * signal) + 1e-300)
    weight[squared < (1.5 / max(reference.shape)) ** 2] = 0.0  # brightness and shading, which do not move
    return np.asarray(np.conj(first) * second * weight)


def _power(spectrum: Spectrum, squared: Array) -> Array:
    """Return the power spectrum (h, w) averaged over rings of one frequency."""
    ring = np.rint(np.sqrt(squared) * max(squared.shape)).astype(np.intp).ravel()
    mean = np.bincount(ring, np.square(np.abs(spectrum)).ravel()) / np.maximum(np.bincount(ring), 1)
    return np.asarray(mean[ring].reshape(squared.shape))


def _spectrum(image: Array, window: Array) -> Spectrum:
    return np.asarray(scipy.fft.fft2((image - (image * window).sum() / window.sum()) * window))


def _whole_pixels(product: Spectrum) -> tuple[int, int, float]:
    """Return the shift in whole pixels, between minus and plus half the size, and the confidence."""
    surface = scipy.fft.ifft2(product).real
    i, j = np.unravel_index(int(surface.argmax()), surface.shape)
    height, width = surface.shape
    confidence = _confidence(np.roll(surface, (height // 2 - i, width // 2 - j), axis=(0, 1)))
    return _signed(int(i), height), _signed(int(j), width), confidence


def _signed(index: int, size: int) -> int:
    return index - size if index > size // 2 else index


def _confidence(surface: Array) -> float:
    """Return 1 - second / first for a surface whose peak was rolled to the middle."""
    centre = tuple(size // 2 for size in surface.shape)
    near = tuple(slice(c - 2, c + 3) for c in centre)
    first = float(surface[near].max())
    if first <= 0.0:
        return 0.0
    labels, _ = ndimage.label(surface > 0.5 * first)
    lobe = math.sqrt(np.count_nonzero(labels == labels[centre]) / math.pi) if labels[centre] else 1.0
    y, x = np.ogrid[: surface.shape[0], : surface.shape[1]]
    outside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 > max(4.0, 2.5 * lobe) ** 2
    second = float(surface[outside].max(initial=0.0))
    return float(min(max(1.0 - second / first, 0.0), 1.0))


def _overlap(reference: Array, image: Array, dy: int, dx: int) -> tuple[Array, Array]:
    """Return the part that both images show, if features moved by (dy, dx) pixels."""
    height, width = reference.shape
    rows, columns = slice(max(0, -dy), min(height, height - dy)), slice(max(0, -dx), min(width, width - dx))
    moved = slice(rows.start + dy, rows.stop + dy), slice(columns.start + dx, columns.stop + dx)
    return reference[rows, columns], image[moved]


def _fraction(product: Spectrum) -> tuple[float, float, float]:
    """Return the remaining shift (dy, dx) in pixels, near zero, and the confidence."""
    surface = scipy.fft.fftshift(scipy.fft.ifft2(product).real)
    confidence = _confidence(surface)
    centre = np.zeros(2)
    for half, step in ((REACH_PX, 0.1), (0.1, 0.01)):
        offsets = np.arange(-half, half + step / 2, step)
        fine = _upsampled(product, centre[0] + offsets, centre[1] + offsets)
        i, j = np.unravel_index(int(fine.argmax()), fine.shape)
        centre = centre + np.array([offsets[i], offsets[j]])
    return float(centre[0]), float(centre[1]), confidence


def _upsampled(product: Spectrum, y_px: Array, x_px: Array) -> Array:
    """Return the correlation surface at fractional places, shape (len(y_px), len(x_px))."""
    k_y, k_x = (np.fft.fftfreq(size) for size in product.shape)
    rows: Any = np.exp(2j * math.pi * np.outer(y_px, k_y))
    columns: Any = np.exp(2j * math.pi * np.outer(k_x, x_px))
    return np.asarray((rows @ product @ columns).real)
