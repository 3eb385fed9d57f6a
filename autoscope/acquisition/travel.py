"""In which order to visit places, so that the way is short."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from autoscope.acquisition.tabulated import Array

Indices = NDArray[np.intp]

EXACT = 8
"""So many places are ordered best of all; more are ordered well."""


def way_m(points_m: Array, start_m: Array, order: Indices) -> float:
    """Return the length of the way from ``start_m`` (2,) over ``points_m`` (q, 2) in some order, ending at the last."""
    stops = np.concatenate([start_m[None], points_m[order]])
    return float(np.hypot(*np.diff(stops, axis=0).T).sum())


def ordered_by_travel(points_m: Array, start_m: Array) -> Indices:
    """Return an order of ``points_m`` (q, 2) that makes the way from ``start_m`` (2,) short, never longer than given.

    The shortest of all for up to 8 places (Held & Karp, J. SIAM 10, 1962); beyond, pieces of the way are reversed as
    long as that shortens it (Croes, Oper. Res. 6, 1958).

    Examples
    --------
    >>> ordered_by_travel(np.array([[3.0, 0.0], [1.0, 0.0], [2.0, 0.0]]), np.zeros(2)).tolist()
    [1, 2, 0]
    """
    given = np.arange(len(points_m))
    if len(points_m) < 2:
        return given
    places = np.concatenate([start_m[None], points_m])
    between = cdist(places, places)
    found = _shortest(between) if len(points_m) <= EXACT else _reversed(between)
    return found if way_m(points_m, start_m, found) < way_m(points_m, start_m, given) else given


def _shortest(between: Array) -> Indices:
    """Return the best order, by the shortest way over every subset of places that ends at each of them."""
    count = len(between) - 1
    onward = between[1:, 1:]
    length = np.full((1 << count, count), np.inf)
    before = np.zeros((1 << count, count), dtype=np.intp)
    length[1 << np.arange(count), np.arange(count)] = between[0, 1:]
    for size in range(1, count):
        for subset in itertools.combinations(range(count), size):
            mask, ends = sum(1 << k for k in subset), list(subset)
            others = [k for k in range(count) if not mask >> k & 1]
            ways = length[mask, ends][:, None] + onward[np.ix_(ends, others)]
            best = ways.argmin(axis=0)
            bigger = mask | (1 << np.asarray(others))
            length[bigger, others] = ways[best, np.arange(len(others))]
            before[bigger, others] = np.asarray(ends)[best]
    mask, last = (1 << count) - 1, int(length[-1].argmin())
    backwards = []
    for _ in range(count):
        backwards.append(last)
        mask, last = mask ^ (1 << last), int(before[mask, last])
    return np.array(backwards[::-1], dtype=np.intp)


def _reversed(between: Array) -> Indices:
    """Return the way to the nearest place left, and from it, after reversing pieces while that helps."""
    tour = _nearest_first(between)
    count = len(tour)
    for _ in range(10 * count):
        # reversing tour[i..j] replaces the ways i-1 -> i and j -> j+1; behind the last place there is no way
        ahead, here, after = tour[:-1], tour[1:], np.append(tour[2:], -1)
        leaving = np.where(after < 0, 0.0, between[here, after])
        joined = between[ahead[:, None], here[None]] + np.where(after < 0, 0.0, between[here[:, None], after[None]])
        change = np.triu(joined - between[ahead, here][:, None] - leaving[None])
        i, j = np.unravel_index(int(change.argmin()), change.shape)
        if change[i, j] >= -1e-12 * between.max():
            break
        tour[i + 1 : j + 2] = tour[i + 1 : j + 2][::-1].copy()
    return tour[1:] - 1


def _nearest_first(between: Array) -> Indices:
    tour, left = [0], np.ones(len(between), dtype=np.bool_)
    left[0] = False
    while left.any():
        tour.append(int(np.where(left, between[tour[-1]], np.inf).argmin()))
        left[tour[-1]] = False
    return np.array(tour, dtype=np.intp)
