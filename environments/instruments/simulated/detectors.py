"""Detectors: electrons are counted with Poisson noise, amplified, read out with noise, and saturate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from environments.instruments.simulated.config import DetectorConfig

FEW = 8.0
"""Means below this are drawn exactly; above it the expansion is closer than 4e-4 in total variation."""


def count_spectrum(mean: NDArray[np.float64], rng: np.random.Generator, dtype: type[np.unsignedinteger]) -> NDArray:  # type: ignore[type-arg]
    """Return exact Poisson counts of the given mean, any shape; the counter stops at its largest value."""
    counts = rng.poisson(mean)
    return np.minimum(counts, np.iinfo(dtype).max).astype(dtype)


def count_electrons(mean: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return Poisson numbers of electrons for an image of means, same shape.

    Small means are drawn exactly. For the others a normal number ``z`` is bent by the Cornish-Fisher expansion
    to third order (Cornish and Fisher, Rev. Inst. Int. Stat. 5 (1938) 307), with Sheppard's correction of
    ``1/12`` to the variance for rounding: several times faster, and the difference cannot be seen in an image.
    """
    few = mean < FEW
    if few.all():
        return rng.poisson(mean).astype(np.float32)
    counts = _expand(np.maximum(mean, np.float32(FEW)), rng)
    if few.any():
        counts[few] = rng.poisson(mean[few])
    return counts


def _expand(mean: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    z = rng.standard_normal(mean.shape, dtype=np.float32)
    variance = mean - np.float32(1.0 / 12.0)
    sigma = np.sqrt(variance)
    skew = mean / variance
    z2 = z * z
    cubic = (skew / np.float32(24.0) * (z2 - 3.0) - skew * skew / np.float32(36.0) * (2.0 * z2 - 5.0)) * z / sigma
    counts = mean + sigma * z + skew / np.float32(6.0) * (z2 - 1.0) + cubic
    whole: NDArray[np.float32] = np.maximum(np.rint(counts), np.float32(0.0))
    return whole


def read_out(electrons: NDArray[np.float32], config: DetectorConfig, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return what an image detector gives for a number of electrons at each pixel: same shape, uint16."""
    signal = electrons * np.float32(config.gain) + np.float32(config.offset)
    if config.readout > 0.0:
        signal += np.float32(config.readout) * rng.standard_normal(signal.shape, dtype=np.float32)
    top = np.float32(2**config.bits - 1)
    return np.clip(np.rint(signal, out=signal), np.float32(0.0), top, out=signal).astype(np.uint16)
