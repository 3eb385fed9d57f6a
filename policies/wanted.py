"""What people leave of the candidates of a field of view, and how much they are drawn to each."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from autoscope.acquisition.attraction import attraction, drawn
from autoscope.acquisition.rule import AcquisitionRule, Name
from autoscope.errors import ConfigError
from autoscope.records import View
from autoscope.wishes import AcquisitionWish
from policies.pixels import Indices, PixelGrid

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


def wanted(view: View, grid: PixelGrid, candidates: Indices, forbidden: Mask) -> tuple[Mask, bool]:
    """Return which candidates are not to be measured now, and whether the others are where somebody sent it.

    A place where it was sent comes before pinned regions, those before everything else, each only while something is
    open in it. A pixel counts as a place of half a pixel about its centre.
    """
    if not view.wishes.named:
        return forbidden, False
    wishes, (x_m, y_m, reach_m) = view.wishes, _places(view, grid, candidates)
    barred = forbidden | wishes.bars(x_m, y_m, reach_m)
    if wishes.within is not None:
        elsewhere = barred | ~wishes.within.contains(x_m, y_m, reach_m)
        if not elsewhere.all():
            return elsewhere, True
    unpinned = np.ones_like(barred)
    for region in wishes.pinned:
        unpinned &= ~region.contains(x_m, y_m, reach_m)
    if wishes.pinned and not (barred | unpinned).all():
        return barred | unpinned, False
    return barred, False


def with_marks(
    view: View, grid: PixelGrid, candidates: Indices, look: Floats, values: Floats, forbidden: Mask
) -> Array:
    """Return values of candidates, (m,), with what people marked taken into account; ``look`` is (m, d)."""
    x_m, y_m, reach_m = _places(view, grid, candidates)
    marks = [(mark.place.contains(x_m, y_m, reach_m), mark.interesting) for mark in view.wishes.marked]
    attracted = attraction(np.asarray(look, dtype=np.float64), marks)
    return drawn(np.asarray(values, dtype=np.float64), attracted, forbidden)


def changed_rule(rule: AcquisitionRule, wish: AcquisitionWish | None) -> AcquisitionRule:
    """Return an acquisition rule with what people changed of it.

    Raises
    ------
    ConfigError
        There is no such function, or it lacks a parameter.
    """
    if wish is None:
        return rule
    known = get_args(Name)
    if wish.name is not None and wish.name not in known:
        raise ConfigError("is no acquisition function", value=wish.name, limit=f"one of {', '.join(known)}")
    try:
        return rule.replace(**wish.changes())
    except ValidationError as error:
        what = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"is no acquisition rule: {what}", value=wish.name) from error


def _places(view: View, grid: PixelGrid, candidates: Indices) -> tuple[Array, Array, float]:
    """Return where candidates lie in the stage frame, and half the size of a pixel."""
    x_m, y_m = grid.positions(candidates).T
    return x_m + view.state.x_m, y_m + view.state.y_m, 0.5 * grid.scan.fov_m / grid.scan.width_px
