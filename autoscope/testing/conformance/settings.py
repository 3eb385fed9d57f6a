"""Checks of settings: set and read back, refused out of range, refused where there is no such thing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from autoscope.actions import CORRECTOR_FIELDS, OPTICS_FIELDS
from autoscope.errors import AutoscopeError, LimitExceeded, NotReached, OutOfRange, Unsupported
from autoscope.records import Action, Blank, LoadSample, MicroscopeState, SetStimulus, Wait
from autoscope.testing.conformance.bench import STAGE_FIELDS, Bench, line, told
from autoscope.testing.conformance.report import Check

LONGEST_TRIED_S = 10.0
"""A dwell time beyond its range is tried only where a driver that fails to refuse it would not expose for longer."""
_MOVED = (*STAGE_FIELDS, *OPTICS_FIELDS)


def check_settings(bench: Bench) -> Iterator[Check]:
    """Check that every field of stage and optics that has a range can be set, is reached, and moves nothing else."""
    for kind, fields in (("move_stage", STAGE_FIELDS), ("set_optics", OPTICS_FIELDS)):
        for field in fields if bench.can_do(kind) else ():
            yield _set_and_back(bench, field) if field in bench.can.ranges else _unranged(bench, field)


def _set_and_back(bench: Bench, field: str) -> Check:
    promise, before = f"{field} is set and read back", bench.instrument.state()
    if bench.gentle and field in ("beam_current_a", "convergence_rad", *CORRECTOR_FIELDS):
        return line("settings", promise, "not applicable", "gentle: gun, apertures and corrector are left alone")
    value, step = getattr(before, field), bench.step(field)
    if value is None:
        remedy = f"Read {field} back in state(), or leave it out of describe().ranges"
        return line("settings", promise, "failed", "it has a range, and is not read back", remedy)
    target = bench.elsewhere(field, value)
    step = step if target is None else abs(target - value)
    tolerance = bench.tolerance(field, step)
    if target is None or not 2.0 * tolerance < step:
        why = f"a step of {step:g} does not fit into the range" if target is None else "tolerance above the step"
        return line("settings", promise, "not applicable", why)
    try:
        told_state = bench.do(bench.setting(field, target)).state
        read = bench.instrument.state()
    except NotReached as error:
        return line("settings", promise, "failed", told(error), "Widen the tolerance, or wait until it is reached")
    finally:
        bench.do(bench.setting(field, value))
    for where, state in (("the observation", told_state), ("state()", read)):
        reached = getattr(state, field)
        if reached is None or not abs(reached - target) <= tolerance:
            told_value = "nothing" if reached is None else f"{reached:g}"
            detail = f"asked for {target:g}, {where} says {told_value} (tolerance {tolerance:g})"
            remedy = f"Check sign, unit and read-back; raise NotReached where {field} is not reached"
            return line("settings", promise, "failed", detail, remedy)
    others = [f for f in _changed(bench, before, read) if f != field]
    if others:
        return line("settings", promise, "failed", f"{', '.join(others)} moved with it", "Leave None fields alone")
    return line("settings", promise, "passed", f"{value:g} -> {target:g}, off by {getattr(read, field) - target:.2g}")


def _changed(bench: Bench, before: MicroscopeState, after: MicroscopeState) -> list[str]:
    """Return the fields that moved further than by the play of a read-back."""
    moved = []
    for field in (name for name in _MOVED if getattr(before, name) is not None):
        play = max(2.0 * bench.tolerance(field, bench.step(field)), 1e-15)
        was, now = getattr(before, field), getattr(after, field)
        if was != now and (was is None or now is None or not abs(now - was) <= play):
            moved.append(field)
    return moved


def _unranged(bench: Bench, field: str) -> Check:
    """Check that a field without a range is refused: the guard could not protect it."""
    promise, value = f"{field}, which has no range, is refused", getattr(bench.start, field) or bench.step(field)
    if value <= 0.0 and field in ("beam_current_a", "convergence_rad"):
        return line("settings", promise, "not applicable", "its value is not told")
    if bench.gentle and field in CORRECTOR_FIELDS:
        return line("settings", promise, "not applicable", "gentle: the corrector is left alone")
    if bench.gentle and field == "energy_offset_ev":
        return line("settings", promise, "not applicable", "gentle: a driver that fails to refuse would move it")
    remedy = "Raise Unsupported, or declare its range in describe()"
    return _refused(bench, "settings", promise, bench.setting(field, value), (Unsupported,), remedy)


def check_refusals(bench: Bench) -> Iterator[Check]:
    """Check that values outside a range are refused, never clamped, and nothing moves."""
    for field in sorted(bench.can.ranges):
        promise = f"{field} out of range is refused and nothing moves"
        asked = list(_beyond(bench, field))
        moves = field in _MOVED or field in ("temperature_k", "bias_v", "slot")
        if bench.gentle and moves:
            yield line("refusals", promise, "not applicable", "gentle: a driver that fails to refuse would move it")
        elif not asked:
            yield line("refusals", promise, "not applicable", "no value beyond it can be asked for safely")
        else:
            yield _all_refused(bench, promise, asked, field)


def _all_refused(bench: Bench, promise: str, asked: list[Action], field: str) -> Check:
    remedy = f"Compare {field} with describe().ranges before doing anything, and raise OutOfRange"
    # a guard in front of the instrument, as a bus server's, refuses with LimitExceeded before the instrument can
    errors = (OutOfRange, LimitExceeded, Unsupported) if field == "slot" else (OutOfRange, LimitExceeded)
    for action in asked:
        check = _refused(bench, "refusals", promise, action, errors, remedy)
        if check.status != "passed":
            return check
    return line("refusals", promise, "passed", f"{len(asked)} values tried")


def _beyond(bench: Bench, field: str) -> Iterator[Action]:
    """Yield actions with a value just below and above the range of a field, and between two of its choices."""
    interval = bench.can.ranges[field]
    choices = sorted(bench.can.choices.get(field, ()))
    for low, high in itertools.pairwise(choices[:2]):
        if (between := _asking(bench, field, 0.5 * (low + high))) is not None:
            yield between
    margin = 0.05 * (interval.high - interval.low) or 0.05 * abs(interval.high) or 1.0
    for value in (interval.low - margin, interval.high + margin):
        if abs(value) < 1e300 and (action := _asking(bench, field, value)) is not None:
            yield action


def _asking(bench: Bench, field: str, value: float) -> Action | None:
    """Return an action with this value in a field; None where there is none, or trying would take too long."""
    can = bench.can_do
    positive = field in ("fov_m", "dwell_s", "width_px", "height_px", "beam_current_a", "convergence_rad", "slot")
    if positive and value <= 0.0:
        low = bench.can.ranges[field].low
        value = 0.5 * low
        if low <= 0.0 or field in ("slot", "width_px", "height_px"):
            return None
    if (field in STAGE_FIELDS and can("move_stage")) or (field in OPTICS_FIELDS and can("set_optics")):
        return bench.setting(field, value)
    if field in ("width_px", "height_px") and can("scan"):
        return bench.scan().replace(**{field: int(value) + 1})
    if field == "dwell_s" and value <= LONGEST_TRIED_S and can("measure"):
        return bench.measure(dwell_s=value)
    if field in ("fov_m", "centre_x_m", "centre_y_m", "rotation_rad") and can("scan"):
        return bench.scan().replace(**{field: value})
    if field in ("x_m", "y_m") and can("measure"):
        return bench.measure(**{field: value})
    if field == "temperature_k" and value > 0.0 and can("set_stimulus"):
        return SetStimulus(temperature_k=value)
    return LoadSample(slot=bench.can.slots) if field == "slot" and can("load_sample") else None


def check_unsupported(bench: Bench) -> Iterator[Check]:
    """Check that unknown detectors, signals and actions are refused as unsupported."""
    group, remedy = "refusals", "Raise Unsupported before doing anything"
    if bench.can_do("scan"):
        scan = bench.scan(detectors=("no such detector",))
        yield _refused(bench, group, "an unknown detector is refused", scan, (Unsupported,), remedy)
    if bench.can_do("measure"):
        point = bench.measure(signals=("no such signal",))
        yield _refused(bench, group, "an unknown signal is refused", point, (Unsupported,), remedy)
    for action in _absent(bench):
        promise = f"{action.kind}, which it does not offer, is refused"
        yield _refused(bench, group, promise, action, (Unsupported,), remedy)


def _absent(bench: Bench) -> Iterator[Action]:
    """Yield harmless examples of the actions that the instrument does not offer."""
    start = bench.start
    if not bench.can_do("move_stage"):
        yield bench.setting("x_m", start.x_m)
    if not bench.can_do("set_optics"):
        yield bench.setting("defocus_m", start.defocus_m)
    if not bench.can_do("set_stimulus"):
        yield SetStimulus(temperature_k=start.temperature_k or 293.0)
    if not bench.can_do("load_sample"):
        yield LoadSample(slot=start.sample_slot)
    if not bench.can_do("blank"):
        yield Blank(blanked=True)
    if not bench.can_do("wait"):
        yield Wait(duration_s=0.0)


def _refused(
    bench: Bench, group: str, promise: str, action: Action, errors: tuple[type[AutoscopeError], ...], remedy: str
) -> Check:
    """Try an action that must be refused with one of the errors, and look whether anything moved."""
    wanted, before = " or ".join(e.__name__ for e in errors), bench.instrument.state()
    try:
        bench.do(action)
        how = "was done instead"
    except errors:
        how = ""
    except Exception as error:
        how = f"raised {told(error)} instead of {wanted}"
    after = bench.instrument.state()
    moved = _changed(bench, before, after)
    asked = ", ".join(f"{k}={v!r}" for k, v in action.model_dump(exclude_defaults=True).items())
    if moved:
        reached = ", ".join(f"{name} = {getattr(after, name):g}" for name in moved)
        verb = "refused, but moved to" if not how else f"{how}, to"
        detail = f"{action.kind}({asked}) was {verb} {reached}".replace("was was", "was")
        bench.restore()
        clamps = " (clamped)" if not how.startswith("raised") and _clamped(bench, moved, after) else ""
        return line(group, promise, "failed", detail + clamps, remedy)
    if how:
        return line(group, promise, "failed", f"{action.kind}({asked}) {how}", remedy)
    return line(group, promise, "passed")


def _clamped(bench: Bench, moved: list[str], after: MicroscopeState) -> bool:
    """Return whether what moved now stands at an end of its range."""
    return any(
        min(abs(getattr(after, f) - end) for end in (bench.can.ranges[f].low, bench.can.ranges[f].high))
        <= bench.tolerance(f, bench.step(f))
        for f in moved
        if f in bench.can.ranges
    )
