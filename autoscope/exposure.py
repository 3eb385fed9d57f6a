"""What an action costs: time, electrons, bytes, fluence. Used by the guard, by plans and by cost-aware policies."""

from __future__ import annotations

import math

from autoscope.records import (
    Action,
    Capabilities,
    LoadSample,
    Measure,
    MicroscopeState,
    MoveStage,
    Scan,
    SetOptics,
    SpectrumImage,
    Value,
    Wait,
    dark_frames,
)

ELEMENTARY_CHARGE_C = 1.602176634e-19


class Cost(Value):
    """Predicted cost of an action."""

    time_s: float = 0.0
    dose_e: float = 0.0
    bytes: int = 0
    dose_e_per_m2: float = 0.0
    """Fluence of a scan, averaged over a pixel; 0 for points, whose area the probe decides."""


def electrons(current_a: float, duration_s: float) -> float:
    """Return the number of electrons in a beam of ``current_a`` during ``duration_s``.

    Examples
    --------
    >>> round(electrons(1.602176634e-19, 2.0), 9)
    2.0
    """
    return current_a * duration_s / ELEMENTARY_CHARGE_C


def predict(action: Action, state: MicroscopeState, capabilities: Capabilities) -> Cost:
    """Return what an action will cost from a given state, by the instrument's own timing.

    Examples
    --------
    >>> from autoscope.records import Timing
    >>> scope = Capabilities(instrument="x", serial="1", simulated=True, voltage_v=2e5, actions=("wait",), detectors=())
    >>> predict(Wait(duration_s=3.0), MicroscopeState(time_s=0.0), scope).time_s
    3.0
    """
    if frames := dark_frames(action):
        one = predict(action.replace(dark_frames=0), state, capabilities)
        return Cost(time_s=frames * one.time_s, bytes=frames * one.bytes)
    timing = capabilities.timing
    match action:
        case MoveStage():
            return Cost(time_s=travel_m(action, state) / timing.stage_speed_m_per_s + timing.stage_settle_s)
        case SetOptics():
            return Cost(time_s=timing.optics_settle_s)
        case Scan():
            return _scan_cost(action, state, capabilities, channels=len(action.detectors))
        case SpectrumImage():
            sizes = [s.size for name in action.signals if (s := capabilities.signal(name))]
            return _scan_cost(action, state, capabilities, channels=len(action.detectors) + 2 * sum(sizes))
        case Measure():
            sizes = [s.size for name in action.signals if (s := capabilities.signal(name))]
            dose = electrons(state.beam_current_a, action.dwell_s)
            values = sum(sizes) + capabilities.point_readings * len(action.detectors)
            return Cost(time_s=action.dwell_s + timing.point_overhead_s, dose_e=dose, bytes=4 * values)
        case LoadSample():
            return Cost(time_s=timing.sample_load_s if action.slot != state.sample_slot else 0.0)
        case Wait():
            return Cost(time_s=action.duration_s)
        case _:
            return Cost()


def travel_m(action: MoveStage, state: MicroscopeState) -> float:
    """Return the length of a stage move in metres (the longest axis sets the time of a straight move)."""
    pairs = ((action.x_m, state.x_m), (action.y_m, state.y_m), (action.z_m, state.z_m))
    return math.sqrt(sum((to - start) ** 2 for to, start in pairs if to is not None))


def _scan_cost(action: Scan | SpectrumImage, state: MicroscopeState, capabilities: Capabilities, channels: int) -> Cost:
    timing, pixels = capabilities.timing, action.width_px * action.height_px
    dose = electrons(state.beam_current_a, action.dwell_s * pixels)
    pixel_m = action.fov_m / action.width_px
    return Cost(
        time_s=action.dwell_s * pixels + timing.line_flyback_s * action.height_px + timing.frame_overhead_s,
        dose_e=dose,
        bytes=2 * pixels * channels,
        dose_e_per_m2=dose / (pixels * pixel_m**2),
    )
