"""What the overview image says about each of its pixels: patches, their principal components, local jets, place.

Images of any size pass in bounded memory: patches are cut a block at a time, and only the table is kept, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.linalg import eigh

from autoscope.errors import DataError
from autoscope.surrogates.rings import ring_filters
from autoscope.surrogates.threads import one_thread

Array = NDArray[np.float64]
Float32 = NDArray[np.float32]
Indices = NDArray[np.int64]
Rows = Callable[[Indices], Array]
"""Descriptions (k, d) of the pixels asked for by flat index (k,)."""

JET_SCALES_PX = (1.0, 2.0, 4.0)
SAMPLED_PATCHES = 20_000
"""Principal axes are found from so many patches at most, spread over the image."""
BLOCK_BYTES = 4 << 20
"""Patches are cut in blocks of about this size."""
GOLDEN_RATIO = 0.5 * (1.0 + 5.0**0.5)


def patches(image: Array, size_px: int, pixels: Indices | None = None) -> Array:
    """Return the patch around every pixel, or around those asked for, shape (pixels, size_px, size_px), row by row.

    The image continues beyond its edges by reflection. The patch of an even size reaches one pixel further up and
    left than down and right.

    Parameters
    ----------
    image : array
        (height, width).
    size_px : int
        Side of a patch.
    pixels : array of int64, optional
        Flat indices, row by row.

    Examples
    --------
    >>> patches(np.arange(12.0).reshape(3, 4), 3)[5].tolist()
    [[0.0, 1.0, 2.0], [4.0, 5.0, 6.0], [8.0, 9.0, 10.0]]
    """
    every = np.arange(image.size) if pixels is None else pixels
    return _cutter(_checked(image), size_px)(every).reshape(-1, size_px, size_px)


def principal_components(rows: Array, count: int) -> Array:
    """Return scores of the leading principal components of ``rows`` (n, d), shape (n, min(count, d, n)).

    Divided by the spread of the first, so that later components keep their relative weight. Of the two possible
    signs of a component, that in which its largest loading is positive.
    """
    return _scores(rows.__getitem__, len(rows), rows.shape[1], count, len(rows)).astype(np.float64)


def jets(image: Array, scales_px: tuple[float, ...] = JET_SCALES_PX) -> Array:
    """Return rotation-invariant Gaussian-derivative features of every pixel, shape (height * width, 4 * scales).

    At each scale: intensity, gradient magnitude, Laplacian, and the difference of the principal curvatures; a
    complete set of second-order invariants but one (Florack et al. 1994; ter Haar Romeny 2003, chapter 6).
    Standardised over the image.
    """
    return np.stack(list(_jet_columns(_checked(image), scales_px)), axis=1)


def _jet_columns(image: Array, scales_px: tuple[float, ...]) -> Iterator[Array]:
    for scale in scales_px:
        order = {o: ndimage.gaussian_filter(image, scale, order=o, mode="mirror") for o in _ORDERS}
        yield standardised(order[0, 0].ravel())
        yield standardised(np.hypot(order[0, 1], order[1, 0]).ravel())
        yield standardised((order[0, 2] + order[2, 0]).ravel())
        yield standardised(np.hypot(order[0, 2] - order[2, 0], 2.0 * order[1, 1]).ravel())


_ORDERS = ((0, 0), (0, 1), (1, 0), (0, 2), (2, 0), (1, 1))


def coordinates(height_px: int, width_px: int) -> Array:
    """Return (x, y) of every pixel centre, shape (height * width, 2), scaled by one factor to about unit spread.

    Examples
    --------
    >>> coordinates(1, 2).round(3).tolist()
    [[-0.866, 0.0], [0.866, 0.0]]
    """
    rows, columns = np.mgrid[:height_px, :width_px]
    centred = np.stack([columns.ravel() - (width_px - 1) / 2, rows.ravel() - (height_px - 1) / 2], axis=1)
    return np.asarray(centred * np.sqrt(12.0) / max(height_px, width_px))


def standardised(columns: Array) -> Array:
    """Return columns with zero mean and unit spread; a constant column becomes zero."""
    centred = columns - columns.mean(axis=0)
    return np.asarray(centred / _spread(centred))


@dataclass(frozen=True)
class FeatureTable:
    """Features of every pixel, row by row, and which columns are what.

    Attributes
    ----------
    values : array
        (height * width, d) float32.
    components, jets, place, encoder : tuple of int
        Columns of patch components, of jets, of coordinates, and of a learnt encoder.
    """

    values: Float32
    components: tuple[int, ...]
    jets: tuple[int, ...]
    place: tuple[int, ...]
    encoder: tuple[int, ...] = ()


def describe(
    image: Array,
    patch_px: int,
    components: int,
    *,
    rotation_invariant: bool = False,
    encoded: NDArray[np.floating] | None = None,
) -> FeatureTable:
    """Return components of patches, jets and coordinates of every pixel of an image (height, width).

    Deterministic: the same image gives the same table.

    Parameters
    ----------
    image : array
        (height, width), any unit.
    patch_px : int
        Side of the patch that describes a pixel.
    components : int
        Principal components of patches to keep.
    rotation_invariant : bool
        Describe a patch by the strength of each angular order on rings around its centre (`rings.ring_filters`)
        before the components are taken, so that structures turned in the plane look alike. An even ``patch_px`` is
        then widened by one.
    encoded : array, optional
        (height * width, k) further columns, e.g. of `encoder.encode`; taken as they are.

    Raises
    ------
    DataError
        Not a two-dimensional image, or not finite, or ``encoded`` does not belong to it.
    """
    image = _checked(image)
    if encoded is not None and (encoded.ndim != 2 or len(encoded) != image.size):
        raise DataError("learnt columns do not belong to this image", value=encoded.shape, limit=(image.size, "k"))
    level = standardised(image.reshape(-1, 1)).reshape(image.shape)  # contrast and offset are the detector's, not ours
    with one_thread():
        scores = _patch_scores(level, patch_px, components, rotation_invariant)
    widths = (scores.shape[1], 4 * len(JET_SCALES_PX), 2, 0 if encoded is None else encoded.shape[1])
    ends = np.cumsum(widths).tolist()
    spans = [tuple(range(end - width, end)) for end, width in zip(ends, widths, strict=True)]
    values = np.empty((image.size, ends[-1]), dtype=np.float32)
    values[:, : ends[0]] = scores
    for column, jet in zip(spans[1], _jet_columns(level, JET_SCALES_PX), strict=True):
        values[:, column] = jet
    values[:, ends[1] : ends[2]] = coordinates(*image.shape)
    if encoded is not None:
        values[:, ends[2] :] = encoded
    return FeatureTable(values, *spans)


def describe_place(height_px: int, width_px: int) -> FeatureTable:
    """Return coordinates alone: what is known of every pixel without an image."""
    return FeatureTable(coordinates(height_px, width_px).astype(np.float32), (), (), (0, 1))


def _patch_scores(level: Array, patch_px: int, components: int, rotation_invariant: bool) -> Float32:
    if not rotation_invariant:
        return _scores(_cutter(level, patch_px), level.size, patch_px**2, components, SAMPLED_PATCHES)
    size_px = patch_px + 1 - patch_px % 2
    cut, filters = _cutter(level, size_px), ring_filters(size_px)

    def ring_strengths(pixels: Indices) -> Array:
        return filters.strengths(cut(pixels))

    # axes from every pixel: a sample would hold other pixels in the turned image, and so turn the axes
    return _scores(ring_strengths, level.size, filters.count, components, level.size)


def _scores(rows: Rows, count: int, width: int, components: int, sampled: int) -> Float32:
    """Return principal-component scores of all ``count`` rows, axes taken from at most ``sampled`` of them."""
    mean, covariance = _moments(rows, _spread_out(count, sampled), width)
    components = min(components, width, count)
    scores = np.zeros((count, components), dtype=np.float32)
    if components == 0 or not np.diagonal(covariance).any():
        return scores
    axes = eigh(covariance, subset_by_index=(width - components, width - 1))[1][:, ::-1]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(components)] < 0.0, -1.0, 1.0)
    for block in _blocks(np.arange(count), width):
        scores[block[0] : block[-1] + 1] = (rows(block) - mean) @ axes
    first = scores[:, 0].astype(np.float64)
    scores -= scores.mean(axis=0, dtype=np.float64).astype(np.float32)
    scores /= np.float32(_spread(first))
    return scores


def _moments(rows: Rows, sample: Indices, width: int) -> tuple[Array, Array]:
    """Return mean (d,) and covariance (d, d) of the sampled rows, gathered block by block."""
    origin = rows(sample[:1])[0]  # sums are taken from near the data, so that a large offset costs no digits
    total, square = np.zeros(width), np.zeros((width, width))
    for block in _blocks(sample, width):
        near = rows(block) - origin
        total += near.sum(axis=0)
        square += near.T @ near
    shift = total / len(sample)
    return origin + shift, square / len(sample) - np.outer(shift, shift)


def _spread_out(count: int, sampled: int) -> Indices:
    """Return at most ``sampled`` of ``count`` indices, evenly spread but in step with no lattice in the image."""
    if count <= sampled:
        return np.arange(count)
    return np.asarray(np.floor(np.arange(sampled) * GOLDEN_RATIO % 1.0 * count), dtype=np.int64)


def _blocks(pixels: Indices, width: int) -> list[Indices]:
    step = max(1, BLOCK_BYTES // (8 * max(width, 1)))
    return [pixels[start : start + step] for start in range(0, len(pixels), step)]


def _cutter(image: Array, size_px: int) -> Rows:
    before, after = size_px // 2, (size_px - 1) // 2
    padded = np.pad(image, ((before, after), (before, after)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size_px, size_px))
    width = image.shape[1]
    return lambda pixels: windows[pixels // width, pixels % width].reshape(len(pixels), -1)


def _spread(columns: Array) -> Array:
    spread = columns.std(axis=0)
    return np.asarray(np.where(spread > 1e-12 * max(float(np.abs(columns).max(initial=0.0)), 1e-300), spread, 1.0))


def _checked(image: Array) -> Array:
    if image.ndim != 2 or image.size == 0:
        raise DataError("an overview must be a two-dimensional image", value=image.shape)
    image = np.asarray(image, dtype=np.float64)
    if not np.isfinite(image).all():
        raise DataError("the overview has pixels that are not finite", value=int((~np.isfinite(image)).sum()))
    return image
