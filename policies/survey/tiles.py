"""The tiles of an area and the order in which they are seen first."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from policies.survey.config import AreaConfig, TileConfig


def tile_centres_m(area: AreaConfig, tile: TileConfig) -> NDArray[np.float64]:
    """Return the stage positions of all tiles in serpentine order, (n, 2) float64, metres.

    The tiles cover the area; neighbours share at least ``tile.overlap`` of their width.
    """
    xs, ys = (_centres_m(low, high, tile) for low, high in (area.x_m, area.y_m))
    rows = [[(x, y) for x in (xs if k % 2 == 0 else xs[::-1])] for k, y in enumerate(ys)]
    return np.array([point for row in rows for point in row], dtype=np.float64)


def core_m(area: AreaConfig, tile: TileConfig) -> tuple[float, float]:
    """Return width and height of the part of a tile that no neighbour's core shares.

    A particle in an overlap is then found in one tile only.
    """
    return tuple(  # type: ignore[return-value]
        (high - low) / _count(low, high, tile) for low, high in (area.x_m, area.y_m)
    )


def _count(low: float, high: float, tile: TileConfig) -> int:
    return max(1, math.ceil(round((high - low) / (tile.fov_m * (1 - tile.overlap)), 9)))


def _centres_m(low: float, high: float, tile: TileConfig) -> NDArray[np.float64]:
    n = _count(low, high, tile)
    centres: NDArray[np.float64] = low + (np.arange(n) + 0.5) * (high - low) / n
    return centres
