"""The best candidate that may be taken, ties broken by given chance; and what else was in the running."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoscope.acquisition.tabulated import Floats, blocks
from autoscope.errors import ModelError

Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]

CELL = 256
"""Candidates searched together; a divisor of the block size."""


def choose(values: Floats, rng: np.random.Generator, forbidden: Mask) -> int:
    """Return the index of the highest value that is not forbidden, with one draw among equals.

    Raises
    ------
    ModelError
        Every candidate is forbidden, or no value is a number.

    Examples
    --------
    >>> values, forbidden = np.array([3.0, 9.0, 5.0]), np.array([False, True, False])
    >>> choose(values, np.random.default_rng(0), forbidden)
    2
    """
    peaks = _peaks(values, forbidden)
    best = peaks.max(initial=-np.inf)
    if best == -np.inf:  # nothing open, or only worthless candidates: the marks of both look alike in the peaks
        equals = np.flatnonzero(~forbidden & ~np.isnan(values))
    else:
        equals = np.concatenate([_equals(values, forbidden, int(c), best) for c in np.flatnonzero(peaks == best)])
    if not len(equals):
        raise ModelError("no candidate can be chosen: all are forbidden or have no value", value=len(values))
    return int(equals[rng.integers(len(equals))])


def runners_up(values: Floats, chosen: int, forbidden: Mask, count: int) -> list[int]:
    """Return the ``count`` best candidates besides the chosen one, best first; fewer where fewer are open.

    Of equal candidates the one with the lower index comes first.

    Examples
    --------
    >>> runners_up(np.array([3.0, 9.0, 5.0, 4.0]), 1, np.array([True, False, False, False]), 5)
    [2, 3]
    """
    peaks = _peaks(values, forbidden)
    # the best count + 1 lie in the count + 1 cells with the highest peaks: each holds one at least as high as any left
    richest = np.argsort(-peaks, kind="stable")[: count + 1]
    ranked = _ranked(values, forbidden, (richest[:, None] * CELL + np.arange(CELL)).ravel(), count + 1)
    if len(ranked) <= count or values[ranked[-1]] == -np.inf:  # worthless ones do not show in the peaks
        ranked = _ranked(values, forbidden, np.arange(len(values)), count + 1)
    return [int(i) for i in ranked if i != chosen][:count]


def _peaks(values: Floats, forbidden: Mask) -> Floats:
    """Return the highest open value of each cell of candidates; -inf where none is open."""
    peaks = np.empty(-(-len(values) // CELL), dtype=values.dtype)
    for block in blocks(len(values)):
        masked = values[block].copy()
        np.putmask(masked, forbidden[block], -np.inf)
        first, whole = block.start // CELL, len(masked) // CELL
        np.fmax.reduce(masked[: whole * CELL].reshape(whole, CELL), axis=1, out=peaks[first : first + whole])
        if whole * CELL < len(masked):
            peaks[first + whole] = np.fmax.reduce(masked[whole * CELL :])
    peaks[np.isnan(peaks)] = -np.inf
    return peaks


def _equals(values: Floats, forbidden: Mask, cell: int, best: float) -> Indices:
    inside = slice(cell * CELL, (cell + 1) * CELL)
    return cell * CELL + np.flatnonzero((values[inside] == best) & ~forbidden[inside])


def _ranked(values: Floats, forbidden: Mask, among: Indices, count: int) -> Indices:
    """Return the best open candidates among some, best first, of equals the lower index first."""
    among = among[among < len(values)]
    worth = values[among]
    open_ = ~(forbidden[among] | np.isnan(worth))
    among, worth = among[open_], -worth[open_]
    if len(worth) > count:
        worst = np.partition(worth, count - 1)[count - 1]
        among, worth = among[worth <= worst], worth[worth <= worst]
    return among[np.lexsort((among, worth))][:count]
