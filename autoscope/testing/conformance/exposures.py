"""Checks of exposures: frames, their labels, dose and time; and that an act is done once only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autoscope.errors import FrameRejected
from autoscope.exposure import electrons
from autoscope.guard.quality import require_form
from autoscope.records import (
    Action,
    Axis,
    Blank,
    Frame,
    Measure,
    Observation,
    Scan,
    SpectrumImage,
    Wait,
)
from autoscope.testing.conformance.bench import Bench, line
from autoscope.testing.conformance.report import Check

Exposing = Scan | Measure | SpectrumImage
WAIT_S = 0.05
"""How long the beam rests on the sample to see whether it is counted."""
DOSE_FACTOR = 3.0
"""Most by which the dose counted may differ from current times dwell (or, upwards, from current times the whole act):
flyback and waiting with an open beam count too."""

DARK_FRAMES = 3
"""Frames of each detector that are recorded without beam."""


def check_frames(bench: Bench) -> Iterator[Check]:
    """Check that every kind of exposure records frames of the right signal, shape, axes and numbers."""
    wide = bench.small(32, 24)
    wanted: list[tuple[str, Exposing]] = []
    if bench.can_do("scan"):
        wanted.append(("an image has its shape [y, x], axes, unit and label", wide))
        if len(bench.can.detectors) > 1:
            both = wide.replace(detectors=bench.can.detectors)
            wanted.append(("all image detectors are recorded together", both))
    if bench.can_do("measure"):
        for signal in bench.can.signals:
            what = "a pattern" if signal.rows else "a spectrum"
            wanted.append((f"{what} of {signal.name} has the axes described", bench.measure(signals=(signal.name,))))
    if bench.can_do("spectrum_image"):
        for signal in bench.can.signals:
            small = bench.spectrum_image().replace(signals=(signal.name,))
            wanted.append((f"a data set of {signal.name} has its shape [y, x, ...] and axes", small))
    for promise, action in wanted:
        seen = bench.do(action)
        faults = list(_frame_faults(bench, action, seen))
        shapes = ", ".join(f"{f.meta.signal} {f.data.shape} {f.data.dtype}" for f in seen.frames)
        remedy = "Label frames as docs/plugins.md says: [y, x], pixel centres from the middle of the field, in metres"
        yield line("frames", promise, not faults, "; ".join(faults) or shapes, remedy)


def _frame_faults(bench: Bench, action: Exposing, seen: Observation) -> Iterator[str]:
    """Yield what is wrong with the frames of an exposure."""
    names = () if isinstance(action, Scan) else action.signals
    names += action.detectors
    recorded = [frame.meta.signal for frame in seen.frames]
    if sorted(recorded) != sorted(names):
        yield f"recorded {recorded} where {list(names)} was asked"
    for frame in seen.frames:
        name = frame.meta.signal
        try:
            require_form(frame, action, bench.can)
        except FrameRejected as error:
            yield f"{name}: {error}"
            continue
        if not np.isfinite(frame.data).all():
            yield f"{name} holds NaN or infinity"
        yield from (f"{name}: {fault}" for fault in _label_faults(bench, action, frame, seen))


def _label_faults(bench: Bench, action: Exposing, frame: Frame, seen: Observation) -> Iterator[str]:
    meta, signal = frame.meta, bench.can.signal(frame.meta.signal)
    own = () if signal is None else (signal.axis,) if signal.rows is None else (signal.rows, signal.axis)
    if own and meta.axes[-len(own) :] != own:
        yield f"its own axes are {meta.axes[-len(own) :]}, described as {own}"
    if not isinstance(action, Measure):
        height_m = action.fov_m * action.height_px / action.width_px
        for axis, name, size_m in zip(meta.axes, "yx", (height_m, action.fov_m)):
            yield from _axis_faults(axis, name, size_m)
        if abs(meta.rotation_rad - action.rotation_rad) > 1e-6:
            yield f"rotation {meta.rotation_rad} rad where {action.rotation_rad} was asked"
    if abs(meta.dwell_s / action.dwell_s - 1.0) > 0.05:
        yield f"dwell {meta.dwell_s:g} s where {action.dwell_s:g} s was asked"
    slack_s = 1e-3
    if not seen.state_before.time_s - slack_s <= meta.time_s <= seen.state.time_s + slack_s:
        yield f"time {meta.time_s} s is not within the act, {seen.state_before.time_s} to {seen.state.time_s} s"


def _axis_faults(axis: Axis, name: str, size_m: float) -> Iterator[str]:
    pixel_m = size_m / axis.size
    if axis.name != name or axis.unit != "m":
        yield f"an axis is called {axis.name!r} in {axis.unit!r}, not {name!r} in 'm' (arrays are [y, x])"
    if abs(axis.scale / pixel_m - 1.0) > 0.02:
        yield f"pixels of {axis.scale:.4g} m along {name} where the field asked for has {pixel_m:.4g} m"
    elif abs(axis.offset - (0.5 - axis.size / 2.0) * pixel_m) > 0.6 * pixel_m:
        yield f"the first pixel of {name} lies at {axis.offset:.4g} m; the field's middle must be at 0"


def check_dose_and_time(bench: Bench) -> Iterator[Check]:
    """Check that dose counts exposures and nothing else, and that time passes at least as long as the beam dwells."""
    if bench.can_do("wait"):
        seen = bench.do(Wait(duration_s=WAIT_S))
        passed_s = seen.state.time_s - seen.state_before.time_s
        ok = passed_s >= 0.95 * WAIT_S
        yield line("dose and time", "waiting takes its time", ok, f"{passed_s:.3g} s for {WAIT_S} s", "Use the clock")
        yield _no_dose_while_blanked(bench, seen)
    for action in _exposures(bench):
        yield from _dose_of(bench, action)
        if bench.can.dark:
            yield _dark(bench, action)
    if bench.can_do("blank") and bench.can_do("wait"):
        yield _dose_while_open(bench)


def _no_dose_while_blanked(bench: Bench, seen: Observation) -> Check:
    promise = "the dose stands still while the beam is blanked"
    if not seen.state_before.blanked:
        return line("dose and time", promise, "not applicable", "the beam is not blanked")
    ok = seen.dose_e == 0.0
    return line("dose and time", promise, ok, f"{seen.dose_e:g} e while waiting")


def _dark(bench: Bench, action: Scan | Measure) -> Check:
    seen = bench.do(action.replace(dark_frames=DARK_FRAMES))
    names = action.detectors if isinstance(action, Scan) else action.signals
    counts = [sum(frame.meta.signal == name for frame in seen.frames) for name in names]
    stays, was = seen.state.blanked == seen.state_before.blanked, "blanked" if seen.state.blanked else "not blanked"
    unexposed = seen.dose_e == 0.0 or not seen.state_before.blanked
    ok = stays and unexposed and counts == [DARK_FRAMES] * len(names)
    detail = f"{counts} frames, {seen.dose_e:g} e, afterwards {was}"
    promise = f"dark frames of a {action.kind} expose nothing and leave the blanker as it was"
    return line("dose and time", promise, ok, detail, "Keep the beam away, record dark_frames frames of each, restore")


def _exposures(bench: Bench) -> Iterator[Scan | Measure]:
    if bench.can_do("scan"):
        yield bench.small(32, 32)
    if bench.can_do("measure"):
        yield bench.measure()


def _dose_of(bench: Bench, action: Exposing) -> Iterator[Check]:
    group, seen = "dose and time", bench.do(action)
    pixels = 1 if isinstance(action, Measure) else action.width_px * action.height_px
    dwell_s, took_s = action.dwell_s * pixels, seen.state.time_s - seen.state_before.time_s
    promise = f"a {action.kind} takes at least its dwell time"
    detail = f"{took_s:.3g} s for {dwell_s:.3g} s of beam"
    yield line(group, promise, took_s >= 0.95 * dwell_s, detail, "Return when it is done, not before")
    current_a, promise = seen.state.beam_current_a, f"a {action.kind} adds its electrons to the dose"
    if current_a == 0.0:
        yield line(group, promise, "not applicable", "the instrument tells no beam current, so nobody can limit dose")
        return
    expected_e = electrons(current_a, dwell_s)
    most_e = max(DOSE_FACTOR * expected_e, 1.1 * electrons(current_a, took_s))
    ok = expected_e / DOSE_FACTOR <= seen.dose_e <= most_e
    detail = f"{seen.dose_e:.3g} e counted, current times dwell is {expected_e:.3g} e"
    yield line(group, promise, ok, detail, "Add current times dwell to dose_e")


def _dose_while_open(bench: Bench) -> Check:
    promise = "an unblanked beam counts while nothing else happens"
    if bench.gentle or bench.start.beam_current_a == 0.0:
        why = "gentle: the beam stays blanked" if bench.gentle else "no beam current is told"
        return line("dose and time", promise, "not applicable", why)
    try:
        opened = bench.do(Blank(blanked=False)).state
        bench.do(Wait(duration_s=WAIT_S))
        counted_e = bench.instrument.state().dose_e - opened.dose_e
    finally:
        bench.do(Blank(blanked=True))
    expected_e = electrons(bench.start.beam_current_a, WAIT_S)
    if bench.can.native_scan:
        return line("dose and time", promise, "not applicable", "stored data have no sample to harm")
    ok = not opened.blanked and counted_e >= 0.5 * expected_e
    detail = f"{counted_e:.3g} e in {WAIT_S} s, current times time is {expected_e:.3g} e"
    remedy = "Count from unblanking to blanking, whatever else happens"
    return line("dose and time", promise, ok, detail, remedy)


def check_once(bench: Bench) -> Iterator[Check]:
    """Check that an act sent again returns the first answer and does nothing."""
    for action in _repeatable(bench):
        yield _twice(bench, action)
    if bench.can_do("move_stage") and "x_m" in bench.can.ranges:
        yield _does_not_go_back(bench)


def _repeatable(bench: Bench) -> Iterator[Action]:
    yield from _exposures(bench)
    if bench.can_do("wait"):
        yield Wait(duration_s=WAIT_S)


def _twice(bench: Bench, action: Action) -> Check:
    promise, remedy = f"a {action.kind} sent again is not done again", "Keep answers by act_id, and look there first"
    act = bench.act(action)
    first, dose_e = bench.execute(act), bench.instrument.state().dose_e
    second, after_e = bench.execute(act), bench.instrument.state().dose_e
    if first != second:
        return line("at most once", promise, "failed", "the second answer differs from the first", remedy)
    if after_e != dose_e:
        return line("at most once", promise, "failed", f"{after_e - dose_e:.3g} more electrons reached it", remedy)
    return line("at most once", promise, "passed")


def _does_not_go_back(bench: Bench) -> Check:
    """Move there (act a), move back, send act a again: the stage must stay."""
    promise, remedy = "a move sent again late moves nothing", "Keep answers by act_id, and look there first"
    home_m, step_m = bench.instrument.state().x_m, bench.step("x_m")
    target_m = home_m + step_m if home_m + step_m in bench.can.ranges["x_m"] else home_m - step_m
    act = bench.act(bench.setting("x_m", target_m))
    first = bench.execute(act)
    back_m = bench.do(bench.setting("x_m", home_m)).state.x_m
    again, now_m = bench.execute(act), bench.instrument.state().x_m
    if abs(now_m - back_m) > bench.tolerance("x_m", step_m):
        bench.do(bench.setting("x_m", home_m))
        return line("at most once", promise, "failed", f"the stage went from {back_m:g} to {now_m:g} m", remedy)
    return line(
        "at most once", promise, again == first, "" if again == first else "its answer is not the first one", remedy
    )
