"""Images as the page shows them: sampled on the axes of the stage, in grey levels, inside the file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from scipy.ndimage import map_coordinates

from autoscope.errors import JournalCorrupt
from autoscope.perception.bands import convert
from autoscope.records import Frame, FrameMeta, FrameRef

Floats = NDArray[np.float32]
QUALITY = 82
GAMMA = 0.6


@dataclass
class Archive:
    """Hands out frames one at a time and remembers which ones could not be trusted.

    Parameters
    ----------
    load : callable
        Returns a frame or raises `JournalCorrupt`.
    """

    load: Callable[[FrameRef], Frame]
    unreadable: dict[str, str] = field(default_factory=dict)

    def frame(self, ref: FrameRef) -> Frame | None:
        """Return a frame, or None where its file is absent or does not match its hash."""
        try:
            return self.load(ref)
        except JournalCorrupt as error:
            self.unreadable[ref.file] = str(error)
            return None


@dataclass(frozen=True)
class Footprint:
    """Where an image lies: centre in the stage frame, size and pixel in metres, and its turn from x towards y."""

    x_m: float
    y_m: float
    height_px: int
    width_px: int
    pixel_y_m: float
    pixel_x_m: float
    rotation_rad: float

    @classmethod
    def of(cls, meta: FrameMeta) -> Footprint | None:
        """Return the footprint of an image, or None where its axes are not lengths."""
        y, x = meta.axes[:2]
        try:
            pixel_y_m, pixel_x_m = (abs(convert(axis.scale, axis.unit, "m")) for axis in (y, x))
        except ValueError:
            return None
        if min(pixel_y_m, pixel_x_m) <= 0:
            return None
        return cls(meta.x_m, meta.y_m, y.size, x.size, pixel_y_m, pixel_x_m, meta.rotation_rad)

    def pixels(self, x_m: Any, y_m: Any) -> tuple[Any, Any]:
        """Return the (row, column) of stage points, fractions included; pixel centres are whole numbers."""
        c, s = math.cos(self.rotation_rad), math.sin(self.rotation_rad)
        dx, dy = x_m - self.x_m, y_m - self.y_m
        row = (-s * dx + c * dy) / self.pixel_y_m + (self.height_px - 1) / 2
        column = (c * dx + s * dy) / self.pixel_x_m + (self.width_px - 1) / 2
        return row, column

    def holds(self, x_m: float, y_m: float) -> bool:
        """Return whether a stage point lies in the image."""
        row, column = self.pixels(x_m, y_m)
        return bool(-0.5 <= row <= self.height_px - 0.5 and -0.5 <= column <= self.width_px - 0.5)

    def corners_m(self) -> NDArray[np.float64]:
        """Return the corners in order around the image, (4, 2) float64, x and y in the stage frame."""
        half = 0.5 * np.array([self.width_px * self.pixel_x_m, self.height_px * self.pixel_y_m])
        c, s = math.cos(self.rotation_rad), math.sin(self.rotation_rad)
        around = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half
        return np.asarray(around @ np.array([[c, s], [-s, c]]) + np.array([self.x_m, self.y_m]), dtype=np.float64)


def sample(data: NDArray[Any], footprint: Footprint, x_m: NDArray[Any], y_m: NDArray[Any]) -> Floats:
    """Return an image on a regular grid along the stage axes, (n, m) float32 for y_m (n,) and x_m (m,); NaN outside.

    Where the grid is coarser than the image, the image is averaged over blocks first, so that no particle is lost
    between two samples; then it is interpolated linearly.
    """
    step_m = abs(float(x_m[1] - x_m[0])) if len(x_m) > 1 else footprint.pixel_x_m
    block = max(1, int(step_m / footprint.pixel_x_m + 1e-6))
    small = _averaged(data, block)
    row, column = footprint.pixels(x_m[None, :], y_m[:, None])
    row, column = np.broadcast_arrays(row, column)
    inside = (
        (row >= -0.5) & (row <= footprint.height_px - 0.5) & (column >= -0.5) & (column <= footprint.width_px - 0.5)
    )
    places = [(index - (block - 1) / 2) / block for index in (row, column)]
    values = map_coordinates(small, places, order=1, mode="nearest", output=np.float32)
    return cast(Floats, np.where(inside, values, np.float32(np.nan)))


def _averaged(data: NDArray[Any], block: int) -> Floats:
    if block == 1:
        return data.astype(np.float32)
    rows, columns = (max(1, n // block) for n in data.shape)
    pad = [(0, max(0, n * block - size)) for n, size in zip((rows, columns), data.shape, strict=True)]
    whole = np.pad(data, pad, mode="edge")[: rows * block, : columns * block]
    means: Floats = whole.reshape(rows, block, columns, block).mean(axis=(1, 3), dtype=np.float32)
    return means


def grey(values: Floats, low: float, high: float) -> NDArray[np.uint8]:
    """Return levels 0 to 255 of values between ``low`` and ``high``, faint ones lifted; NaN becomes 0.

    The gamma makes carbon and small particles visible beside large ones, whose counts are a hundred times higher.
    """
    scaled = np.clip((np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-30), 0.0, 1.0)
    return cast(NDArray[np.uint8], np.round(255 * scaled**GAMMA).astype(np.uint8))


def contrast(values: NDArray[Any]) -> tuple[float, float]:
    """Return the levels shown as black and white: all but the darkest 0.5 % and the brightest 0.1 %."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, (0.5, 99.9))
    return float(low), float(high) if high > low else float(low) + 1.0


def data_uri(levels: NDArray[np.uint8], shown: NDArray[np.bool_] | None = None) -> str:
    """Return grey levels (h, w) as an image inside text; pixels outside ``shown`` are transparent."""
    if shown is None or shown.all():
        picture = Image.fromarray(levels)
    else:
        alpha = np.where(shown, 255, 0).astype(np.uint8)
        picture = Image.fromarray(np.dstack([levels, levels, levels, alpha]))
    buffer = io.BytesIO()
    kind = "webp" if features.check("webp") else "png"
    picture.save(buffer, kind, quality=QUALITY)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
