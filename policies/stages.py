"""Stages of plans: acts of a kind, so many times, at what the instrument says they cost."""

from __future__ import annotations

from collections.abc import Sequence

from autoscope.errors import Unsupported
from autoscope.exposure import predict
from autoscope.records import Action, Capabilities, Measure, Scan, Stage, View


def stage(name: str, acts: Sequence[Action], times: int, view: View, note: str = "") -> Stage:
    """Return a stage that does some acts a number of times."""
    costs = [predict(act, view.state, view.capabilities) for act in acts]
    return Stage(
        name=name,
        acts=len(acts) * times,
        time_s=times * sum(c.time_s for c in costs),
        dose_e=times * sum(c.dose_e for c in costs),
        bytes=times * sum(c.bytes for c in costs),
        note=note,
        examples=tuple(acts),
    )


def all_signals(wanted: tuple[str, ...], capabilities: Capabilities) -> tuple[str, ...]:
    """Return the wanted spectrum signals, or all the instrument has where none are named.

    Raises
    ------
    Unsupported
        The instrument records no spectra.
    """
    signals = wanted or tuple(s.name for s in capabilities.signals)
    if not signals:
        raise Unsupported("the instrument records no spectra", where=capabilities.instrument)
    return signals


def field_stages(scan: Scan, probe: Measure, points: int | None, stride_px: int, view: View) -> tuple[Stage, ...]:
    """Return the plan of one field: an overview, then so many points, or as many as there are and the time lets."""
    overview, once = stage("overview", [scan], 1, view), stage("spectra", [probe], 1, view)
    note = "" if points else "for what is left of the time, at most every pixel"
    most = points or -(-scan.height_px // stride_px) * -(-scan.width_px // stride_px)
    if points is None and view.budget.time_s is not None:
        most = max(0, min(most, int((view.budget.time_s - overview.time_s) / max(once.time_s, 1e-9))))
    return overview, stage("spectra", [probe], most, view, note)
