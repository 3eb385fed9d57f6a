"""Checks without any act: what the instrument says of itself, and whether its state is one."""

from __future__ import annotations

from collections.abc import Iterator

from autoscope.actions import OPTICS_FIELDS, Action
from autoscope.records import Capabilities, MicroscopeState
from autoscope.testing.conformance.bench import STAGE_FIELDS, Bench, line
from autoscope.testing.conformance.report import Check

KINDS = tuple(kind.model_fields["kind"].default for kind in Action.__origin__.__args__)  # type: ignore[attr-defined]
_FRAME_FIELDS = ("fov_m", "width_px", "height_px", "centre_x_m", "centre_y_m", "rotation_rad")
FIELDS = frozenset((*STAGE_FIELDS, *OPTICS_FIELDS, *_FRAME_FIELDS, "dwell_s", "duration_s", "slot")) | {
    "temperature_k",
    "bias_v",
}


def check_description(bench: Bench) -> Iterator[Check]:
    """Check that the capabilities are constant, complete and consistent."""
    group, can = "description", bench.can
    again = bench.instrument.describe()
    yield line(group, "describes itself in the same way every time", again == can, remedy="Build the capabilities once")
    faults = list(_faults(can))
    detail = (
        "; ".join(faults) or f"{len(can.actions)} actions, {len(can.detectors)} detectors, {len(can.signals)} signals"
    )
    remedy = "Correct what describe() returns: the guard and every plan believe it"
    yield line(group, "describes itself consistently", not faults, detail, remedy)


def _faults(can: Capabilities) -> Iterator[str]:
    """Yield what is wrong with capabilities."""
    yield from (f"unknown action {kind!r}" for kind in can.actions if kind not in KINDS)
    if not can.actions:
        yield "no action at all"
    for names in (can.actions, can.detectors, tuple(signal.name for signal in can.signals)):
        yield from (f"{name!r} is named twice" for name in sorted({n for n in names if names.count(n) > 1}))
    if "scan" in can.actions and not can.detectors:
        yield "scans images without an image detector"
    if {"measure", "spectrum_image"} & set(can.actions) and not can.signals:
        yield "records spectra without a spectrum signal"
    for signal in can.signals:
        if signal.axis.scale <= 0.0 or not signal.axis.unit:
            yield f"the axis of {signal.name!r} needs a unit and must ascend"
    yield from _range_faults(can)


def _range_faults(can: Capabilities) -> Iterator[str]:
    for field, interval in can.ranges.items():
        if field not in FIELDS:
            yield f"a range of {field!r}, which no action has"
        if interval.low > interval.high:
            yield f"the range of {field} is the wrong way round"
    for field, value in can.tolerances.items():
        if field not in FIELDS or value < 0.0:
            yield f"a tolerance of {field!r} that means nothing"
    exposes = {"scan", "measure", "spectrum_image"} & set(can.actions)
    needed = {"dwell_s"} if exposes else set()
    needed |= {"fov_m"} if "scan" in can.actions else set()
    if missing := sorted(needed - set(can.ranges)):
        yield f"no range of {', '.join(missing)}"


def check_state(bench: Bench) -> Iterator[Check]:
    """Check that the state is finite, in range, and does not count back."""
    group, first, second = "state", bench.instrument.state(), bench.instrument.state()
    faults = list(_state_faults(first, bench.can))
    detail = "; ".join(faults)
    yield line(
        group,
        "reads back finite values inside its own ranges",
        not faults,
        detail,
        "Convert at the driver's edge, and correct the range or the reading",
    )
    forward = second.time_s >= first.time_s and second.dose_e >= first.dose_e
    detail = "" if forward else f"time {first.time_s} -> {second.time_s} s, dose {first.dose_e} -> {second.dose_e} e"
    remedy = "Take time from the clock given, and only ever add to the dose"
    yield line(group, "time and dose never count back", forward, detail, remedy)


def _state_faults(state: MicroscopeState, can: Capabilities) -> Iterator[str]:
    try:
        MicroscopeState.model_validate(state.model_dump())
    except ValueError as error:
        yield f"not a state: {str(error).splitlines()[1]} is not finite or out of bounds"
        return
    axes = STAGE_FIELDS if "move_stage" in can.actions else ()
    for field in (*axes, *(OPTICS_FIELDS if "set_optics" in can.actions else ())):
        value, interval = getattr(state, field), can.ranges.get(field)
        play = can.tolerances.get(field, 0.0)
        if value is None:
            if interval:
                yield f"{field} has a range and is not told"
        elif interval and not interval.low - play <= value <= interval.high + play:
            yield f"{field} = {value:g} lies outside its range [{interval.low:g}, {interval.high:g}]"
    if state.voltage_v and abs(state.voltage_v / can.voltage_v - 1.0) > 0.01:
        yield f"the voltage is {state.voltage_v:g} V, described as {can.voltage_v:g} V"
