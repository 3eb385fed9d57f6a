"""Quasi-random points that fill the field evenly however many are measured."""

from __future__ import annotations

import numpy as np
from scipy.stats import qmc

from policies.ordered_field import OrderedFieldPolicy
from policies.pixels import Indices, PixelGrid


class SobolPolicy(OrderedFieldPolicy):
    """Measures the candidates that a scrambled Sobol' sequence visits, in its order (Sobol' 1967; Owen 1998)."""

    def _order(self, grid: PixelGrid, candidates: Indices, rng: np.random.Generator) -> Indices:
        rows, columns = np.divmod(candidates, grid.scan.width_px)
        height, width = len(np.unique(rows)), len(np.unique(columns))
        draws = 1 << (2 * len(candidates) - 1).bit_length()
        points = qmc.Sobol(d=2, scramble=True, rng=rng).random(draws)
        visited = (points[:, 0] * height).astype(np.int64) * width + (points[:, 1] * width).astype(np.int64)
        _, first = np.unique(visited, return_index=True)
        order = visited[np.sort(first)]
        missed = np.setdiff1d(np.arange(len(candidates)), order)
        return np.concatenate([order, rng.permutation(missed)]).astype(np.int64)

    def _reason(self) -> str:
        return "The next point of a Sobol' sequence, which fills the field evenly at any number of points."
