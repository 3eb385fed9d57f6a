"""What peers see of a candidate: its place, its neighbourhood in the overview, or components of that."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.pixels import Indices

Array = NDArray[np.float64]
COMPONENTS = 10


def places(shape: tuple[int, int], pixels: Indices) -> Array:
    """Return row and column of pixels scaled to the unit square, (m, 2).

    Examples
    --------
    >>> places((2, 3), np.array([0, 5])).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    rows, columns = np.divmod(pixels, shape[1])
    return np.column_stack([rows / max(shape[0] - 1, 1), columns / max(shape[1] - 1, 1)])


def patches(image: Array, pixels: Indices, side_px: int) -> Array:
    """Return flattened square patches around pixels, (m, side_px**2), the image scaled to 0..1 and mirrored at edges.

    Examples
    --------
    >>> patches(np.arange(9.0).reshape(3, 3), np.array([4]), 1).tolist()
    [[0.5]]
    """
    scaled = (image - image.min()) / (float(np.ptp(image)) or 1.0)
    half = side_px // 2
    padded = np.pad(scaled, half, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * half + 1, 2 * half + 1))
    rows, columns = np.divmod(pixels, image.shape[1])
    return np.ascontiguousarray(windows[rows, columns].reshape(len(pixels), -1))


def components(rows: Array, most: int = COMPONENTS) -> Array:
    """Return the first principal components of rows (m, d), each scaled to 0..1, (m, at most ``most``)."""
    from sklearn.decomposition import PCA

    if not np.ptp(rows, axis=0).any():
        return np.zeros((len(rows), min(most, *rows.shape)))
    found = np.asarray(PCA(min(most, *rows.shape), random_state=0).fit_transform(rows), dtype=np.float64)
    span = np.ptp(found, axis=0)
    return np.asarray((found - found.min(axis=0)) / np.where(span > 0, span, 1.0))
