"""Labels of frames: where, when and how, as the microscope believes."""

from __future__ import annotations

import math

from autoscope.records import Frame, FrameMeta, Measure, MicroscopeState
from environments.instruments.simulated.acquisition import Exposing, Record


def centre_m(action: Exposing) -> tuple[float, float]:
    """Return the offset (x, y) of a point, or of the centre of a field, from the optical axis."""
    if isinstance(action, Measure):
        return action.x_m, action.y_m
    return action.centre_x_m, action.centre_y_m


def exposed_m2(action: Exposing, probe_m: float) -> float:
    """Return the area of a field, or ``pi r^2`` of a probe of rms radius ``probe_m``."""
    if isinstance(action, Measure):
        return math.pi * probe_m**2
    return action.fov_m**2 * action.height_px / action.width_px


def label(
    record: Record, action: Exposing, state: MicroscopeState, begin_s: float, dose_e: float, probe_m: float
) -> Frame:
    """Return a record with its meaning.

    Parameters
    ----------
    record : Record
        What a detector gave.
    action : Scan, Measure or SpectrumImage
        What was asked.
    state : MicroscopeState
        Read-back when the act began; hidden errors and drift never enter a label.
    begin_s : float
        Time at which the exposure began.
    dose_e : float
        Electrons of the whole exposure.
    probe_m : float
        Rms radius of the probe in focus.
    """
    x_m, y_m = centre_m(action)
    meta = FrameMeta(
        signal=record.signal,
        axes=record.axes,
        time_s=begin_s,
        dwell_s=action.dwell_s,
        x_m=state.x_m + x_m,
        y_m=state.y_m + y_m,
        rotation_rad=0.0 if isinstance(action, Measure) else action.rotation_rad,
        beam_current_a=state.beam_current_a,
        defocus_m=state.defocus_m,
        dose_e_per_m2=dose_e / exposed_m2(action, probe_m),
    )
    return Frame(meta, record.data)
