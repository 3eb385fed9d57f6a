"""Particles in an image: found on slowly varying, torn and noisy supports, down to a pixel or two in radius."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from scipy import ndimage
from skimage.segmentation import watershed

from autoscope.config import ConfigModel
from autoscope.errors import FrameRejected
from autoscope.perception.bands import convert
from autoscope.perception.image_noise import noise_line
from autoscope.quantities import PositiveLength
from autoscope.records import Frame, Value

Image = NDArray[np.float32]
Labels = NDArray[np.int32]

FEATURE_NAMES = ("radius_m", "mean_contrast", "peak_contrast", "snr", "eccentricity")

CLASSES = 8
"""Brightness classes in which the spread of the support is estimated."""
FOOT_SNR = 2.0
"""A particle may reach down to this many noise levels, and never below half its own height."""

Z_8, Z_30 = 1.4050715603096329, 0.5244005127080407
"""Standard deviations below the mean of the 8th and the 30th percentile of a normal distribution."""
DEEPEST = 5.0
"""Noise levels by which an opening, which follows the lowest places, may lie below a bare support."""
DIP_SNR = 4.0
"""A saddle less than this many noise levels below a summit may be noise."""


class Region(Value):
    """One particle: where it is, how large, how bright.

    Positions are offsets of its centroid from the centre of the frame along the columns (x) and rows (y) of the array,
    in the convention of `autoscope.records`; those of a rotated scan are in the rotated frame.
    """

    x_m: float
    y_m: float
    area_m2: PositiveFloat
    """Area above half the particle's height in the smoothed image."""
    radius_m: PositiveFloat
    """Radius of the circle of that area."""
    mean_contrast: float
    """Mean height above the support over that area, in the unit of the image."""
    peak_contrast: float
    """Height above the support of the smoothed image at its highest place."""
    snr: NonNegativeFloat
    """Peak contrast over the noise of the smoothed image at the brightness of the support."""
    eccentricity: float = Field(ge=0.0, le=1.0)
    """0: circle, towards 1: needle."""

    def features(self) -> tuple[float, ...]:
        """Return what a model may learn from, in the order of `FEATURE_NAMES`; the position is not in it."""
        return tuple(float(getattr(self, name)) for name in FEATURE_NAMES)


class ParticleConfig(ConfigModel):
    """What counts as a particle."""

    min_radius_m: PositiveLength = 2e-9
    """Smallest radius looked for; the image is smoothed with 0.7 of it (at least 0.8 pixels)."""
    max_radius_m: PositiveLength = 30e-9
    """Largest radius; whatever is wider in both directions belongs to the support."""
    min_snr: PositiveFloat = 5.0
    """Peak contrast over noise below which nothing is reported. 5 leaves less than one false particle in a
    512 x 512 image of pure noise."""
    min_relative_dip: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Two summits are two particles if the saddle between them lies deeper, relative to the lower summit, than this
    (and by four noise levels)."""
    max_eccentricity: float = Field(default=0.98, gt=0.0, le=1.0)
    """What is longer than this (0.98: five to one) is a fold or a rim of the support, not a particle."""
    polarity: Literal["bright", "dark"] = "bright"
    """Whether particles are brighter (dark field) or darker (bright field) than the support."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_radius_m <= self.min_radius_m:
            raise ValueError("max_radius must be larger than min_radius")
        return self


def find_particles(frame: Frame, config: ParticleConfig | None = None) -> tuple[Region, ...]:
    """Return the particles of an image, brightest contrast first.

    The image is smoothed to the smallest particle, and its morphological opening with a square wider than the largest
    is taken as the support: gradients, holes and their edges pass an opening unchanged (Serra, Image Analysis and
    Mathematical Morphology (1982), ch. X). What stands out is compared with the spread of all places whose support
    is about as bright, so that Poisson noise, which grows with brightness, is judged where it occurs. Summits above
    ``min_snr`` seed a watershed; summits without a real dip between them are one particle (topological persistence,
    Edelsbrunner, Letscher & Zomorodian, Discrete Comput. Geom. 28 (2002) 511).

    Raises
    ------
    FrameRejected
        Not an image with square pixels in a unit of length, smaller than the largest particle, or not finite.
    """
    wanted = config or ParticleConfig()
    pixel_m = pixel_size_m(frame)
    raw: Image = np.asarray(frame.data, dtype=np.float32)
    reach_px = math.ceil(wanted.max_radius_m / pixel_m)
    if min(raw.shape) <= 2 * reach_px + 1 or not np.isfinite(raw).all():
        raise FrameRejected(
            "an image must be finite and larger than the largest particle",
            where=frame.meta.signal,
            value=raw.shape,
            limit=f"> {2 * reach_px + 1} px",
            remedy="Lower max_radius, or take a larger field",
        )
    image = raw if wanted.polarity == "bright" else -raw
    sigma_px = max(0.8, 0.7 * wanted.min_radius_m / pixel_m)
    smooth = ndimage.gaussian_filter(image, sigma_px, truncate=3.0)
    line, power = noise_line(image), 1.0 / (4.0 * math.pi * sigma_px**2)
    scaled = line.stabilised(smooth, power)
    support = _opened(scaled, reach_px)
    offset, noise = _support_noise(scaled - support, support)
    support += offset
    significance = (scaled - support) / noise
    support = line.restored(support, power)
    dips = DIP_SNR * np.sqrt(power * line.variance(smooth))
    labels = _segment(significance, smooth - support, dips, wanted)
    significance -= _ground(significance, labels, reach_px)
    return _measure(labels, image - support, smooth - support, significance, pixel_m, wanted)


def pixel_size_m(frame: Frame) -> float:
    """Return the pixel size of an image in metres.

    Raises
    ------
    FrameRejected
        Not two axes, not square, or not in a unit of length.
    """
    axes = frame.meta.axes
    try:
        y_m, x_m = (abs(convert(axis.scale, axis.unit, "m")) for axis in axes)
    except ValueError as error:
        raise FrameRejected(
            f"is not an image with axes in a unit of length: {error}", where=frame.meta.signal
        ) from error
    if abs(x_m - y_m) > 0.01 * x_m or x_m == 0.0:
        raise FrameRejected("pixels are not square", where=frame.meta.signal, value=(y_m, x_m), limit="1 %")
    return x_m


def _opened(image: Image, reach_px: int) -> Image:
    """Return the opening by a square of ``2 reach_px + 1``, on an image that goes on beyond its border as it ends."""
    size, edge = 2 * reach_px + 1, 2 * reach_px
    wide = ndimage.grey_opening(np.pad(image, edge, mode="edge"), size=(size, size))
    return np.asarray(wide[edge:-edge, edge:-edge])


def _support_noise(rise: Image, support: Image) -> tuple[Image, Image]:
    """Return the typical height above the opening and its spread at each place, from places about as bright.

    Both are near those of white noise where the support is smooth, and larger where it has a texture of its own. They
    are taken from the 8th and the 30th percentile, as if normal: particles may cover half of the places.
    """
    floor, above = support[1::3, 1::3].ravel(), rise[1::3, 1::3].ravel()
    order = np.argsort(floor)
    size = max(len(order) // CLASSES, 1)
    groups = order[: len(order) // size * size].reshape(-1, size)
    low, upper = np.percentile(above[groups], (8.0, 30.0), axis=1)
    scale = np.maximum((upper - low) / (Z_8 - Z_30), 1.0)
    scale = np.minimum(scale, 2.0 * np.median(scale))  # more is a crowd of particles
    middle = np.minimum(upper + Z_30 * scale, DEEPEST * scale)
    brightness = floor[groups].mean(axis=1)
    flat = support.ravel()
    offset = np.interp(flat, brightness, middle).astype(np.float32)
    spread = np.interp(flat, brightness, scale).astype(np.float32)
    return offset.reshape(support.shape), spread.reshape(support.shape)


def _segment(significance: Image, height: Image, dips: NDArray[Any], config: ParticleConfig) -> Labels:
    """Return labels (h, w), 0 where there is no particle."""
    mask = significance > FOOT_SNR
    summits = significance > config.min_snr
    summits[summits] = _is_summit(height, *np.nonzero(summits))
    seeds, count = ndimage.label(summits, structure=np.ones((3, 3)))
    if count == 0:
        return np.zeros(height.shape, np.int32)
    basins: Labels = watershed(-height, seeds, mask=mask)  # type: ignore[no-untyped-call]
    peaks, depth = np.zeros(count + 1), np.zeros(count + 1)
    np.maximum.at(peaks, seeds[summits], height[summits])
    np.maximum.at(depth, seeds[summits], dips[summits])
    merged = _merge(peaks, np.maximum(config.min_relative_dip * peaks, depth), *_saddles(basins, height))
    labels = merged[basins]
    tops = np.zeros_like(peaks)
    np.maximum.at(tops, merged, peaks)
    labels[height < 0.5 * tops[labels]] = 0
    return np.asarray(labels, dtype=np.int32)


def _is_summit(height: Image, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which of the places are as high as all their eight neighbours."""
    wide, here = np.pad(height, 1, mode="edge"), height[i, j]
    around = [(a, b) for a in range(3) for b in range(3) if (a, b) != (1, 1)]
    return np.asarray(np.all([wide[i + a, j + b] <= here for a, b in around], axis=0))


def _ground(significance: Image, labels: Labels, reach_px: int) -> NDArray[np.float64]:
    """Return the mean significance of what is no particle around each place: a slope up to a hole raises it."""
    free = (labels == 0).astype(np.float32)
    low = np.clip(significance, -5.0, 5.0) * free
    near, share = (ndimage.uniform_filter(values, size=2 * (reach_px // 2) + 1) for values in (low, free))
    return np.asarray(near / np.maximum(share, 0.1))


def _saddles(basins: Labels, height: Image) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return touching pairs of basins (m, 2), and the height of the highest pass between them (m,)."""
    flat, level, width = basins.ravel(), height.ravel(), basins.shape[1]
    inside = np.flatnonzero(flat)
    pairs, passes = [], []
    for step, usable in ((1, inside % width < width - 1), (width, inside < flat.size - width)):
        here = inside[usable]
        border = here[(flat[here + step] != flat[here]) & (flat[here + step] > 0)]
        pairs.append(np.sort(np.stack([flat[border], flat[border + step]], axis=1), axis=1))
        passes.append(np.minimum(level[border], level[border + step]))
    keys, where = np.unique(np.concatenate(pairs), axis=0, return_inverse=True)
    highest = np.full(len(keys), -np.inf)
    np.maximum.at(highest, where.ravel(), np.concatenate(passes))
    return keys.astype(np.intp), highest


def _merge(
    peaks: NDArray[Any], depth: NDArray[Any], pairs: NDArray[np.intp], passes: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Return for each basin the one it belongs to: from the highest pass down, basins without a dip are joined."""
    parent = np.arange(len(peaks))

    def root(k: int) -> int:
        while parent[k] != k:
            k = int(parent[k])
        return k

    for m in np.argsort(-passes, kind="stable"):
        low, high = sorted((root(int(pairs[m, 0])), root(int(pairs[m, 1]))), key=lambda k: float(peaks[k]))
        if low != high and peaks[low] - passes[m] < depth[low]:
            parent[low] = high
    return np.array([root(k) for k in range(len(peaks))])


def _measure(
    labels: Labels, net: Image, height: Image, significance: Image, pixel_m: float, config: ParticleConfig
) -> tuple[Region, ...]:
    """Return the regions of a label image that are neither too small nor too large."""
    i, j = np.nonzero(labels)
    _, label = np.unique(labels[i, j], return_inverse=True)
    area = np.bincount(label).astype(np.float64)
    weight = np.maximum(height[i, j], 1e-30).astype(np.float64)

    def mean(values: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(label, values * weights) / np.bincount(label, weights)

    y, x = mean(i, weight), mean(j, weight)
    one = np.ones_like(weight)
    centre_i, centre_j = mean(i, one)[label], mean(j, one)[label]
    xx, yy = (
        mean((j - centre_j) ** 2, one) + 1 / 12,
        mean((i - centre_i) ** 2, one) + 1 / 12,
    )  # 1/12: a pixel is a square
    xy = mean((i - centre_i) * (j - centre_j), one)
    half_sum, half_difference = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    eccentricity = np.sqrt(2 * half_difference / (half_sum + half_difference))
    peak, snr = (np.zeros(len(area)) for _ in range(2))
    np.maximum.at(peak, label, height[i, j])
    np.maximum.at(snr, label, significance[i, j])
    contrast, radius_m = mean(net[i, j], one), np.sqrt(area / np.pi) * pixel_m
    rows, columns = labels.shape
    fitting = (radius_m >= 0.5 * config.min_radius_m) & (radius_m <= 1.2 * config.max_radius_m)
    fitting &= (snr >= config.min_snr) & (eccentricity <= config.max_eccentricity)
    return tuple(
        Region(
            x_m=float((x[k] + 0.5 - columns / 2) * pixel_m),
            y_m=float((y[k] + 0.5 - rows / 2) * pixel_m),
            area_m2=float(area[k] * pixel_m**2),
            radius_m=float(radius_m[k]),
            mean_contrast=float(contrast[k]),
            peak_contrast=float(peak[k]),
            snr=float(snr[k]),
            eccentricity=float(min(eccentricity[k], 1.0)),
        )
        for k in np.argsort(-peak, kind="stable")
        if fitting[k]
    )
