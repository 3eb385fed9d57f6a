"""The noise of an image from the image itself: how the variance grows with brightness, and a scale where it does not.

Detected electrons are Poisson distributed and digitised with unknown gain and offset, so the variance of a pixel is a
line in its mean, ``var = intercept + gain * mean`` (Foi et al., IEEE Trans. Image Process. 17 (2008) 1737).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

BLOCK_PX = 16
"""Side of the blocks in which mean and variance are taken."""
STEPS = 25
"""Reweighting steps of the regression."""
NOISELESS = 1e-5
"""Noise is taken to be at least this part of the range of an image, so that one without any has a scale too."""
LOW_QUANTILE = 0.3
LOW_BIAS = 1.0 - 0.5244 * math.sqrt(2.0 * (35.0 / 18.0) ** 2) / BLOCK_PX
"""Where that percentile of a block's variance lies for pure noise: 0.5244 standard deviations low. The variance of n
second differences, correlated as they are (squared correlations add up to 35/18 in each direction), has the relative
variance ``2 (35/18)^2 / n``."""


@dataclass(frozen=True)
class NoiseLine:
    """Variance of a pixel as a function of its mean: ``intercept + gain * mean``."""

    intercept: float
    gain: float

    def variance(self, mean: NDArray[Any]) -> NDArray[Any]:
        """Return the variance at a mean, never below the one of a single event."""
        return np.asarray(np.maximum(self.intercept + self.gain * mean, 0.25 * self.gain**2))

    def stabilised(self, smooth: Image, power: float) -> Image:
        """Return a smoothed image on a scale where its noise has unit standard deviation everywhere.

        A kernel of squared sum ``power`` leaves ``power`` times the pixel variance, as if counting with the gain
        ``gain * power``; the scale is Anscombe's (Biometrika 35 (1948) 246) for that gain and offset.
        It grows with brightness, so a morphological opening may be taken before or after it.
        """
        step = self.gain * power
        if step == 0.0:
            return np.asarray(smooth / np.float32(np.sqrt(max(self.intercept * power, 1e-30))))
        events = (smooth + np.float32(self.intercept / self.gain)) * np.float32(1 / step) + np.float32(0.375)
        return np.asarray(2.0 * np.sqrt(np.maximum(events, 0.0, out=events), out=events))

    def restored(self, stabilised: Image, power: float) -> Image:
        """Return the brightness of a value on the stabilised scale."""
        step = self.gain * power
        if step == 0.0:
            return np.asarray(stabilised * np.float32(np.sqrt(max(self.intercept * power, 1e-30))))
        shift = self.intercept / self.gain
        return np.asarray((np.square(stabilised) * 0.25 - 0.375) * np.float32(step) - np.float32(shift))


def noise_line(image: Image) -> NoiseLine:
    """Return the noise line of an image (h, w) of at least 18 x 18 pixels.

    Noise is what is left of the image by a second difference in both directions, whose squared weights add up to 36
    (Immerkaer, Comput. Vis. Image Underst. 64 (1996) 300). The line is the regression of the 30th percentile of the
    variances of blocks on their means (Koenker & Bassett, Econometrica 46 (1978) 33), so that blocks with edges and
    particles do not count. Blocks without any variance are black or white beyond what was digitised, and count neither.
    An image of one brightness only cannot tell slope from intercept; there the line passes through the origin, or is
    level if the image is not positive.
    """
    rows = image[:-2] - 2 * image[1:-1] + image[2:]
    second = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    means, variances = _block_means(image[1:-1, 1:-1]), _block_means(second * second) / (36.0 * LOW_BIAS)
    least = max((NOISELESS * float(np.ptp(image))) ** 2, 1e-20)
    alive = variances > 0.0
    if not alive.any():
        return NoiseLine(least, 0.0)
    means, variances = means[alive], variances[alive]
    typical = max(float(np.quantile(variances, LOW_QUANTILE)), least)
    spread = float(np.percentile(means, 95) - np.percentile(means, 5))
    if spread > max(0.2 * abs(float(np.median(means))), 10.0 * math.sqrt(typical) / BLOCK_PX):  # 3.3 is noise alone
        intercept, gain = _quantile_line(means, variances, typical)
        if gain > 0:
            return NoiseLine(intercept, gain)
    if means.min() > 0:
        return NoiseLine(0.0, max(float(np.quantile(variances / means, LOW_QUANTILE)), least / float(means.max())))
    return NoiseLine(typical, 0.0)


def _quantile_line(x: NDArray[np.float64], y: NDArray[np.float64], typical: float) -> tuple[float, float]:
    """Return intercept and slope of the low-quantile line, residuals relative to it, by reweighted least squares."""
    powers = np.stack([np.ones_like(x), x], axis=1)
    line = np.array([0.0, typical / max(abs(float(np.median(x))), 1e-20)])
    for _ in range(STEPS):
        fitted = powers @ line
        size = np.maximum(fitted, 0.05 * typical * np.abs(x) / max(float(np.abs(x).max()), 1e-20) + 1e-6 * typical)
        residual = (y - fitted) / size
        weight = np.where(residual > 0, LOW_QUANTILE, 1.0 - LOW_QUANTILE) / np.maximum(np.abs(residual), 0.02) / size**2
        line = np.linalg.lstsq(powers * np.sqrt(weight)[:, None], y * np.sqrt(weight), rcond=None)[0]
    return float(line[0]), float(line[1])


def _block_means(image: Image) -> NDArray[np.float64]:
    """Return the means of all complete blocks."""
    height, width = (size // BLOCK_PX for size in image.shape)
    blocks = image[: height * BLOCK_PX, : width * BLOCK_PX].reshape(height, BLOCK_PX, width, BLOCK_PX)
    return np.asarray(blocks.mean(axis=(1, 3)).ravel().astype(np.float64))
