"""Detectors: electrons are counted with Poisson noise, amplified, read out with noise, and saturate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from environments.instruments.simulated.config import DetectorConfig

Image = NDArray[np.float32]

BLOCK_PX = 32768
FEW = 8.0
"""Means below this are drawn exactly; above it the expansion is closer than 8e-4 in total variation."""


def count_spectrum(mean: NDArray[np.float64], rng: np.random.Generator, dtype: type[np.unsignedinteger]) -> NDArray:  # type: ignore[type-arg]
    """Return exact Poisson counts of the given mean, any shape; the counter stops at its largest value."""
    counts = rng.poisson(mean)
    return np.minimum(counts, np.iinfo(dtype).max).astype(dtype)


def count_electrons(mean: Image, rng: np.random.Generator) -> Image:
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


def _expand(mean: Image, rng: np.random.Generator) -> Image:
    # kappa3 / kappa2 = kappa4 / kappa2 = 1 to within 1 / (12 mean); the polynomial in z is written as Horner's scheme
    z = rng.standard_normal(mean.shape, dtype=np.float32)
    sigma = np.sqrt(mean - np.float32(1.0 / 12.0))
    cubic = np.float32(1.0 / 72.0) / sigma
    counts = z * cubic
    np.subtract(np.float32(1.0 / 6.0), counts, out=counts)
    counts *= z
    counts += sigma
    counts += cubic
    counts *= z
    counts += mean
    counts -= np.float32(1.0 / 6.0)
    np.rint(counts, out=counts)
    whole: Image = np.maximum(counts, np.float32(0.0), out=counts)
    return whole


def read_out(electrons: Image, config: DetectorConfig, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return what an image detector gives for a number of electrons at each pixel: same shape, uint16."""
    signal = electrons * np.float32(config.gain)
    signal += np.float32(config.offset)
    if config.readout > 0.0:
        noise = rng.standard_normal(signal.shape, dtype=np.float32)
        noise *= np.float32(config.readout)
        signal += noise
    np.rint(signal, out=signal)
    top = np.float32(2**config.bits - 1)
    return np.clip(signal, np.float32(0.0), top, out=signal).astype(np.uint16)


def read_mean(
    mean: NDArray[np.float64], reads: float, config: DetectorConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the mean of so many readings of an image detector, same shape, float32.

    Parameters
    ----------
    mean : ndarray
        Electrons expected in one reading.
    reads : float
        Readings averaged; fewer than one is part of one, with the noise of one readout.
    """
    counted = rng.poisson(mean * reads) / reads
    signal = counted * config.gain + config.offset
    if config.readout > 0.0:
        signal += rng.standard_normal(mean.shape) * config.readout / np.sqrt(max(reads, 1.0))
    return np.clip(signal, 0.0, 2.0**config.bits - 1.0).astype(np.float32)


def detect(mean: Image, config: DetectorConfig, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return the image (h, w) a detector gives where ``mean`` electrons are expected in each pixel."""
    image = np.empty(mean.shape, dtype=np.uint16)
    step = max(1, BLOCK_PX // mean.shape[1])
    for top in range(0, mean.shape[0], step):  # blocks that stay in the processor's cache: half the time
        rows = slice(top, top + step)
        image[rows] = read_out(count_electrons(mean[rows], rng), config, rng)
    return image
