"""Whether an act may be begun, and whether what was set has been reached: out of range is an error, never a clamp."""

from __future__ import annotations

import math
from collections.abc import Iterator

from autoscope.actions import CORRECTOR_FIELDS, OPTICS_FIELDS
from autoscope.errors import NotReached, OutOfRange, Unsupported
from autoscope.records import (
    Action,
    Blank,
    Capabilities,
    LoadSample,
    Measure,
    MicroscopeState,
    MoveStage,
    Scan,
    SetOptics,
    SetStimulus,
    SpectrumImage,
    Wait,
    dark_frames,
)

STAGE = ("x_m", "y_m", "z_m", "alpha_rad", "beta_rad")
_FRAME = ("fov_m", "width_px", "height_px", "dwell_s", "centre_x_m", "centre_y_m", "rotation_rad")
_CHECKED: dict[type[object], dict[str, str]] = {
    MoveStage: {n: n for n in STAGE},
    SetOptics: {n: n for n in OPTICS_FIELDS},
    Scan: {n: n for n in _FRAME},
    SpectrumImage: {n: n for n in _FRAME},
    Measure: {"x_m": "centre_x_m", "y_m": "centre_y_m", "dwell_s": "dwell_s"},
    SetStimulus: {n: n for n in ("temperature_k", "bias_v")},
    LoadSample: {"slot": "slot"},
    Wait: {"duration_s": "duration_s"},
}
"""For each action, its fields and the range that each must lie in."""
_FREE = ("centre_x_m", "centre_y_m", "rotation_rad", "duration_s")
"""Fields that an instrument without a range for them has at zero only (a wait: without bound)."""
_CLOSE = 1e-6
"""Relative difference up to which two numbers mean the same rung or setting."""


def admit(action: Action, can: Capabilities, max_frame_bytes: int) -> None:
    """Let an action pass, or refuse it before anything is done.

    Raises
    ------
    Unsupported
        No such action, detector or signal, or a field that this instrument cannot set.
    OutOfRange
        A value lies outside its range, is none of its choices, or the frames would be too large.
    """
    if action.kind not in can.actions:
        raise Unsupported("no such action on this instrument", where=action.kind, limit=", ".join(can.actions))
    if dark_frames(action) and not can.dark:
        what = "this instrument cannot keep the beam away while it records; nothing was done"
        raise Unsupported(what, where=f"{action.kind}.dark_frames", value=dark_frames(action))
    for kind, wanted, known in _names(action, can):
        if not wanted:
            raise Unsupported(f"an exposure without {kind}", where=action.kind, limit=", ".join(known))
        for name in wanted:
            if name not in known:
                raise Unsupported(f"no such {kind}", where=action.kind, value=name, limit=", ".join(known) or "none")
    for field, key in _CHECKED.get(type(action), {}).items():
        if (value := getattr(action, field)) is not None:
            _admit_value(f"{action.kind}.{field}", key, float(value), can)
    if isinstance(action, Scan | SpectrumImage):
        _admit_size(action, can, max_frame_bytes)


def _names(action: Action, can: Capabilities) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    signals = tuple(s.name for s in can.signals)
    match action:
        case Scan():
            yield "image detector", action.detectors, can.detectors
        case SpectrumImage():
            yield "signal", action.signals, signals
            if action.detectors:
                yield "image detector", action.detectors, can.detectors
        case Measure():
            yield "signal", action.signals, signals
            if action.detectors:
                yield "image detector at a point", action.detectors, can.detectors if can.point_readings else ()
        case _:
            return


def _admit_value(where: str, key: str, value: float, can: Capabilities) -> None:
    interval = can.ranges.get(key)
    if interval is None:
        if key == "duration_s" or (key in _FREE and value == 0.0):
            return
        what = "this instrument has no corrector for it" if key in CORRECTOR_FIELDS else "this instrument cannot set it"
        raise Unsupported(f"{what}; nothing was done", where=where, value=value)
    if value not in interval:
        raise OutOfRange(
            "the value is outside the instrument's range; nothing was done",
            where=where,
            value=value,
            limit=f"[{interval.low!r}, {interval.high!r}]",
            remedy="Ask for a value within it",
        )
    choices = can.choices.get(key, ())
    if choices and not any(math.isclose(value, choice, rel_tol=_CLOSE) for choice in choices):
        raise OutOfRange(
            "the instrument has no such value, and takes no neighbour for it; nothing was done",
            where=where,
            value=value,
            limit=", ".join(f"{choice:g}" for choice in choices),
            remedy="Ask for one of these",
        )


def _admit_size(action: Scan | SpectrumImage, can: Capabilities, limit: int) -> None:
    names = action.signals if isinstance(action, SpectrumImage) else ()
    values = len(action.detectors) + sum(s.size for name in names if (s := can.signal(name)))
    size = 4 * action.width_px * action.height_px * values * max(1, dark_frames(action))
    if size > limit:
        raise OutOfRange(
            "the frames would be larger than this driver may hold; nothing was done",
            where=action.kind,
            value=size,
            limit=f"{limit} bytes",
            remedy="Ask for fewer pixels or signals, or raise max_frame_bytes in the driver's configuration",
        )


def require_reached(action: Action, state: MicroscopeState, can: Capabilities) -> None:
    """Return if what was asked is what is read back.

    Raises
    ------
    NotReached
        A field reads further from the request than its tolerance, or the beam is not blanked as asked.
    """
    if isinstance(action, Blank) and state.blanked != action.blanked:
        raise NotReached("the blanker did not follow", where="blank.blanked", value=state.blanked, limit=action.blanked)
    if not isinstance(action, MoveStage | SetOptics):
        return
    for field in STAGE if isinstance(action, MoveStage) else OPTICS_FIELDS:
        asked, read = getattr(action, field), getattr(state, field)
        tolerance = can.tolerances.get(field, 0.0)
        if asked is not None and (read is None or abs(read - asked) > tolerance + _CLOSE * abs(asked)):
            raise NotReached(
                "what is read back is not what was asked",
                where=f"{action.kind}.{field}",
                value=read,
                limit=f"{asked!r} within {tolerance!r}",
                remedy="Look at the instrument: a limit, a clamp or a wrong unit; then ask again",
            )
