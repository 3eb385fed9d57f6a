"""What a measured place looks like: a piece of the image that shows it best, with drift taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import FrameRejected
from autoscope.perception.registration import register
from autoscope.report.pictures import Archive, Footprint, contrast, data_uri, grey, sample
from autoscope.report.story import Measurement, Picture

SHARE = 6
"""A crop is this part of the image it is taken from, within the limits below."""
CROP_PX = (24, 96)
FOCUS = "focus"
CONFIDENT = 0.3
"""Confidence below which a registration says nothing (see `autoscope.perception.registration.Shift`)."""


@dataclass(frozen=True)
class Crop:
    """A square piece of an image around a place, on the axes of the stage."""

    uri: str
    side_m: float
    picture: Picture
    drift_m: float | None
    """How far the sample had moved since, by registration with a newer image; None where that was not possible."""


def picture_of(pictures: Sequence[Picture], m: Measurement) -> Picture | None:
    """Return the image that shows a measured place best.

    That is the last one taken before the measurement, an overview or the image by which the place was found again:
    between an older one and the measurement the sample has drifted. Without one before, the first one after.
    """
    fitting = [p for p in _usable(pictures, m) if (f := Footprint.of(p.ref.meta)) and f.holds(m.x_m, m.y_m)]
    before = [p for p in fitting if p.time_s <= m.time_s]
    return before[-1] if before else next(iter(fitting), None)


def _usable(pictures: Sequence[Picture], m: Measurement) -> list[Picture]:
    return [p for p in pictures if p.slot == m.slot and p.purpose != FOCUS]


def crop(pictures: Sequence[Picture], m: Measurement, archive: Archive) -> Crop | None:
    """Return the piece of image around a measured place, None where no image shows it.

    Where a newer image shows the same field but not the place, as at the rim of a tile, the two are registered, so
    that the middle of the crop is what the beam really stood on.
    """
    picture = picture_of(pictures, m)
    footprint = Footprint.of(picture.ref.meta) if picture else None
    frame = archive.frame(picture.ref) if picture else None
    if picture is None or footprint is None or frame is None:
        return None
    newer = _newer(pictures, picture, footprint, m)
    drift = _drift_m(frame.data, footprint, newer, archive) if newer else None
    side_px = int(np.clip(min(footprint.width_px, footprint.height_px) // SHARE, *CROP_PX))
    steps_m = (np.arange(side_px) - (side_px - 1) / 2) * footprint.pixel_x_m
    x_m, y_m = (m.x_m - drift[0], m.y_m - drift[1]) if drift else (m.x_m, m.y_m)
    levels = sample(frame.data, footprint, x_m + steps_m, y_m + steps_m)
    low, high = contrast(frame.data)
    brightest = max(high, float(np.nanmax(levels, initial=high)))  # what was found must not be a white blot
    uri = data_uri(grey(levels, low, brightest), np.isfinite(levels))
    return Crop(uri, side_px * footprint.pixel_x_m, picture, float(np.hypot(*drift)) if drift else None)


def _newer(pictures: Sequence[Picture], shown: Picture, footprint: Footprint, m: Measurement) -> Picture | None:
    """Return the last image between the one shown and the measurement whose centre lies in the one shown."""
    between = [
        p
        for p in _usable(pictures, m)
        if shown.time_s < p.time_s <= m.time_s and p.ref.meta.signal == shown.ref.meta.signal
    ]
    return next((p for p in reversed(between) if footprint.holds(p.ref.meta.x_m, p.ref.meta.y_m)), None)


def _drift_m(data: NDArray[Any], footprint: Footprint, newer: Picture, archive: Archive) -> tuple[float, float] | None:
    """Return how far (x, y) the sample moved between an image and a newer one, None where it cannot be told."""
    theirs, frame = Footprint.of(newer.ref.meta), archive.frame(newer.ref)
    if theirs is None or frame is None:
        return None
    corners = np.stack([footprint.corners_m(), theirs.corners_m()])
    low, high = corners.min(axis=1).max(axis=0), corners.max(axis=1).min(axis=0)
    pixel_m = max(footprint.pixel_x_m, theirs.pixel_x_m)
    x_m, y_m = (np.arange(a + pixel_m / 2, b, pixel_m) for a, b in zip(low, high, strict=True))
    before, after = (
        np.nan_to_num(part, nan=float(np.nanmedian(part)))
        for part in (sample(data, footprint, x_m, y_m), sample(frame.data, theirs, x_m, y_m))
    )
    try:
        shift = register(before, after, pixel_m)
    except FrameRejected:
        return None
    return (shift.dx_m, shift.dy_m) if shift.confidence >= CONFIDENT else None
