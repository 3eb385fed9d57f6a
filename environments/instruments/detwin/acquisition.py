"""Images and patterns of the twin in process: expected electrons from the twin, counted here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import Unsupported
from autoscope.protocols import FrameSink
from autoscope.records import Measure, Scan, SpectrumImage
from environments.instruments.detwin.config import Annulus, DetwinConfig
from environments.instruments.detwin.connection import TwinConnection
from environments.instruments.detwin.geometry import Plan, binned, mask, plan
from environments.instruments.driving.frames import scan_axes

Array = NDArray[Any]
BLOCK_PATTERNS = 64
"""Patterns computed at a time: between blocks a run can be stopped."""


class TwinAcquisition:
    """Virtual detectors and 4D-STEM from the twin's optics.

    Parameters
    ----------
    connection : TwinConnection
        The twin.
    config : DetwinConfig
        Detectors and patterns.
    fields_m : dict of float to float
        Field of each rung of the magnification ladder.
    rng : numpy.random.Generator
        Counting statistics.
    """

    def __init__(
        self, connection: TwinConnection, config: DetwinConfig, fields_m: dict[float, float], rng: np.random.Generator
    ) -> None:
        self._twin, self._types = connection.twin, connection.state_types
        self._config, self._fields_m, self._rng = config, fields_m, rng
        rows, _ = self._twin.detector.model.sensor_shape
        self._hardware_bin = math.gcd(8, rows // config.pattern.side_px)

    def images(self, action: Scan, check_stop: Callable[[], None]) -> dict[str, Array]:
        """Return one image per virtual detector, (rows, columns) electrons; the twin draws each at one blow."""
        check_stop()
        request = self._request(plan(action, self._fields_m), action.dwell_s)
        return {
            name: self._count(self._ring(request, self._config.detectors[name]) * action.dwell_s)
            for name in action.detectors
        }

    def cube(
        self, action: SpectrumImage, check_stop: Callable[[], None], sink: FrameSink
    ) -> tuple[Array, dict[str, Array]]:
        """Return patterns (rows, columns, ky, kx) and, summed from them on the fly, one image per virtual detector."""
        masks = {name: self.pattern_mask(self._config.detectors[name], name) for name in action.detectors}
        side = self._config.pattern.side_px
        cube = np.zeros(
            (action.height_px, action.width_px, side, side), np.float32 if not self._config.noise else np.uint32
        )
        images = {name: np.zeros(cube.shape[:2], cube.dtype) for name in masks}
        sink.begin(self._config.pattern.name, cube)
        for first, block in _blocks(action):
            check_stop()
            counted = self.patterns(block)
            rows = slice(first, first + block.height_px)
            cube[rows] = counted
            for name, chosen in masks.items():
                images[name][rows] = counted[..., chosen].sum(axis=-1)
            sink.advance(self._config.pattern.name, rows.stop * action.width_px)
        return cube, images

    def patterns(self, action: SpectrumImage | Measure) -> Array:
        """Return the counted patterns of a scan (rows, columns, ky, kx), or of a point (1, 1, ky, kx)."""
        bins = (self._hardware_bin, self._hardware_bin)
        request = self._request(plan(action, self._fields_m), action.dwell_s, hw_binning=bins)
        expected = binned(self._twin.datacube(request), self._config.pattern.side_px) * action.dwell_s
        return self._count(expected)

    def pattern_mask(self, ring: Annulus, name: str) -> NDArray[np.bool_]:
        """Return the pixels of a binned pattern that make up a virtual detector.

        Raises
        ------
        Unsupported
            The detector reaches beyond the camera at this camera length.
        """
        side, pixel_rad = self._config.pattern.side_px, self.pixel_rad()
        reach_rad = side // 2 * pixel_rad
        if ring.outer_rad > reach_rad * (1.0 + 1e-6):
            raise Unsupported(
                "this virtual detector reaches beyond the camera",
                where=f"detectors.{name}",
                value=ring.outer_rad,
                limit=f"{reach_rad:g} rad",
                remedy="Choose a shorter camera length or a smaller outer angle, or leave it out of 4D scans",
            )
        return mask((side, side), pixel_rad, ring)

    def pixel_rad(self) -> float:
        """Return the angle of one pixel of a binned pattern."""
        sensor_px, _ = self._twin.detector.model.sensor_shape
        optics = self._twin.optics(self._twin.request())
        return float(optics.extras["mrad_per_px"] * 1e-3 * sensor_px / self._config.pattern.side_px)

    def truth(self, action: Scan) -> dict[str, Any]:
        """Return the twin's ground truth on the grid of a scan, arrays (rows, columns)."""
        return dict(
            self._twin.ground_truth(self._request(plan(action, self._fields_m), action.dwell_s), as_arrays=True)
        )

    def _request(self, drawn: Plan, dwell_s: float, **fields: Any) -> Any:
        self._twin.column.set("Magnification", drawn.magnification)
        scan = self._types.ScanRequest(
            enabled=True,
            size=drawn.size,
            dwell_s=dwell_s,
            rotation_deg=math.degrees(drawn.rotation_rad),
            voltage_h=drawn.voltage_h,
            voltage_v=drawn.voltage_v,
            flip=(True, True),
        )
        return self._twin.request(frame_time_s=dwell_s, scan=scan, **fields)

    def _ring(self, request: Any, ring: Annulus) -> Array:
        image: Array = self._twin.virtual_image(request, ring.inner_rad * 1e3, ring.outer_rad * 1e3)
        return image

    def _count(self, expected: Array) -> Array:
        if not self._config.noise:
            return expected.astype(np.float32)
        return self._rng.poisson(np.maximum(expected, 0.0)).astype(np.uint32)


def _blocks(action: SpectrumImage) -> Iterator[tuple[int, SpectrumImage]]:
    """Yield bands of rows of a scan, each a scan of its own in the right place, with the number of its first row."""
    y_axis, _ = scan_axes(action)
    rows = max(BLOCK_PATTERNS // action.width_px, 1)
    sine, cosine = math.sin(action.rotation_rad), math.cos(action.rotation_rad)
    for first in range(0, action.height_px, rows):
        n = min(rows, action.height_px - first)
        down_m = y_axis.offset + y_axis.scale * (first + (n - 1) / 2.0)
        yield (
            first,
            action.replace(
                height_px=n,
                centre_x_m=action.centre_x_m - sine * down_m,
                centre_y_m=action.centre_y_m + cosine * down_m,
            ),
        )
