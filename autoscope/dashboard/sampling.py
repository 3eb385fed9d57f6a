"""Which part of the world a picture shows, and which array element each of its pixels shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from autoscope.records import FrameMeta

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of the stage frame, in metres; y grows downwards on the screen as rows do in arrays."""

    left_m: float
    top_m: float
    width_m: float
    height_m: float

    @classmethod
    def of_frame(cls, meta: FrameMeta) -> Self:
        """Return where an image lies: its centre in the stage frame, its size from its axes."""
        height_m, width_m = (abs(axis.scale) * axis.size for axis in meta.axes)
        return cls(meta.x_m - width_m / 2, meta.y_m - height_m / 2, width_m, height_m)

    @classmethod
    def around(cls, x_m: Floats, y_m: Floats, margin: float = 0.05) -> Self:
        """Return the smallest window around some points, with a margin; 1 nm at least."""
        known = np.isfinite(x_m) & np.isfinite(y_m)
        x_m, y_m = (x_m[known], y_m[known]) if known.any() else (np.zeros(1), np.zeros(1))
        side = max(float(np.ptp(x_m)), float(np.ptp(y_m)), 1e-9) * margin
        left, top = float(x_m.min()) - side, float(y_m.min()) - side
        return cls(left, top, float(np.ptp(x_m)) + 2 * side, float(np.ptp(y_m)) + 2 * side)

    def joined(self, other: Window) -> Window:
        """Return the smallest window that holds both."""
        left, top = min(self.left_m, other.left_m), min(self.top_m, other.top_m)
        right = max(self.left_m + self.width_m, other.left_m + other.width_m)
        bottom = max(self.top_m + self.height_m, other.top_m + other.height_m)
        return Window(left, top, right - left, bottom - top)

    def fitted(self, columns: int, rows: int) -> Window:
        """Return the window widened on one side, so that so many square pixels show it undistorted."""
        pitch = max(self.width_m / columns, self.height_m / rows)
        more_x, more_y = pitch * columns - self.width_m, pitch * rows - self.height_m
        return Window(self.left_m - more_x / 2, self.top_m - more_y / 2, pitch * columns, pitch * rows)

    def pixels(self, x_m: Floats, y_m: Floats, columns: int, rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (row, column) of points on a picture of this window; -1 outside and where there is no point."""
        column, row = (x_m - self.left_m) / self.width_m * columns, (y_m - self.top_m) / self.height_m * rows
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)  # False for NaN
        return tuple(np.where(inside, v, -1).astype(np.int64) for v in (row, column))  # type: ignore[return-value]


def sampled(image: NDArray[np.float64], of: Window, shown: Window, columns: int, rows: int) -> Floats:
    """Return an image as pixels (rows, columns) of a picture that shows another window; NaN where it does not reach.

    Pixels that cover several elements show their mean, so that a single bright one is not lost between them.
    """
    height, width = image.shape
    pitch_x, pitch_y = shown.width_m / columns, shown.height_m / rows
    shrink = max(1, round(min(pitch_x * width / of.width_m, pitch_y * height / of.height_m)))
    if shrink > 1:
        image = _binned(image, shrink)
        height, width = image.shape
    x_m = shown.left_m + (np.arange(columns) + 0.5) * pitch_x
    y_m = shown.top_m + (np.arange(rows) + 0.5) * pitch_y
    j, i = np.floor((x_m - of.left_m) / of.width_m * width), np.floor((y_m - of.top_m) / of.height_m * height)
    reached = ((i >= 0) & (i < height))[:, None] & ((j >= 0) & (j < width))[None]
    found = image[np.clip(i, 0, height - 1).astype(int)[:, None], np.clip(j, 0, width - 1).astype(int)[None]]
    return np.where(reached, found, np.nan)


def _binned(image: NDArray[np.float64], by: int) -> Floats:
    """Return means of squares; a rest at the borders that fills no square is shared among the last ones."""
    rows, columns = (np.arange(0, max(n - n % by, 1), by) for n in image.shape)
    summed = np.add.reduceat(np.add.reduceat(image.astype(np.float64), rows, axis=0), columns, axis=1)
    counts = np.outer(np.diff([*rows, image.shape[0]]), np.diff([*columns, image.shape[1]]))
    return np.asarray(summed / counts)
