"""From numbers to colours that colour-blind eyes can tell apart, after matplotlib's perceptually uniform maps."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

VALUE, SPREAD, WORTH, IMAGE = "cividis", "viridis", "magma", "gray"
"""Which map shows what: measured or expected values, uncertainties, acquisition values, images."""
STORED = (VALUE, SPREAD, WORTH)
"""The maps in ``colour_maps.npy``, (3, 256, 3)."""
NEXT = (255, 95, 0)
"""Vermilion: the place that comes next; in none of the maps, and told from them by every kind of colour blindness."""
OUTLIERS = 1.0
"""Per cent at either end of an image that may be darker than black and brighter than white."""


@functools.cache
def table(name: str) -> Bytes:
    """Return the 256 colours of a map, (256, 3); matplotlib's, kept in a file because importing it takes long."""
    if name == IMAGE:
        return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    stored: Bytes = np.load(Path(__file__).with_name("colour_maps.npy"), allow_pickle=False)
    return np.asarray(stored[STORED.index(name)])


def limits(values: NDArray[np.float64], outliers: float = 0.0) -> tuple[float, float]:
    """Return between which values a map runs; the same twice are set apart, no finite value gives (0, 1)."""
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(known, [outliers, 100.0 - outliers]))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def coloured(
    values: NDArray[np.float64], name: str, low: float, high: float, background: tuple[int, int, int]
) -> Bytes:
    """Return the colours of values, (..., 3); where there is none, the background.

    Examples
    --------
    >>> coloured(np.array([0.0, np.nan]), "gray", 0.0, 1.0, (1, 2, 3)).tolist()
    [[0, 0, 0], [1, 2, 3]]
    """
    known = np.isfinite(values)
    share = np.where(known, (values - low) / (high - low), 0.0)
    index = (np.clip(share, 0.0, 1.0) * 255).astype(np.uint8)
    return np.where(known[..., None], table(name)[index], np.array(background, dtype=np.uint8))


def dimmed(colours: Bytes, towards: tuple[int, int, int], share: float) -> Bytes:
    """Return colours drawn towards another by a share from 0 to 1."""
    mixed = colours * (1.0 - share) + np.array(towards) * share
    return np.asarray(np.rint(mixed), dtype=np.uint8)
