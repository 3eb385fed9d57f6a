"""A few places proposed, and what is cheap to know of each: what a learnt acquisition function sees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from policies.peers.inputs import components
from policies.pixels import Indices

Array = NDArray[np.float64]
PROPOSALS, FEATURES = 8, 6
LOOKS = 4
"""Components of patches in which places are compared."""
NEIGHBOURS = 3
DRAWN = 64
"""Open places drawn by chance, of which the ones that look best or lie best are proposed."""


@dataclass(frozen=True, eq=False)
class Field:
    """Candidates: places (m, 2) in the unit square, and their patches (m, d)."""

    places: Array
    patches: Array

    @cached_property
    def looks(self) -> Array:
        """What a candidate looks like: a few components of its patch, (m, at most 4)."""
        return components(self.patches, LOOKS)


def propose(field: Field, taken: Indices, values: Array, rng: np.random.Generator) -> tuple[Indices, Array]:
    """Return at most eight open candidates, the most promising first, and what is known of each, flat.

    Half look or lie most like the best places known, the rest are drawn by chance; where fewer than eight are open,
    the features of the absent ones are zero.
    """
    open_ = np.setdiff1d(np.arange(len(field.places)), taken)
    drawn = rng.choice(open_, min(DRAWN, len(open_)), replace=False)
    known = describe(field, drawn, taken, values)
    by_looks, by_place = np.argsort(-known[:, 0], kind="stable"), np.argsort(-known[:, 2], kind="stable")
    chosen = list(dict.fromkeys([*by_looks[:2].tolist(), *by_place[:2].tolist(), *range(len(drawn))]))[:PROPOSALS]
    chosen.sort(key=lambda k: -known[k, 0])
    seen = np.zeros((PROPOSALS, FEATURES))
    seen[: len(chosen)] = known[chosen]
    return drawn[chosen].astype(np.int64), seen.ravel()


def describe(field: Field, wanted: Indices, taken: Indices, values: Array) -> Array:
    """Return six features (k, 6) of candidates: values foretold by looks and by place, with the distances they rest on.

    Columns: value of the most similar known places, distance to the most similar; the same by place; distance to the
    best known place; logarithm of how many are known. Values are standardised.
    """
    centre, spread = float(values.mean()), float(values.std()) or 1.0
    z = (values - centre) / spread
    columns = []
    for space in (field.looks, field.places):
        apart = cdist(space[wanted], space[taken])
        near = np.argsort(apart, axis=1, kind="stable")[:, :NEIGHBOURS]
        weight = 1.0 / (np.take_along_axis(apart, near, axis=1) + 1e-3)
        columns += [(weight * z[near]).sum(axis=1) / weight.sum(axis=1), apart.min(axis=1)]
    best = field.places[taken[int(np.argmax(values))]]
    columns += [np.linalg.norm(field.places[wanted] - best, axis=1), np.full(len(wanted), np.log10(len(taken)))]
    return np.column_stack(columns)
