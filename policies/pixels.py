"""The pixels of an overview as places to measure: from index to offset and back, without ever missing by one."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import Unsupported
from autoscope.records import Scan

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class PixelGrid:
    """The pixel centres of one scan; a pixel is its index row by row, ``i * width_px + j``.

    Raises
    ------
    Unsupported
        The scan is rotated: its pixels do not follow the axes of the stage frame.

    Examples
    --------
    >>> grid = PixelGrid(Scan(fov_m=4e-9, width_px=4, height_px=2, dwell_s=1e-6))
    >>> grid.position(6)
    (5e-10, 5e-10)
    >>> grid.pixel_at(5e-10, 5e-10)
    6
    """

    scan: Scan

    def __post_init__(self) -> None:
        if self.scan.rotation_rad != 0.0:
            remedy = "Take the overview without rotation"
            raise Unsupported(
                "points cannot be chosen in a rotated overview", value=self.scan.rotation_rad, remedy=remedy
            )

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.scan.width_px * self.scan.height_px

    def name(self, pixel: int) -> str:
        """Return ``pixel i,j`` for people: row and column."""
        return "pixel {},{}".format(*divmod(pixel, self.scan.width_px))

    def position(self, pixel: int) -> tuple[float, float]:
        """Return the offset (x_m, y_m) of a pixel's centre from the optical axis."""
        x, y = self.positions(np.array([pixel]))[0]
        return float(x), float(y)

    def positions(self, pixels: Indices) -> Array:
        """Return offsets of pixel centres, shape (n, 2), metres; by the formula of `autoscope.records`."""
        scan = self.scan
        i, j = np.divmod(pixels, scan.width_px)
        x = scan.centre_x_m + ((j + 0.5) / scan.width_px - 0.5) * scan.fov_m
        y = scan.centre_y_m + ((i + 0.5) / scan.height_px - 0.5) * scan.fov_m * scan.height_px / scan.width_px
        return np.stack([x, y], axis=1)

    def pixel_at(self, x_m: float, y_m: float) -> int | None:
        """Return the pixel that contains an offset, or None outside the scan.

        A centre is half a pixel from any border, so rounding cannot carry it into another pixel.
        """
        scan = self.scan
        pitch_m = scan.fov_m / scan.width_px
        j = math.floor((x_m - scan.centre_x_m) / pitch_m + scan.width_px / 2)
        i = math.floor((y_m - scan.centre_y_m) / pitch_m + scan.height_px / 2)
        inside = 0 <= i < scan.height_px and 0 <= j < scan.width_px
        return i * scan.width_px + j if inside else None

    def strided(self, stride_px: int) -> Indices:
        """Return every ``stride_px``-th pixel in both directions, centred, row by row."""
        offset = (stride_px - 1) // 2
        rows = np.arange(min(offset, self.scan.height_px - 1), self.scan.height_px, stride_px)
        columns = np.arange(min(offset, self.scan.width_px - 1), self.scan.width_px, stride_px)
        return (rows[:, None] * self.scan.width_px + columns).ravel().astype(np.int64)


def image_to_plain(image: Array) -> dict[str, Any]:
    """Return an image as JSON data: shape and base64 of little-endian float64."""
    return {"shape": list(image.shape), "data": base64.b64encode(image.astype("<f8").tobytes()).decode("ascii")}


def image_from_plain(plain: dict[str, Any]) -> Array:
    """Return the image written by `image_to_plain`."""
    flat = np.frombuffer(base64.b64decode(plain["data"]), dtype="<f8")
    return flat.astype(np.float64).reshape(plain["shape"])
