"""Where a field has moved, told by its particles: matching two point sets that differ by a translation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from autoscope.records import Value

Points = NDArray[np.float64]


class Match(Value):
    """The translation that takes reference points onto found points."""

    dx_m: float
    dy_m: float
    matched: int
    confidence: float
    """Share of the smaller set that found a partner, minus the share expected by chance; at most 1."""


def match(reference_m: Points, found_m: Points, *, reach_m: float, tolerance_m: float) -> Match:
    """Return the translation supported by most pairs of points.

    Every pair (reference, found) closer than ``reach_m`` votes for its difference; the densest place of votes
    (radius ``tolerance_m``) wins and is refined by the mean of its votes.

    Parameters
    ----------
    reference_m, found_m : (n, 2), (m, 2) float64
        Positions (x, y) in metres in the same frame.
    reach_m : float
        Largest translation considered, per axis.
    tolerance_m : float
        How far a particle may be found from where the translation says.

    Returns
    -------
    Match
        With confidence 0 where either set is empty or nothing agrees.
    """
    votes = _votes(reference_m, found_m, reach_m)
    if len(votes) == 0:
        return Match(dx_m=0.0, dy_m=0.0, matched=0, confidence=0.0)
    tree = cKDTree(votes)
    support = tree.query_ball_point(votes, tolerance_m, return_length=True)
    centre = votes[int(np.argmax(support))]
    for _ in range(3):
        centre = votes[tree.query_ball_point(centre, tolerance_m)].mean(axis=0)
    matched = _partners(reference_m + centre, found_m, tolerance_m)
    smaller = min(len(reference_m), len(found_m))
    by_chance = len(votes) * np.pi * tolerance_m**2 / (4 * reach_m**2)
    confidence = max(0.0, (matched - by_chance) / smaller)
    return Match(dx_m=float(centre[0]), dy_m=float(centre[1]), matched=matched, confidence=min(1.0, confidence))


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
