"""Several targets wanted high at once: how much a measurement is expected to push the front of best compromises out.

Targets are independent given the data, one model each. A point dominates another if it is nowhere worse and somewhere
better; the front is what nothing dominates; its worth is the hypervolume it dominates above a reference point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscope.acquisition.functions import log_expected_improvement
from autoscope.acquisition.tabulated import Array, Floats, blocks
from autoscope.errors import ModelError

Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]

DRAWS = 16
"""Fronts drawn from what is thought of the measured places."""


def nondominated(values: Array) -> Mask:
    """Return which of ``values`` (n, k) nothing dominates, shape (n,); equal points count all.

    Examples
    --------
    >>> nondominated(np.array([[1.0, 3.0], [2.0, 2.0], [1.0, 2.0]])).tolist()
    [True, True, False]
    """
    kept = np.ones(len(values), dtype=np.bool_)
    for k in range(len(values)):
        if kept[k]:
            kept &= (values > values[k]).any(axis=1) | (values == values[k]).all(axis=1)
    return kept


def hypervolume(values: Array, reference: Array) -> float:
    """Return the volume above ``reference`` (k,) that ``values`` (n, k) dominate, by slices along the last target.

    Examples
    --------
    >>> hypervolume(np.array([[1.0, 3.0], [2.0, 2.0]]), np.zeros(2))
    5.0
    """
    above = values[(values > reference).all(axis=1)]
    if len(above) == 0:
        return 0.0
    if above.shape[1] == 1:
        return float(above.max() - reference[0])
    levels = np.unique(above[:, -1])[::-1]
    heights = levels - np.append(levels[1:], reference[-1])
    slices = [hypervolume(above[above[:, -1] >= level, :-1], reference[:-1]) for level in levels]
    return float(heights @ slices)


@dataclass(frozen=True)
class Boxes:
    """The region above a reference point that a front does not dominate, cut into boxes.

    Attributes
    ----------
    lower, upper : array
        Opposite corners, (c, k); ``upper`` may be infinite.
    """

    lower: Array
    upper: Array

    @classmethod
    def beyond(cls, values: Array, reference: Array) -> Boxes:
        """Return the boxes not dominated by ``values`` (n, k) above ``reference`` (k,), k = 2 or 3.

        For two targets the steps of the stairs. For three the stairs of each slab between neighbouring values of the
        third, boxes that stay the same from slab to slab taken together.

        Raises
        ------
        ModelError
            Neither two nor three targets.
        """
        above = values[(values > reference).all(axis=1)]
        front = np.unique(above[nondominated(above)], axis=0)
        if len(reference) not in (2, 3):
            what = "compromises are sought between two or three targets"
            raise ModelError(what, value=len(reference), limit="2 or 3")
        flat = _stairs(front, reference) if len(reference) == 2 else _slabs(front, reference)
        corners = np.array(flat).reshape(-1, 2, len(reference))
        return cls(corners[:, 0], corners[:, 1])

    def gained(self, values: Floats) -> Array:
        """Return the volume each of ``values`` (m, k) would add to what is dominated, shape (m,)."""
        gained = np.zeros(len(values))
        for block in blocks(len(values)):
            targets = np.array(values[block].T, dtype=np.float64, order="C")
            for lower, upper in zip(self.lower, self.upper, strict=True):
                volume = np.ones(targets.shape[1])
                for k, column in enumerate(targets):
                    volume *= np.clip(column, lower[k], upper[k]) - lower[k]
                gained[block] += volume
        return gained

    def log_expected(self, mean: Floats, std: Floats) -> Array:
        """Return the log of the volume a measurement is expected to add, ``mean`` and ``std`` (m, k), shape (m,).

        Exact: over each box the expectation is a product over targets of differences of expected improvements
        (Emmerich, Deutz & Klinkenberg, CEC 2011; boxes as in Yang et al., J. Global Optim. 75, 2019, eq. 11), here in
        logs.
        """
        total = np.zeros((len(self.lower), len(mean)))
        for k in range(mean.shape[1]):
            levels, where = np.unique(np.concatenate([self.lower[:, k], self.upper[:, k]]), return_inverse=True)
            logs = _log_excess(mean[:, k], std[:, k], levels)
            low, high = np.split(where.ravel(), 2)
            with np.errstate(divide="ignore", invalid="ignore"):
                # a box may be narrower than the rounding of the logs; where nothing reaches it both are -inf
                ratio = np.minimum(logs[high] - logs[low], 0.0)
                total += np.where(np.isneginf(logs[low]), -np.inf, logs[low] + np.log(-np.expm1(ratio)))
        return np.asarray(np.logaddexp.reduce(total, axis=0))


def _stairs(front: Array, reference: Array) -> list[tuple[float, ...]]:
    """Return lower and upper corners of the boxes beyond a front (n, 2) in ascending order of its first column."""
    edges = np.concatenate([reference[:1], front[:, 0], [np.inf]])
    floors = np.append(front[:, 1], reference[1])
    return [(left, floor, right, math.inf) for left, floor, right in zip(edges[:-1], floors, edges[1:], strict=True)]


def _slabs(front: Array, reference: Array) -> list[tuple[float, ...]]:
    """Return lower and upper corners of the boxes beyond a front (n, 3)."""
    levels = [math.inf, *np.unique(front[:, 2])[::-1], reference[2]]
    open_: dict[tuple[float, ...], float] = {}
    done: list[tuple[float, ...]] = []
    for top in levels:  # descending: the slab below holds all points at least as high as its top
        if top == reference[2]:
            now: set[tuple[float, ...]] = set()
        else:
            below = front[front[:, 2] >= top, :2]
            now = set(_stairs(np.unique(below[nondominated(below)], axis=0), reference[:2]))
        for left, floor, right, ceiling in sorted(open_.keys() - now):
            done.append((left, floor, top, right, ceiling, open_.pop((left, floor, right, ceiling))))
        open_ |= dict.fromkeys(now - open_.keys(), top)
    return done


def _log_excess(mean: Floats, std: Floats, levels: Array) -> Array:
    """Return the log of what is expected above each level, (levels, m)."""
    below = np.isfinite(levels)
    gap = (mean.astype(np.float64) - levels[below, None]).ravel()
    logs = np.full((len(levels), len(mean)), -np.inf)
    spread = np.tile(std.astype(np.float64), int(below.sum()))
    logs[below] = log_expected_improvement(gap, spread, 0.0).reshape(-1, len(mean))
    return logs


def promising(mean: Floats, std: Floats, boxes: Boxes, open_: Indices, count: int, kappa: float = 2.0) -> Indices:
    """Return at most ``count`` of the open candidates, those that would add most if they were ``kappa`` std better.

    Whoever adds nothing even then is taken only where too few others are, the nearest to adding something first.

    Parameters
    ----------
    mean, std : array
        Of all candidates, (m, k).
    boxes : Boxes
        Beyond the front of what is measured.
    open_ : array of int
        Candidates to choose from.
    count : int
        How many are wanted.
    """
    if len(open_) <= count:
        return open_
    hoped = mean[open_] + float(kappa) * std[open_]
    gained = boxes.gained(hoped)
    if (gained > 0.0).sum() < count:
        best, spread = hoped.max(axis=0), np.ptp(hoped, axis=0)
        short = ((best - hoped) / np.where(spread > 0.0, spread, 1.0)).sum(axis=1)
        gained = np.asarray(np.where(gained > 0.0, gained, -1.0 - short), dtype=np.float64)
    return open_[np.sort(np.argpartition(-gained, count)[:count])]


@dataclass(frozen=True)
class Belief:
    """What the model of one target thinks of some candidates and of places measured or pending, together.

    Attributes
    ----------
    mean, std : array
        Of the candidates, (c,).
    known_mean : array
        Of the known places, (b,).
    known_covariance : array
        Among the known places, (b, b).
    cross_covariance : array
        Of candidates with known places, (c, b).
    """

    mean: Array
    std: Array
    known_mean: Array
    known_covariance: Array
    cross_covariance: Array

    def draw(self, normals: Array) -> tuple[Array, Array, Array]:
        """Return draws of the known places (s, b), and given each the mean (s, c) and the std (c,) of the candidates.

        ``normals`` (s, b) are standard normal.
        """
        weight, axes = np.linalg.eigh(self.known_covariance)
        # single-precision rows leave the smallest eigenvalues to rounding; what they say is left out
        weight = np.where(weight > 1e-6 * max(float(weight.max(initial=0.0)), 1e-300), weight, 0.0)
        known = (normals * np.sqrt(weight)) @ axes.T
        inverse = np.divide(1.0, weight, out=np.zeros_like(weight), where=weight > 0.0)
        turned = self.cross_covariance @ axes
        left = np.maximum(self.std**2 - (turned**2) @ inverse, 0.0)
        gain = (turned * inverse) @ axes.T
        return self.known_mean + known, self.mean + known @ gain.T, np.sqrt(left)


def log_noisy_hypervolume_improvement(
    beliefs: Sequence[Belief], reference: Array, rng: np.random.Generator, draws: int = DRAWS
) -> Array:
    """Return the log of the hypervolume each candidate is expected to add to an uncertain front, shape (c,).

    The noisy expected hypervolume improvement for one candidate at a time (Daulton, Balandat & Bakshy, NeurIPS 2021,
    eq. 4): fronts are drawn, pending places among them, and given each the expectation over the candidate is exact
    where the paper draws again.

    Parameters
    ----------
    beliefs : sequence of Belief
        One per target, k = 2 or 3, the same candidates and known places in each.
    reference : array
        (k,).
    rng : numpy.random.Generator
        Chance for the draws.
    draws : int
        How many fronts.
    """
    count = len(beliefs[0].known_mean)
    drawn = [belief.draw(rng.normal(size=(draws, count))) for belief in beliefs]
    std = np.stack([left for _, _, left in drawn], axis=1)
    logs = []
    for s in range(draws):
        boxes = Boxes.beyond(np.stack([known[s] for known, _, _ in drawn], axis=1), reference)
        logs.append(boxes.log_expected(np.stack([mean[s] for _, mean, _ in drawn], axis=1), std))
    return np.asarray(np.logaddexp.reduce(logs, axis=0) - math.log(draws))
