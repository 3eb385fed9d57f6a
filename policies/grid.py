"""An even grid over the field, walked in a serpentine."""

from __future__ import annotations

import math

import numpy as np

from policies.ordered_field import OrderedFieldPolicy
from policies.pixels import Indices, PixelGrid


class GridPolicy(OrderedFieldPolicy):
    """Measures a regular grid of at least ``points`` pixels line by line, then whatever is left."""

    def _order(self, grid: PixelGrid, candidates: Indices, rng: np.random.Generator) -> Indices:
        rows, columns = np.divmod(candidates, grid.scan.width_px)
        line, place = (np.unique(axis, return_inverse=True)[1] for axis in (rows, columns))
        even = self._even(line, place)
        return np.concatenate([_walk(np.flatnonzero(chosen), line, place) for chosen in (even, ~even)])

    def _even(self, line: Indices, place: Indices) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Return which candidates lie on the even grid (all of them where no number of points is asked for)."""
        height, width = int(line.max()) + 1, int(place.max()) + 1
        points = min(self._field.points or height * width, height * width)
        down = min(max(1, round(math.sqrt(points * height / width))), height)
        across = min(math.ceil(points / down), width)
        down = min(math.ceil(points / across), height)
        on_line = np.isin(line, ((np.arange(down) + 0.5) * height / down).astype(np.int64))
        on_place = np.isin(place, ((np.arange(across) + 0.5) * width / across).astype(np.int64))
        return on_line & on_place

    def _reason(self) -> str:
        return "The next point of a regular grid over the field, line by line."


def _walk(chosen: Indices, line: Indices, place: Indices) -> Indices:
    """Return the chosen candidates line by line, every other line backwards."""
    nth = np.unique(line[chosen], return_inverse=True)[1]
    along = np.where(nth % 2 == 0, place[chosen], -place[chosen])
    return np.asarray(chosen[np.lexsort((along, nth))], dtype=np.int64)
