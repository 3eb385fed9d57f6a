"""Where to look before there is a model: points unlike each other."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from autoscope.acquisition.tabulated import Array, Floats
from autoscope.errors import ModelError

Mask = NDArray[np.bool_]


def squared_distance_to_nearest(features: Floats, taken: Floats) -> Array:
    """Return each candidate's squared distance to the nearest of ``taken`` (k, d), shape (m,); infinite if k = 0."""
    nearest = np.full(len(features), np.inf)
    for point in taken:
        np.minimum(nearest, cdist(features, point[None], "sqeuclidean")[:, 0], out=nearest)
    return nearest


def diverse(features: Floats, taken: Floats, forbidden: Mask, rng: np.random.Generator) -> int:
    """Return a candidate of ``features`` (m, d) unlike those taken (k, d): one step of greedy k-means++.

    Drawn with probability proportional to the squared distance to the nearest taken point, the best of a few
    draws by what remains unexplained (Arthur & Vassilvitskii, SODA 2007, sections 2.2 and 7). Unlike the plain
    farthest point it is not led by outliers.

    Raises
    ------
    ModelError
        Every candidate is forbidden.
    """
    open_ = np.flatnonzero(~forbidden)
    if not len(open_):
        raise ModelError("no candidate is left to choose from", value=len(features))
    if not len(taken):
        return int(rng.choice(open_))
    distance = squared_distance_to_nearest(features, taken)
    weight = distance[open_]
    if not weight.sum() > 0.0:
        return int(rng.choice(open_))
    draws = rng.choice(open_, size=2 + int(math.log(1 + len(taken))), p=weight / weight.sum())
    remains = [np.minimum(distance, squared_distance_to_nearest(features, features[[d]])).sum() for d in draws]
    return int(draws[int(np.argmin(remains))])


def maximin(features: Floats, taken: Floats) -> Array:
    """Return how well each candidate fills space: its distance to the nearest taken point (Johnson et al. 1990)."""
    return np.sqrt(squared_distance_to_nearest(features, taken))
