"""The survey from above: all overviews in one picture on the axes of the stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscope.report.pictures import Archive, Footprint, contrast, data_uri, grey, sample
from autoscope.report.story import Picture, RunStory

LONG_SIDE_PX = 2000
OVERVIEW = "overview"
MARGIN = 0.02
"""Free border around everything, as a share of the larger side."""


@dataclass(frozen=True)
class Bounds:
    """A rectangle in the stage frame, metres."""

    left_m: float
    top_m: float
    width_m: float
    height_m: float


@dataclass(frozen=True)
class Mosaic:
    """All overviews of one sample as one picture inside text, and where it lies."""

    uri: str
    bounds: Bounds
    pixel_m: float
    tiles: int
    signal: str
    purpose: str


def overviews(story: RunStory, slot: int) -> list[Picture]:
    """Return the pictures a mosaic is made of: those taken as overviews, else those of the largest field.

    All of one signal, the most frequent; in the order taken.
    """
    pictures = [p for p in story.pictures if p.slot == slot and Footprint.of(p.ref.meta) is not None]
    chosen = [p for p in pictures if p.purpose == OVERVIEW]
    if not chosen and pictures:
        widest = max(_field_m(p) for p in pictures)
        chosen = [p for p in pictures if _field_m(p) > 0.5 * widest and p.purpose != "focus"] or pictures
    if not chosen:
        return []
    signal = Counter(p.ref.meta.signal for p in chosen).most_common(1)[0][0]
    return [p for p in chosen if p.ref.meta.signal == signal]


def _field_m(picture: Picture) -> float:
    footprint = Footprint.of(picture.ref.meta)
    return footprint.width_px * footprint.pixel_x_m if footprint else 0.0


def busiest_slot(story: RunStory) -> int:
    """Return the carousel slot in which most was measured, else seen."""
    slots = Counter(m.slot for m in story.measurements) or Counter(p.slot for p in story.pictures)
    return slots.most_common(1)[0][0] if slots else 0


def bounds(pictures: Sequence[Picture], points_m: NDArray[np.float64]) -> Bounds | None:
    """Return the rectangle around all pictures and points (n, 2), with a small margin; None for nothing."""
    corners = [f.corners_m() for p in pictures if (f := Footprint.of(p.ref.meta)) is not None]
    every = np.concatenate([*corners, points_m.reshape(-1, 2)])
    if every.size == 0:
        return None
    low, high = every.min(axis=0), every.max(axis=0)
    extent = np.maximum(high - low, 1e-9)
    margin = MARGIN * float(extent.max())
    left, top = low - margin
    return Bounds(float(left), float(top), float(extent[0]) + 2 * margin, float(extent[1]) + 2 * margin)


def mosaic(pictures: Sequence[Picture], archive: Archive, around: Bounds) -> Mosaic | None:
    """Return the mosaic of some pictures, later ones above earlier ones; None where none can be read.

    One picture is in memory at a time. Levels are divided by the dwell time, so that pictures of different exposure
    match. The mosaic is never finer than the finest picture.
    """
    long_side_m = max(around.width_m, around.height_m)
    finest_m = min((f.pixel_x_m for p in pictures if (f := Footprint.of(p.ref.meta))), default=long_side_m)
    pixel_m = max(long_side_m / LONG_SIDE_PX, finest_m)
    width, height = (max(1, round(side / pixel_m)) for side in (around.width_m, around.height_m))
    canvas = np.full((height, width), np.nan, dtype=np.float32)
    pasted = sum(_paste(canvas, picture, archive, around, pixel_m) for picture in pictures)
    if not pasted:
        return None
    shown = np.isfinite(canvas)
    uri = data_uri(grey(canvas, *contrast(canvas)), shown)
    covered = Bounds(around.left_m, around.top_m, width * pixel_m, height * pixel_m)
    return Mosaic(uri, covered, pixel_m, pasted, pictures[0].ref.meta.signal, pictures[0].purpose)


def _paste(canvas: NDArray[np.float32], picture: Picture, archive: Archive, around: Bounds, pixel_m: float) -> int:
    """Put one picture onto the canvas; return how many were put there."""
    footprint, frame = Footprint.of(picture.ref.meta), archive.frame(picture.ref)
    if footprint is None or frame is None:
        return 0
    corners = (footprint.corners_m() - np.array([around.left_m, around.top_m])) / pixel_m
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, canvas.shape[::-1])
    x_m = around.left_m + (np.arange(low[0], high[0]) + 0.5) * pixel_m
    y_m = around.top_m + (np.arange(low[1], high[1]) + 0.5) * pixel_m
    levels = sample(frame.data, footprint, x_m, y_m) / np.float32(frame.meta.dwell_s)
    part = canvas[low[1] : high[1], low[0] : high[0]]
    np.copyto(part, levels, where=np.isfinite(levels))
    return 1
