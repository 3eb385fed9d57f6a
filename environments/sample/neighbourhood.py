"""Many small round things, found fast: which of them reach which points of an arbitrarily shaped scan."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Profile = Callable[[Indices, Array, Array], Array]
"""(disc indices (n, 1), dx_m (n, p), dy_m (n, p) from the disc's centre) -> contribution (n, p)."""

_RUN = 64
_PAIRS_AT_ONCE = 8192


class Tiles:
    """Points grouped into small neighbourhoods: square blocks of a 2D array, runs of any other.

    Parameters
    ----------
    x_m, y_m : Array
        Positions of any common shape.
    edge_px : int
        Edge of a block.
    """

    def __init__(self, x_m: Array, y_m: Array, edge_px: int = 16) -> None:
        self.shape, self._edge = x_m.shape, edge_px
        self._blocks = x_m.ndim == 2 and min(x_m.shape) >= edge_px
        self.x_m, self.y_m = self._split(x_m), self._split(y_m)
        self.left_m, self.right_m = self.x_m.min(axis=1), self.x_m.max(axis=1)
        self.bottom_m, self.top_m = self.y_m.min(axis=1), self.y_m.max(axis=1)

    def _split(self, values: Array) -> Array:
        if not self._blocks:
            run = max(1, min(_RUN, values.size))
            flat = values.reshape(-1)
            return (np.pad(flat, (0, -flat.size % run), mode="edge") if flat.size % run else flat).reshape(-1, run)
        edge, (rows, columns) = self._edge, values.shape
        if rows % edge or columns % edge:
            values = np.pad(values, ((0, -rows % edge), (0, -columns % edge)), mode="edge")
        split = values.reshape(values.shape[0] // edge, edge, values.shape[1] // edge, edge)
        return split.swapaxes(1, 2).reshape(-1, edge * edge)

    def join(self, values: Array) -> Array:
        """Return values (tiles, points of a tile) in the shape of the positions."""
        if not self._blocks:
            return values.reshape(-1)[: math.prod(self.shape)].reshape(self.shape)
        edge, (rows, columns) = self._edge, self.shape
        down, across = -(-rows // edge), -(-columns // edge)
        joined = values.reshape(down, across, edge, edge).swapaxes(1, 2).reshape(down * edge, across * edge)
        return joined[:rows, :columns]


class Discs:
    """Round things on a plane, each with a reach beyond which it contributes nothing.

    Parameters
    ----------
    x_m, y_m, reach_m : Array
        Centres and reaches, shape (n,).
    """

    def __init__(self, x_m: Array, y_m: Array, reach_m: Array) -> None:
        self.x_m, self.y_m, self.reach_m = x_m, y_m, reach_m
        self._tree = cKDTree(np.column_stack([x_m, y_m])) if len(x_m) else None
        self._longest_m = float(reach_m.max()) if len(x_m) else 0.0

    def sums(self, tiles: Tiles, profile: Profile, channel: Indices, channels: int) -> Array:
        """Return the summed contributions per channel.

        Parameters
        ----------
        tiles : Tiles
            The points.
        profile : callable
            Contribution of discs at offsets from their centres; it must vanish beyond their reach.
        channel : Indices
            Channel of each disc, shape (n,).
        channels : int

        Returns
        -------
        Array
            Shape ``(channels,) + tiles.shape``.
        """
        total = np.zeros((channels, *tiles.shape))
        if self._tree is None or not total.size:
            return total
        disc, tile = self._pairs(tiles, self._tree)
        for wanted in np.unique(channel[disc]):
            chosen = channel[disc] == wanted
            total[wanted] = tiles.join(self._sum(tiles, disc[chosen], tile[chosen], profile))
        return total

    def _pairs(self, tiles: Tiles, tree: cKDTree) -> tuple[Indices, Indices]:
        """Return (disc, tile) index pairs whose bounding shapes touch, ordered by tile."""
        across, down = tiles.right_m - tiles.left_m, tiles.top_m - tiles.bottom_m
        centre = np.column_stack([tiles.left_m + 0.5 * across, tiles.bottom_m + 0.5 * down])
        lists = tree.query_ball_point(centre, 0.5 * np.hypot(across, down) + self._longest_m)
        counts = [len(found) for found in lists]
        tile = np.repeat(np.arange(len(lists)), counts)
        disc = np.array([index for found in lists for index in found], dtype=np.intp)
        x, y = self.x_m[disc], self.y_m[disc]
        dx = np.maximum(np.maximum(tiles.left_m[tile] - x, x - tiles.right_m[tile]), 0.0)
        dy = np.maximum(np.maximum(tiles.bottom_m[tile] - y, y - tiles.top_m[tile]), 0.0)
        near = dx * dx + dy * dy <= self.reach_m[disc] ** 2
        return disc[near], tile[near]

    def _sum(self, tiles: Tiles, disc: Indices, tile: Indices, profile: Profile) -> Array:
        total = np.zeros(tiles.x_m.shape)
        for start in range(0, len(disc), _PAIRS_AT_ONCE):
            some, where = disc[start : start + _PAIRS_AT_ONCE], tile[start : start + _PAIRS_AT_ONCE]
            dx = tiles.x_m[where] - self.x_m[some, None]
            dy = tiles.y_m[where] - self.y_m[some, None]
            values = profile(some[:, None], dx, dy)
            firsts = np.flatnonzero(np.diff(where, prepend=-1))
            total[where[firsts]] += np.add.reduceat(values, firsts, axis=0)
        return total
