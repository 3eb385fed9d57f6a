"""The tiles of one or more areas, and the order in which they are seen first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscope.acquisition.travel import ordered_by_travel
from policies.survey.config import AreaConfig, TileConfig

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tiles:
    """Fields of a survey, numbered in the order in which they are seen where nobody chooses.

    Attributes
    ----------
    centres_m : ndarray
        Stage positions, (n, 2).
    cores_m : ndarray
        Width and height of the part of each tile that no neighbour's core shares, (n, 2): a particle in an overlap is
        then found in one tile only.
    areas : ndarray
        Number of the area each belongs to, (n,).
    """

    centres_m: Floats
    cores_m: Floats
    areas: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.centres_m)


def tiles_of(areas: Sequence[AreaConfig], tile: TileConfig, *, by_travel: bool) -> Tiles:
    """Return the tiles that cover some areas.

    Inside an area they lie in a serpentine, which no way through a rectangular lattice is shorter than; its corner and
    direction, and the order of the areas, are those given, or with ``by_travel`` those that make the way short: never
    longer than as given.
    """
    given = _in_order(areas, tile, range(len(areas)), turned=False)
    if not by_travel or len(areas) < 2:
        return given
    middles = np.array([[sum(a.x_m) / 2, sum(a.y_m) / 2] for a in areas])
    order = [int(k) for k in ordered_by_travel(middles, middles.min(axis=0))]
    return min(given, _in_order(areas, tile, order, turned=True), key=_way_m)


def _way_m(tiles: Tiles) -> float:
    return float(np.hypot(*np.diff(tiles.centres_m, axis=0).T).sum())


def _in_order(areas: Sequence[AreaConfig], tile: TileConfig, order: Sequence[int], *, turned: bool) -> Tiles:
    """Return the tiles of areas in an order, each serpentine as given or turned to begin nearest to the last tile."""
    centres: list[Floats] = []
    for number in order:
        serpentines = [tile_centres_m(areas[number], tile)]
        if turned and centres:
            serpentines = _all_serpentines(areas[number], tile)
        last = centres[-1][-1] if centres else serpentines[0][0]
        centres.append(min(serpentines, key=lambda way: float(np.hypot(*(way[0] - last)))))
    counts = [len(one) for one in centres]
    cores = [np.tile(core_m(areas[number], tile), (n, 1)) for number, n in zip(order, counts)]
    return Tiles(np.concatenate(centres), np.concatenate(cores), np.repeat(np.array(order, dtype=np.intp), counts))


def tile_centres_m(area: AreaConfig, tile: TileConfig) -> Floats:
    """Return the stage positions of all tiles of an area in serpentine order, (n, 2) float64, metres.

    The tiles cover the area; neighbours share at least ``tile.overlap`` of their width.
    """
    return _serpentine(*(_centres_m(low, high, tile) for low, high in (area.x_m, area.y_m)))


def core_m(area: AreaConfig, tile: TileConfig) -> tuple[float, float]:
    """Return width and height of the part of a tile that no neighbour's core shares."""
    return tuple(  # type: ignore[return-value]
        (high - low) / _count(low, high, tile) for low, high in (area.x_m, area.y_m)
    )


def count_of(area: AreaConfig, tile: TileConfig) -> int:
    """Return how many tiles cover an area."""
    return math.prod(_count(low, high, tile) for low, high in (area.x_m, area.y_m))


def _serpentine(xs: Floats, ys: Floats) -> Floats:
    rows = [[(x, y) for x in (xs if k % 2 == 0 else xs[::-1])] for k, y in enumerate(ys)]
    return np.array([point for row in rows for point in row], dtype=np.float64)


def _all_serpentines(area: AreaConfig, tile: TileConfig) -> list[Floats]:
    xs, ys = (_centres_m(low, high, tile) for low, high in (area.x_m, area.y_m))
    along_x = [_serpentine(x, y) for x in (xs, xs[::-1]) for y in (ys, ys[::-1])]
    along_y = [_serpentine(y, x)[:, ::-1] for x in (xs, xs[::-1]) for y in (ys, ys[::-1])]
    return along_x + along_y


def _count(low: float, high: float, tile: TileConfig) -> int:
    return max(1, math.ceil(round((high - low) / (tile.fov_m * (1 - tile.overlap)), 9)))


def _centres_m(low: float, high: float, tile: TileConfig) -> Floats:
    n = _count(low, high, tile)
    centres: Floats = low + (np.arange(n) + 0.5) * (high - low) / n
    return centres
