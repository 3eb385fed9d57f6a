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


class Spread:
    """How far every candidate is from the nearest taken one; kept as more are taken, O(m d) each.

    Parameters
    ----------
    features : array
        (m, d) of all candidates.

    Examples
    --------
    >>> spread = Spread(np.array([[0.0], [1.0], [5.0]]))
    >>> spread.take(np.array([[0.0]]))
    >>> spread.distance().tolist()
    [0.0, 1.0, 5.0]
    """

    def __init__(self, features: Floats) -> None:
        self._features = features
        self._squared: Array = np.full(len(features), np.inf)
        self.count = 0

    def take(self, points: Floats) -> None:
        """Count points (k, d) as taken."""
        np.minimum(self._squared, squared_distance_to_nearest(self._features, points), out=self._squared)
        self.count += len(points)

    def given(self, points: Floats) -> Spread:
        """Return what this would be with points (k, d) taken as well."""
        more = Spread(self._features)
        more._squared, more.count = self._squared.copy(), self.count
        more.take(points)
        return more

    def distance(self) -> Array:
        """Return how well each candidate fills space: its distance to the nearest taken one (Johnson et al. 1990)."""
        return np.sqrt(self._squared)

    def draw(self, forbidden: Mask, rng: np.random.Generator) -> int:
        """Return a candidate unlike those taken: one step of greedy k-means++.

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
            raise ModelError("no candidate is left to choose from", value=len(self._features))
        weight = self._squared[open_]
        if not self.count or not weight.sum() > 0.0:
            return int(rng.choice(open_))
        draws = rng.choice(open_, size=2 + int(math.log(1 + self.count)), p=weight / weight.sum())
        remains = [
            np.minimum(self._squared, squared_distance_to_nearest(self._features, self._features[[d]])).sum()
            for d in draws
        ]
        return int(draws[int(np.argmin(remains))])


def diverse(features: Floats, taken: Floats, forbidden: Mask, rng: np.random.Generator) -> int:
    """Return a candidate of ``features`` (m, d) unlike those taken (k, d); see `Spread.draw`."""
    spread = Spread(features)
    spread.take(taken)
    return spread.draw(forbidden, rng)


def maximin(features: Floats, taken: Floats) -> Array:
    """Return each candidate's distance to the nearest taken point; see `Spread.distance`."""
    return np.sqrt(squared_distance_to_nearest(features, taken))
