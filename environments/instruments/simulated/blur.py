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


def blur(image: Array, probe: Probe, defocus_m: Array, pixel_matrix_m: Array) -> Image:
    """Return an image convolved with the probe.

    Parameters
    ----------
    image : array, shape (h, w)
        What an infinitely sharp probe would give; mirrored beyond its edges.
    probe : Probe
        The probe-forming setting.
    defocus_m : array, shape (1, 1) or (h, w)
        Effective defocus of each pixel.
    pixel_matrix_m : array, shape (2, 2)
        From pixels (column, row) to metres.
    """
    pixel_m = math.sqrt(abs(float(np.linalg.det(pixel_matrix_m))))
    planes = focal_planes_m(float(defocus_m.min()), float(defocus_m.max()), probe.convergence_rad, pixel_m)
    moments = [pixel_moments(probe, plane, pixel_matrix_m) for plane in planes]
    if max(max(xx, yy) for xx, _, yy in moments) < SHARP_PX**2:
        return image.astype(np.float32)
    stack = convolve(image, moments)
    return stack[0] if len(planes) == 1 else _blend(stack, planes, defocus_m)


def convolve(image: Array, moments: list[tuple[float, float, float]]) -> list[Image]:
    """Return the image convolved with normalised Gaussians of given second moments, one image each.

    The product is taken in Fourier space, where a Gaussian of covariance ``S`` is ``exp(-2 pi^2 k S k)``.
    """
    height, width = image.shape
    widest_px = math.sqrt(max(max(xx, yy) for xx, _, yy in moments))
    margin = [min(math.ceil(4.0 * widest_px), n) for n in image.shape]
    sizes = [scipy.fft.next_fast_len(n + 2 * m, real=True) for n, m in zip(image.shape, margin, strict=True)]
    widths = [(m, size - n - m) for n, m, size in zip(image.shape, margin, sizes, strict=True)]
    padded = np.pad(image.astype(np.float32), widths, mode="symmetric")
    spectrum = scipy.fft.rfft2(padded)
    ky = scipy.fft.fftfreq(sizes[0]).astype(np.float32)[:, None]
    kx = scipy.fft.rfftfreq(sizes[1]).astype(np.float32)[None, :]
    out: list[Image] = []
    for xx, xy, yy in moments:
        transfer = np.exp(np.float32(-2.0 * math.pi**2) * (xx * kx**2 + 2.0 * xy * kx * ky + yy * ky**2))
        full = scipy.fft.irfft2(spectrum * transfer, s=padded.shape)
        out.append(full[margin[0] : margin[0] + height, margin[1] : margin[1] + width])
    return out


def _blend(stack: list[Image], planes: Array, defocus_m: Array) -> Image:
    level = ((defocus_m - planes[0]) / (planes[1] - planes[0])).astype(np.float32)
    out = np.zeros_like(stack[0])
    for number, image in enumerate(stack):
        out += image * np.maximum(1.0 - np.abs(level - np.float32(number)), np.float32(0.0))
    return out
