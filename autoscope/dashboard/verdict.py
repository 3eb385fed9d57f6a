"""Is all well? One word, and why, from what the record shows."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from autoscope.dashboard.budgets import budgets, end_in_s
from autoscope.dashboard.columns import IN_VAIN, STATUSES
from autoscope.dashboard.learning import WINDOW, honesty
from autoscope.dashboard.model import RunModel

SILENCE_S = 30.0
"""Real time without a record after which a running program is asked about, where its act should be over."""
LAST = 20
MANY_FAULTS = 0.25
"""Of the last steps."""
POOR_COVERAGE = 0.6
"""Of the last 90 % intervals: the model deludes itself."""
NEARLY_SPENT_S = 300.0


class Level(enum.StrEnum):
    """How urgently a person is needed."""

    OK = "OK"
    NEEDS_YOU = "NEEDS YOU"
    TROUBLE = "TROUBLE"


@dataclass(frozen=True)
class Verdict:
    """One glance: the level, what the run does, and why it is not well."""

    level: Level
    doing: str
    why: str = ""


def judge(model: RunModel, *, unreachable: str = "") -> Verdict:
    """Return how a run fares."""
    doing = _doing(model)
    for level, reasons in ((Level.TROUBLE, _troubles(model, unreachable)), (Level.NEEDS_YOU, _needs(model))):
        if reasons:
            return Verdict(level, doing, "; ".join(reasons))
    return Verdict(Level.OK, doing)


def _doing(model: RunModel) -> str:
    if not model.whole:
        return "reading the record"
    if model.ended is not None:
        return str(model.ended.get("status", "ended"))
    if not model.alive:
        return "cut off" if model.header else "not begun"
    if model.wheel.paused:
        return "paused"
    return "waiting for you" if model.wheel.waiting_act else "running"


def _troubles(model: RunModel, unreachable: str) -> list[str]:
    found = [f"no answer: {unreachable}"] if unreachable and model.ended is None else []
    if model.damage:
        found.append(f"record damaged: {model.damage}")
    if not model.whole:
        return found
    ended = model.ended
    if ended is not None and ended.get("status") == "failed":
        found.append(f"failed: {ended.get('reason', '')}")
    if ended is not None and not ended.get("safe", False):
        found.append("beam not known to be blanked")
    if ended is None and not model.alive and model.header and not unreachable:
        found.append("no process writes to it and it has no end: autoscope resume")
    limit, in_a_row = int(model.number("engine", "max_consecutive_faults") or 5), faults_in_a_row(model)
    if ended is None and in_a_row >= max(2, limit - 1):
        found.append(f"{in_a_row} acts in a row came to nothing; the run ends at {limit}")
    return found


def _needs(model: RunModel) -> list[str]:
    if not model.whole or model.ended is not None:
        return []
    because = f" ({model.wheel.because})" if model.wheel.because else ""
    found = [f"an act waits for your word{because}: y approves, v vetoes"] if model.wheel.waiting_act else []
    if model.wheel.paused:
        found.append(f"paused by {model.wheel.paused}")
    bad = recent_faults(model)
    if bad > MANY_FAULTS:
        found.append(f"{bad:.0%} of the last {LAST} acts came to nothing")
    honest = honesty(model.steps, model.target)
    if honest.z.size >= WINDOW and honest.coverage[-1] < POOR_COVERAGE:
        found.append(f"predictions are off: {honest.coverage[-1]:.0%} of the last 90 % intervals held")
    held = model.wheel.paused or model.wheel.waiting_act
    if model.alive and not held and model.idle_s > SILENCE_S + _expected_s(model):
        found.append(f"no record for {model.idle_s:.0f} s")
    if model.setting("clock") == "system" and (end := end_in_s(budgets(model))) and end[0] < NEARLY_SPENT_S:
        found.append(f"{end[1]} spent in {end[0] / 60:.0f} min")
    return found


def faults_in_a_row(model: RunModel) -> int:
    """Return how many of the last acts in a row came to nothing."""
    over = model.steps.status[model.steps.status > STATUSES.index("open")]
    good = np.flatnonzero(over < IN_VAIN)
    return int(len(over) - 1 - good[-1]) if good.size else len(over)


def recent_faults(model: RunModel) -> float:
    """Return the share of the last acts that came to nothing."""
    over = model.steps.status[model.steps.status > STATUSES.index("open")][-LAST:]
    return float((over >= IN_VAIN).mean()) if len(over) >= LAST else 0.0


def _expected_s(model: RunModel) -> float:
    """Return how long acts took lately, at most, on the clock of the run."""
    took = (model.steps.ended_s - model.steps.begun_s)[-100:]
    return 3.0 * float(np.nanmax(took)) if np.isfinite(took).any() else 60.0
