"""Frames of drivers: axes in metres from the middle of the field, and what is known about the exposure."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from autoscope.exposure import electrons
from autoscope.guard.geometry import probe_area_m2
from autoscope.records import Axis, Frame, FrameMeta, Measure, MicroscopeState, Scan, SpectrumImage, SpectrumSignal


def scan_axes(action: Scan | SpectrumImage) -> tuple[Axis, Axis]:
    """Return the y and x axes of an image: pixel centres in metres from the middle of the field."""
    pixel_m = action.fov_m / action.width_px
    y, x = (
        Axis(name=name, unit="m", size=size, offset=(0.5 - size / 2.0) * pixel_m, scale=pixel_m)
        for name, size in (("y", action.height_px), ("x", action.width_px))
    )
    return y, x


def image_frame(
    name: str,
    data: NDArray[Any],
    action: Scan | SpectrumImage,
    state: MicroscopeState,
    *,
    time_s: float,
    signal: SpectrumSignal | None = None,
    unit: str = "counts",
) -> Frame:
    """Return an image (y, x), or a spectrum image or 4D data set of ``signal``, with its meaning.

    ``state`` is what was read back when the exposure began; ``time_s`` is that moment.
    """
    pixel_m = action.fov_m / action.width_px
    meta = FrameMeta(
        signal=name,
        axes=(*scan_axes(action), *_own_axes(signal)),
        unit=unit,
        time_s=time_s,
        dwell_s=action.dwell_s,
        x_m=state.x_m + action.centre_x_m,
        y_m=state.y_m + action.centre_y_m,
        rotation_rad=action.rotation_rad,
        beam_current_a=state.beam_current_a,
        defocus_m=state.defocus_m,
        dose_e_per_m2=electrons(state.beam_current_a, action.dwell_s) / pixel_m**2,
    )
    return Frame(meta, data)


def point_frame(
    signal: SpectrumSignal,
    data: NDArray[Any],
    action: Measure,
    state: MicroscopeState,
    *,
    time_s: float,
    unit: str = "counts",
) -> Frame:
    """Return a spectrum or pattern of one point; its fluence is that of the smallest probe the optics allow.

    Without a convergence angle the probe's area is unknown, and the fluence is given as 0.
    """
    dose_e = electrons(state.beam_current_a, action.dwell_s)
    area_m2 = math.inf
    if state.convergence_rad > 0.0 and state.voltage_v > 0.0:
        area_m2 = probe_area_m2(state.convergence_rad, state.voltage_v, state.defocus_m)
    meta = FrameMeta(
        signal=signal.name,
        axes=_own_axes(signal),
        unit=unit,
        time_s=time_s,
        dwell_s=action.dwell_s,
        x_m=state.x_m + action.x_m,
        y_m=state.y_m + action.y_m,
        beam_current_a=state.beam_current_a,
        defocus_m=state.defocus_m,
        dose_e_per_m2=dose_e / area_m2,
    )
    return Frame(meta, data)


def _own_axes(signal: SpectrumSignal | None) -> tuple[Axis, ...]:
    if signal is None:
        return ()
    return (signal.axis,) if signal.rows is None else (signal.rows, signal.axis)
