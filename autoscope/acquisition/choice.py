"""The best candidate that may be taken, ties broken by given chance; and what else was in the running."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import ModelError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def choose(values: Array, rng: np.random.Generator, forbidden: Mask) -> int:
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
    allowed = np.where(forbidden | np.isnan(values), -np.inf, values)
    open_ = ~(forbidden | np.isnan(values))
    if not open_.any():
        raise ModelError("no candidate can be chosen: all are forbidden or have no value", value=len(values))
    best = np.flatnonzero(open_ & (allowed == allowed.max()))
    return int(rng.choice(best))


def runners_up(values: Array, chosen: int, forbidden: Mask, count: int) -> list[int]:
    """Return the ``count`` best candidates besides the chosen one, best first; fewer where fewer are open.

    Examples
    --------
    >>> runners_up(np.array([3.0, 9.0, 5.0, 4.0]), 1, np.array([True, False, False, False]), 5)
    [2, 3]
    """
    barred = forbidden | np.isnan(values)
    barred[chosen] = True
    others = np.flatnonzero(~barred)
    if len(others) > count:
        others = others[np.argpartition(-values[others], count)[:count]]
    return [int(i) for i in others[np.lexsort((others, -values[others]))]]
