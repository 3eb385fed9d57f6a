"""Images as a finite probe sees them: convolution with a Gaussian of any orientation, varying with height."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from environments.instruments.simulated.optics import Probe

Array = NDArray[np.float64]
Image = NDArray[np.float32]

SHARP_PX = 0.1
"""A probe narrower than this (sigma) leaves a sampled image as it is."""
LEVEL_PX = 0.5
"""Images are blurred for focal planes whose sigma differs by no more than this, and blended between them."""
MOST_LEVELS = 9


def pixel_moments(probe: Probe, defocus_m: float, pixel_matrix_m: Array) -> tuple[float, float, float]:
    """Return the probe's second moments along columns, mixed, and along rows, in pixels squared."""
    inverse = np.linalg.inv(pixel_matrix_m)
    moments = inverse @ probe.covariance_m2(defocus_m) @ inverse.T
    return float(moments[0, 0]), float(moments[0, 1]), float(moments[1, 1])


def focal_planes_m(low_m: float, high_m: float, convergence_rad: float, pixel_m: float) -> Array:
    """Return the defoci at which an image is blurred, (k,), to cover heights between two effective defoci."""
    spread_px = (high_m - low_m) * convergence_rad / 2.0 / pixel_m
    if spread_px < LEVEL_PX / 2.0:
        return np.array([(low_m + high_m) / 2.0])
    return np.linspace(low_m, high_m, min(2 + int(spread_px / LEVEL_PX), MOST_LEVELS))


class Blur:
    """The convolution of images of one field with the probe, blended between focal planes where heights differ.

    In Fourier space a normalised Gaussian of covariance ``S`` is ``exp(-2 pi^2 k S k)``.

    Parameters
    ----------
    probe : Probe
        The probe-forming setting.
    defocus_m : array, shape (1, 1) or (h, w)
        Effective defocus of each pixel.
    pixel_matrix_m : array, shape (2, 2)
        From pixels (column, row) to metres.
    shape : tuple of int
        Height and width of the images.
    """

    def __init__(self, probe: Probe, defocus_m: Array, pixel_matrix_m: Array, shape: tuple[int, int]) -> None:
        if probe.is_round:
            defocus_m = np.abs(defocus_m)  # above and below focus look alike: fewer planes are needed
        pixel_m = math.sqrt(abs(float(np.linalg.det(pixel_matrix_m))))
        planes = focal_planes_m(float(defocus_m.min()), float(defocus_m.max()), probe.convergence_rad, pixel_m)
        moments = [pixel_moments(probe, plane, pixel_matrix_m) for plane in planes]
        widest_px = math.sqrt(max(max(xx, yy) for xx, _, yy in moments))
        self.sharp = widest_px < SHARP_PX
        if self.sharp:
            return
        self._margin = [min(math.ceil(4.0 * widest_px), n) for n in shape]
        self._size = [scipy.fft.next_fast_len(n + 2 * m, real=True) for n, m in zip(shape, self._margin, strict=True)]
        self._transfers = [self._transfer(*m) for m in moments]
        self._weights = _weights(planes, defocus_m)

    def __call__(self, image: Array) -> Image:
        """Return the blurred image (h, w); beyond its edges the field is taken to be its mirror image."""
        if self.sharp:
            return image.astype(np.float32)
        lead, size = self._margin, self._size
        widths = [(m, s - n - m) for n, m, s in zip(image.shape, lead, size, strict=True)]
        spectrum = scipy.fft.rfft2(np.pad(image.astype(np.float32), widths, mode="symmetric"))
        out = np.zeros(image.shape, dtype=np.float32)
        for transfer, weight in zip(self._transfers, self._weights, strict=True):
            full = scipy.fft.irfft2(spectrum * transfer, s=size)
            out += full[lead[0] : lead[0] + image.shape[0], lead[1] : lead[1] + image.shape[1]] * weight
        return out

    def _transfer(self, xx: float, xy: float, yy: float) -> Image:
        ky = scipy.fft.fftfreq(self._size[0]).astype(np.float32)[:, None]
        kx = scipy.fft.rfftfreq(self._size[1]).astype(np.float32)[None, :]
        exponent: Image = xx * kx**2 + yy * ky**2
        if xy:
            exponent += 2.0 * xy * ky * kx
        exponent *= np.float32(-2.0 * math.pi**2)
        return np.exp(exponent, out=exponent)


def _weights(planes: Array, defocus_m: Array) -> list[Image]:
    """Return the part of each focal plane in each pixel: linear between neighbouring planes, one in all."""
    if len(planes) == 1:
        return [np.ones((1, 1), dtype=np.float32)]
    level = ((defocus_m - planes[0]) / (planes[1] - planes[0])).astype(np.float32)
    return [np.maximum(1.0 - np.abs(level - np.float32(k)), np.float32(0.0)) for k in range(len(planes))]
