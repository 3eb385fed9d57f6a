"""Pixels drawn at random without repetition: the baseline every model has to beat."""

from __future__ import annotations

import numpy as np

from policies.ordered_field import OrderedFieldPolicy
from policies.pixels import Indices, PixelGrid


class RandomPolicy(OrderedFieldPolicy):
    """Measures candidate pixels in uniformly random order."""

    def _order(self, grid: PixelGrid, candidates: Indices, rng: np.random.Generator) -> Indices:
        return rng.permutation(len(candidates)).astype(np.int64)

    def _reason(self) -> str:
        return "The next pixel of a uniformly random order: every place has the same chance."
