"""What the overview image says about each of its pixels: patches, their principal components, local jets, place."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from autoscope.errors import DataError

Array = NDArray[np.float64]

JET_SCALES_PX = (1.0, 2.0, 4.0)


def patches(image: Array, size_px: int) -> Array:
    """Return the patch around every pixel, shape (height * width, size_px, size_px), row by row.

    The image continues beyond its edges by reflection. The patch of an even size reaches one pixel further up and
    left than down and right.

    Examples
    --------
    >>> patches(np.arange(12.0).reshape(3, 4), 3)[5].tolist()
    [[0.0, 1.0, 2.0], [4.0, 5.0, 6.0], [8.0, 9.0, 10.0]]
    """
    before, after = size_px // 2, (size_px - 1) // 2
    padded = np.pad(_checked(image), ((before, after), (before, after)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size_px, size_px))
    return np.ascontiguousarray(windows).reshape(-1, size_px, size_px)


def principal_components(rows: Array, count: int) -> Array:
    """Return scores of the leading principal components of ``rows`` (n, d), shape (n, min(count, d, n)).

    Divided by the spread of the first, so that later components keep their relative weight.
    """
    from sklearn.decomposition import PCA

    count = min(count, *rows.shape)
    if not rows.std(axis=0).any():
        return np.zeros((len(rows), count))
    model = PCA(n_components=count, svd_solver="covariance_eigh")
    scores = np.asarray(model.fit_transform(rows), dtype=np.float64)
    return scores / _spread(scores[:, :1])


def jets(image: Array, scales_px: tuple[float, ...] = JET_SCALES_PX) -> Array:
    """Return rotation-invariant Gaussian-derivative features of every pixel, shape (height * width, 4 * scales).

    At each scale: intensity, gradient magnitude, Laplacian, and the difference of the principal curvatures; a
    complete set of second-order invariants but one (Florack et al. 1994; ter Haar Romeny 2003, chapter 6).
    Standardised over the image.
    """
    image = _checked(image)
    columns: list[Array] = []
    for scale in scales_px:
        order = {o: ndimage.gaussian_filter(image, scale, order=o, mode="mirror") for o in _ORDERS}
        columns += [
            order[0, 0],
            np.hypot(order[0, 1], order[1, 0]),
            order[0, 2] + order[2, 0],
            np.hypot(order[0, 2] - order[2, 0], 2.0 * order[1, 1]),
        ]
    return standardised(np.stack([c.ravel() for c in columns], axis=1))


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
        (height * width, d) float64.
    components, jets, place : tuple of int
        Columns of patch components, of jets, and of coordinates.
    """

    values: Array
    components: tuple[int, ...]
    jets: tuple[int, ...]
    place: tuple[int, ...]


def describe(image: Array, patch_px: int, components: int) -> FeatureTable:
    """Return components of patches, jets and coordinates of every pixel of an image (height, width).

    Deterministic: the same image gives the same table.

    Raises
    ------
    DataError
        Not a two-dimensional image, or not finite.
    """
    image = _checked(image)
    level = standardised(image.reshape(-1, 1)).reshape(image.shape)  # contrast and offset are the detector's, not ours
    scores = principal_components(patches(level, patch_px).reshape(image.size, -1), components)
    blocks = [scores, jets(level), coordinates(*image.shape)]
    ends = np.cumsum([0, *(b.shape[1] for b in blocks)])
    spans = [tuple(range(int(a), int(b))) for a, b in itertools.pairwise(ends)]
    return FeatureTable(np.concatenate(blocks, axis=1), *spans)


def describe_place(height_px: int, width_px: int) -> FeatureTable:
    """Return coordinates alone: what is known of every pixel without an image."""
    return FeatureTable(coordinates(height_px, width_px), (), (), (0, 1))


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
