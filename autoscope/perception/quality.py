"""How good an image is, from itself alone."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.signal.windows import hann

from autoscope.errors import FrameRejected
from autoscope.fitness import QualityConfig
from autoscope.perception.regions import pixel_size_m
from autoscope.perception.sharpness import sharpness
from autoscope.records import Frame

Array = NDArray[np.float64]

SMALLEST_PX = 64
"""Smallest side of an image that is judged: its halves need rings with enough samples."""
AGREED = 1.0 / 7.0
"""Correlation down to which two halves are taken to show the same structure (Rosenthal & Henderson, J. Mol. Biol. 333
(2003) 721)."""
BEST_SNR = 1e6


def assess(frame: Frame) -> dict[str, float]:
    """Return the metrics of an image, or nothing for what is none or too small.

    ``sharpness`` in (cycles/pixel)^2, see `autoscope.perception.sharpness.sharpness`; ``resolution_m``, see
    `ring_correlation`; ``contrast_snr``, see there.
    """
    if not is_image(frame):
        return {}
    data = np.asarray(frame.data, dtype=np.float64)
    if not np.isfinite(data).all() or float(np.ptp(data)) == 0.0:
        return {}
    frequency, correlation = ring_correlation(data)
    return {
        "sharpness": sharpness(data),
        "resolution_m": pixel_size_m(frame) / cut_off(frequency, correlation),
        "contrast_snr": contrast_snr(data),
    }


def is_image(frame: Frame) -> bool:
    """Return whether a frame is an image with axes in metres, large enough to be judged."""
    axes = frame.meta.axes
    return len(axes) == 2 and all(axis.unit == "m" and axis.size >= SMALLEST_PX for axis in axes)


def require(frame: Frame, metrics: dict[str, float], config: QualityConfig) -> None:
    """Return if an image reaches what is asked of it.

    Raises
    ------
    FrameRejected
        It does not.
    """
    limits = (
        ("contrast_snr", config.min_contrast_snr, 1.0),
        ("sharpness", config.min_sharpness, 1.0),
        ("resolution_m", config.max_resolution_m, -1.0),
    )
    for name, limit, sign in limits:
        if limit is not None and name in metrics and sign * metrics[name] < sign * limit:
            raise FrameRejected(
                f"has too poor a {name.removesuffix('_m').replace('_', ' ')}",
                where=f"frame {frame.meta.signal}",
                value=metrics[name],
                limit=limit,
                remedy="Record it again; check focus, dwell and beam current",
            )


def ring_correlation(image: Array) -> tuple[Array, Array]:
    """Return frequencies (cycles/pixel of the image) and the correlation of its interleaved halves on rings.

    Every second pixel in both directions makes one half, its diagonal neighbour the other; the half pixel between them
    is taken off as a phase. Both diagonals are averaged (one-image Fourier ring correlation; Koho et al., Nat. Commun.
    10 (2019) 3103). Halves have half the sampling, so nothing finer than four pixels is told.
    """
    rows, columns = (size // 2 * 2 for size in image.shape)
    even = image[:rows, :columns]
    pairs = [
        (even[0::2, 0::2], even[1::2, 1::2], 0.5),
        (even[0::2, 1::2], even[1::2, 0::2], -0.5),
    ]
    shape = pairs[0][0].shape
    window = np.outer(hann(shape[0], sym=False), hann(shape[1], sym=False))
    k_y, k_x = np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None]
    ring = np.rint(np.hypot(k_y, k_x) * min(shape)).astype(np.intp).ravel()
    cross, first, second = (np.zeros(int(ring.max()) + 1) for _ in range(3))
    for one, other, along_x in pairs:
        a, b = (scipy.fft.fft2((half - half.mean()) * window) for half in (one, other))
        # the other half was sampled half a (coarse) pixel further: what is there appears at smaller coordinates
        b = b * np.exp(-2j * np.pi * (0.5 * k_y + along_x * k_x))
        for total, values in ((cross, (a * b.conj()).real), (first, np.abs(a) ** 2), (second, np.abs(b) ** 2)):
            total += np.bincount(ring, values.ravel(), minlength=len(total))
    used = np.arange(1, min(shape) // 2 + 1)
    correlation = cross[used] / np.maximum(np.sqrt(first[used] * second[used]), 1e-300)
    return used / min(shape) / 2.0, correlation


def cut_off(frequency: Array, correlation: Array) -> float:
    """Return the frequency at which the correlation, smoothed over three rings, first falls below `AGREED`."""
    smooth = np.convolve(np.pad(correlation, 1, mode="edge"), np.ones(3) / 3.0, mode="valid")
    below = np.flatnonzero(smooth < AGREED)
    return float(frequency[below[0]] if len(below) else frequency[-1])


def contrast_snr(image: Array) -> float:
    """Return the variance of the structure in a pixel over that of its noise; what is finer than two pixels is noise.

    From the correlation ``r`` of two interleaved halves, each the sum of two pixels: ``r / (1 - r)`` is that of a half
    (Frank & Al-Ali, Nature 256 (1975) 376), and twice that of a pixel.
    """
    rows, columns = (size // 2 * 2 for size in image.shape)
    even = image[:rows, :columns]
    one = even[0::2, 0::2] + even[1::2, 1::2]
    other = even[0::2, 1::2] + even[1::2, 0::2]
    r = float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
    return min(0.5 * r / max(1.0 - r, 1e-12), BEST_SNR) if r > 0.0 else 0.0
