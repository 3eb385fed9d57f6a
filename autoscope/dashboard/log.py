"""The log: remarks and acts in the order of time, newest first, narrowed down by kind and words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from autoscope.dashboard.columns import IN_VAIN, STATUSES, Steps
from autoscope.dashboard.sight import Sight
from autoscope.dashboard.wording import duration, estimate

FILTERS = ("everything", "people", "faults", "acts", "course of the run")
MOST = 500
"""Entries shown at once; search finds the others."""
_OF_PEOPLE = frozenset({"intervention", "annotation", "note"})
_OF_COURSE = frozenset({"run_started", "run_resumed", "run_ended"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log."""

    time_s: float
    when: str
    step: int | None
    kind: str
    text: str


def entries(sight: Sight, kind: str, words: Sequence[str]) -> Iterator[Entry]:
    """Yield the newest entries of a kind that hold every word, in capital or small letters."""
    wanted = [word.lower() for word in words]
    found = (e for e in _merged(sight, kind) if all(w in f"{e.kind} {e.text}".lower() for w in wanted))
    return islice(found, MOST)


def _merged(sight: Sight, kind: str) -> Iterator[Entry]:
    """Yield remarks and acts by time, newest first; both come sorted."""
    acts = _acts(sight, kind) if kind in ("everything", "faults", "acts") else iter(())
    act = next(acts, None)
    for entry in _remarks(sight, kind):
        while act is not None and act.time_s > entry.time_s:
            yield act
            act = next(acts, None)
        yield entry
    if act is not None:
        yield act
        yield from acts


def _remarks(sight: Sight, kind: str) -> Iterator[Entry]:
    wanted = {"people": _OF_PEOPLE, "faults": frozenset({"fault"}), "course of the run": _OF_COURSE}.get(kind)
    for told in reversed(sight.remarks if kind != "acts" else ()):
        if wanted is not None and told.kind not in wanted:
            continue
        who = f"{told.who}: " if told.who else ""
        name = told.kind.removeprefix("run_")
        yield Entry(told.time_s, duration(told.time_s - sight.model.first_s), told.step, name, f"{who}{told.text}")


def _acts(sight: Sight, kind: str) -> Iterator[Entry]:
    steps, model = sight.model.steps, sight.model
    bad = steps.status[: sight.step + 1] >= IN_VAIN
    chosen = np.flatnonzero(bad) if kind == "faults" else np.arange(sight.step + 1)
    for step in chosen[::-1].tolist():
        name = "in vain" if bad[step] else "act"
        when = duration(float(steps.begun_s[step]) - model.first_s)
        yield Entry(float(steps.begun_s[step]), when, step, name, _told(steps, step))


def _told(steps: Steps, step: int) -> str:
    values = [
        f"{name} {estimate(float(held[step]), float(steps.uncertainties[name][step]), steps.units.get(name, ''))}"
        for name, held in steps.values.items()
        if np.isfinite(held[step])
    ]
    foretold = bool(values) and np.isfinite(steps.mean[step])
    expected = f" (expected {estimate(float(steps.mean[step]), float(steps.std[step]))})" if foretold else ""
    place = f" at {steps.x_m[step] * 1e9:.1f}, {steps.y_m[step] * 1e9:.1f} nm" if np.isfinite(steps.x_m[step]) else ""
    status = STATUSES[int(steps.status[step])]
    return f"{steps.purpose_of(step)}{place}: {'; '.join(values) or status}{expected}"
