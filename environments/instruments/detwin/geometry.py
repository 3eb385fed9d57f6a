"""Scans as coil voltages on a rung of the magnification ladder, and virtual detectors as masks on the camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import OutOfRange
from autoscope.records import Measure, Scan, SpectrumImage
from environments.instruments.detwin.config import Annulus
from environments.instruments.detwin.verbs import COIL_LIMIT_V, FULL_FIELD_V

POINT_STEP_M = 1e-12
"""Step of the one-point scan that parks the probe."""


@dataclass(frozen=True)
class Plan:
    """A scan in the vendor's terms."""

    magnification: float
    voltage_h: tuple[float, float]
    voltage_v: tuple[float, float]
    size: tuple[int, int]
    """Columns, rows."""
    rotation_rad: float


def plan(action: Scan | SpectrumImage | Measure, fields_m: dict[float, float]) -> Plan:
    """Return the smallest field of the ladder in which a scan fits, and the coil voltages that draw it there.

    Parameters
    ----------
    action : Scan, SpectrumImage or Measure
        What is asked, with offsets in the specimen's orientation.
    fields_m : dict of float to float
        Width of the field drawn by 2 V, by magnification.

    Raises
    ------
    OutOfRange
        No rung reaches that far.
    """
    width, height, step_m, x_m, y_m, rotation_rad = _raster(action)
    span_m = max(width, height) * step_m
    for magnification, field_m in sorted(fields_m.items(), key=lambda item: item[1]):
        per_v = field_m / FULL_FIELD_V
        span_v, mid_h, mid_v = (
            span_m / per_v,
            -x_m / per_v,
            -y_m / per_v,
        )  # the specimen's axes are the image's negative
        if span_v <= FULL_FIELD_V * (1.0 + 1e-9) and max(abs(mid_h), abs(mid_v)) + span_v / 2.0 <= COIL_LIMIT_V:
            half = span_v / 2.0
            return Plan(
                magnification, (mid_h - half, mid_h + half), (mid_v - half, mid_v + half), (width, height), rotation_rad
            )
    raise OutOfRange(
        "no magnification reaches a field of this size there; nothing was done",
        where=action.kind,
        value=max(span_m, abs(x_m), abs(y_m)),
        limit=f"{max(fields_m.values()):g} m",
        remedy="Take a smaller field, or move the stage",
    )


def _raster(action: Scan | SpectrumImage | Measure) -> tuple[int, int, float, float, float, float]:
    if isinstance(action, Measure):
        return 1, 1, POINT_STEP_M, action.x_m, action.y_m, 0.0
    step_m = action.fov_m / action.width_px
    return action.width_px, action.height_px, step_m, action.centre_x_m, action.centre_y_m, action.rotation_rad


def angles_rad(shape: tuple[int, int], pixel_rad: float) -> NDArray[np.float64]:
    """Return the scattering angle of each pixel of a camera (rows, columns), the axis at ``shape // 2``."""
    y, x = (np.arange(n) - n // 2 for n in shape)
    return pixel_rad * np.hypot(y[:, None], x[None, :])


def mask(shape: tuple[int, int], pixel_rad: float, ring: Annulus) -> NDArray[np.bool_]:
    """Return which pixels of a camera belong to a virtual detector, shape (rows, columns)."""
    angle = angles_rad(shape, pixel_rad)
    inside: NDArray[np.bool_] = (angle >= ring.inner_rad) & (angle < ring.outer_rad)
    return inside


def binned(cube: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return patterns (..., n, n) summed in blocks to (..., side, side); ``side`` divides ``n``."""
    n = cube.shape[-1]
    blocks = cube.reshape(*cube.shape[:-2], side, n // side, side, n // side)
    summed: NDArray[np.float32] = blocks.sum(axis=(-3, -1), dtype=np.float32)
    return summed
