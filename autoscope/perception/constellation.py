"""Where a field has moved, told by its particles: matching two point sets that differ by a translation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from autoscope.records import Value

Points = NDArray[np.float64]
ALIKE = 0.6
"""Part of the best support that another translation needs to count at all."""
MISSING = 0.04
"""Part of the points that may be seen once and not again."""


class Match(Value):
    """The translation that takes reference points onto found points."""

    dx_m: float
    dy_m: float
    matched: int
    confidence: float
    """Share of the smaller set that found a partner, minus the share expected by chance; at most 1."""
    std_m: float = 0.0
    """Standard deviation per axis of the translation, from the scatter of the partners."""
    ambiguous: bool = False
    """Whether another translation fits about as well: a lattice does by each of its periods."""


def match(
    reference_m: Points,
    found_m: Points,
    *,
    reach_m: float,
    tolerance_m: float,
    expected_m: tuple[float, float] = (0.0, 0.0),
    expected_std_m: float = math.inf,
) -> Match:
    """Return the translation supported by most pairs of points.

    Every pair (reference, found) whose difference lies within ``reach_m`` of the expected one votes for it; the densest
    place of votes (radius ``tolerance_m``) wins, each weighted by how near it is to what is expected, and is refined by
    the mean of its votes. Another place is as good where it has most of the weight of the best, within what chance
    makes of it (`MISSING` of the points, three standard deviations).

    Parameters
    ----------
    reference_m, found_m : (n, 2), (m, 2) float64
        Positions (x, y) in metres in the same frame.
    reach_m : float
        Largest departure from the expected translation, per axis.
    tolerance_m : float
        How far a particle may be found from where the translation says.
    expected_m : (float, float)
        The translation expected.
    expected_std_m : float
        How surely, standard deviation per axis: a lattice fits by each of its periods, and only this tells which.

    Returns
    -------
    Match
        With confidence 0 where either set is empty or nothing agrees.
    """
    expected = np.asarray(expected_m, dtype=np.float64)
    votes = _votes(reference_m + expected, found_m, reach_m) + expected
    if len(votes) == 0:
        return Match(dx_m=expected_m[0], dy_m=expected_m[1], matched=0, confidence=0.0)
    tree = cKDTree(votes)
    support = np.asarray(tree.query_ball_point(votes, tolerance_m, return_length=True), dtype=np.float64)
    far = np.sum((votes - expected) ** 2, axis=1) / max(expected_std_m, tolerance_m) ** 2
    support *= np.exp(-0.5 * far)
    centre = votes[int(np.argmax(support))]
    for _ in range(3):
        near = votes[tree.query_ball_point(centre, tolerance_m)]
        centre = near.mean(axis=0)
    matched = _partners(reference_m + centre, found_m, tolerance_m)
    smaller = min(len(reference_m), len(found_m))
    by_chance = len(votes) * np.pi * tolerance_m**2 / (4 * reach_m**2)
    confidence = max(0.0, (matched - by_chance) / smaller)
    others = support[np.max(np.abs(votes - centre), axis=1) > 3.0 * tolerance_m]
    best, second = float(support.max()), float(others.max(initial=0.0))
    return Match(
        dx_m=float(centre[0]),
        dy_m=float(centre[1]),
        matched=matched,
        confidence=min(1.0, confidence),
        std_m=float(np.sqrt(np.mean(np.var(near, axis=0)) / max(len(near) - 1, 1))) if len(near) > 1 else tolerance_m,
        ambiguous=second > max(ALIKE * best, best - 3.0 * math.sqrt(MISSING * best + 1.0)),
    )


def _votes(reference_m: Points, found_m: Points, reach_m: float) -> Points:
    if len(reference_m) == 0 or len(found_m) == 0:
        return np.zeros((0, 2))
    pairs = cKDTree(reference_m).query_ball_tree(cKDTree(found_m), reach_m * np.sqrt(2.0))
    votes = [found_m[j] - reference_m[i] for i, near in enumerate(pairs) for j in near]
    array = np.array(votes).reshape(-1, 2)
    inside: Points = array[np.all(np.abs(array) <= reach_m, axis=1)]
    return inside


def _partners(moved_m: Points, found_m: Points, tolerance_m: float) -> int:
    distance, _ = cKDTree(found_m).query(moved_m)
    return int(np.sum(distance <= tolerance_m))
