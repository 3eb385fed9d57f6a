"""Random, raster and space-filling orders; their map is interpolated linearly, and is the nearest value outside."""

from __future__ import annotations

import math
import sys

import numpy as np
import peer_loop
from peer_loop import Array, Indices, Job
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.spatial import cKDTree
from scipy.stats import qmc


class Ordered:
    """Takes candidates in an order fixed beforehand."""

    starts_random = False

    def __init__(self, job: Job, order: Indices) -> None:
        self._pixels = np.column_stack([job.rows, job.columns]).astype(float)
        self._scores = np.full(len(job.rows), -np.inf)
        self._scores[order] = -np.arange(len(order), dtype=float)

    def scores(self, taken: Indices, values: Array) -> Array:
        """Return the place in the order, negative."""
        self._taken, self._values = taken, values
        return self._scores.copy()

    def belief(self) -> tuple[Array, Array]:
        """Return the interpolated map; its uncertainty is unknown."""
        mean = interpolated(self._pixels[self._taken], self._values, self._pixels)
        return mean, np.full(len(mean), np.nan)


def interpolated(places: Array, values: Array, wanted: Array) -> Array:
    """Return linear interpolation between the places, and the nearest value outside their hull."""
    near = NearestNDInterpolator(places, values)(wanted)
    if np.linalg.matrix_rank(places - places.mean(axis=0)) < 2:
        return np.asarray(near)
    linear = LinearNDInterpolator(places, values)(wanted)
    return np.where(np.isfinite(linear), linear, near)


def random(job: Job) -> Ordered:
    """Return candidates at random."""
    return Ordered(job, job.random_order())


def grid(job: Job) -> Ordered:
    """Return a raster of as many points as will be measured, row by row, at a random phase."""
    high, wide = (len(np.unique(lines)) for lines in (job.rows, job.columns))
    pitch = math.sqrt(high * wide / job.limit)
    phase = np.random.default_rng(job.seed).random(2)
    rows, columns = (
        np.unique(np.floor((np.arange(math.ceil(n / pitch)) + p) * pitch).clip(0, n - 1).astype(int))
        for n, p in zip((high, wide), phase, strict=True)
    )
    raster = (rows[:, None] * wide + columns).ravel()
    return Ordered(job, np.concatenate([raster, np.setdiff1d(job.random_order(), raster)]).astype(np.int64))


def sobol(job: Job) -> Ordered:
    """Return a scrambled Sobol sequence, each point moved to the nearest candidate not taken: fills space at any n."""
    places = job.places()
    points = qmc.Sobol(2, rng=np.random.default_rng(job.seed)).random(1 << math.ceil(math.log2(job.limit + 1)))
    order: list[int] = []
    tree = cKDTree(places)
    for point in points[: job.limit]:
        near = tree.query(point, k=min(len(order) + 1, len(places)))[1]
        order.append(next(int(i) for i in np.atleast_1d(near) if int(i) not in order))
    return Ordered(job, np.array(order, dtype=np.int64))


if __name__ == "__main__":
    peer_loop.main({"random": random, "grid": grid, "sobol": sobol}[sys.argv[5]], ("numpy", "scipy"))
