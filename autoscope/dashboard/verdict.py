"""Is all well? One word, and why, from what the record shows."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from autoscope.attention.reasons import Reason, Severity
from autoscope.dashboard.budgets import budgets, end_in_s
from autoscope.dashboard.columns import IN_VAIN, STATUSES
from autoscope.dashboard.learning import WINDOW, honesty
from autoscope.dashboard.model import RunModel

SILENT = "silent"
"""Key of a run that writes nothing any more, whether its process lives or not."""
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
    """The reasons of this level, in one line."""
    reasons: tuple[Reason, ...] = ()
    """All of them, also less urgent ones and the news that the run has ended; the worst first."""


def judge(model: RunModel, *, unreachable: str = "") -> Verdict:
    """Return how a run fares."""
    return verdict_of(_doing(model), (*_troubles(model, unreachable), *_needs(model), *_news(model)))


def verdict_of(doing: str, reasons: tuple[Reason, ...]) -> Verdict:
    """Return the verdict that follows from reasons."""
    for level, severity in ((Level.TROUBLE, Severity.TROUBLE), (Level.NEEDS_YOU, Severity.NEEDS_YOU)):
        if told := [reason.text for reason in reasons if reason.severity is severity]:
            return Verdict(level, doing, "; ".join(told), reasons)
    return Verdict(Level.OK, doing, reasons=reasons)


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


def _troubles(model: RunModel, unreachable: str) -> Iterator[Reason]:
    def trouble(key: str, text: str) -> Reason:
        return Reason(key, text, Severity.TROUBLE)

    if unreachable and model.ended is None:
        yield trouble("unreachable", f"no answer: {unreachable}")
    if model.damage:
        yield trouble("damaged", f"record damaged: {model.damage}")
    if not model.whole:
        return
    ended = model.ended
    if ended is not None and ended.get("status") == "failed":
        yield trouble("failed", f"failed: {ended.get('reason', '')}")
    if ended is not None and not ended.get("safe", False):
        yield trouble("beam", "beam not known to be blanked")
    if ended is None and not model.alive and model.header and not unreachable:
        yield trouble(SILENT, "no process writes to it and it has no end: autoscope resume")
    limit, in_a_row = int(model.number("engine", "max_consecutive_faults") or 5), faults_in_a_row(model)
    if ended is None and in_a_row >= max(2, limit - 1):
        yield trouble("in_vain", f"{in_a_row} acts in a row came to nothing; the run ends at {limit}")


def _needs(model: RunModel) -> Iterator[Reason]:
    def need(key: str, text: str) -> Reason:
        return Reason(key, text, Severity.NEEDS_YOU)

    if not model.whole or model.ended is not None:
        return
    if model.wheel.waiting_act:
        because = f" ({model.wheel.because})" if model.wheel.because else ""
        yield need("approval", f"an act waits for your word{because}: y approves, v vetoes")
    if model.wheel.paused:
        yield need("paused", f"paused by {model.wheel.paused}")
    bad = recent_faults(model)
    if bad > MANY_FAULTS:
        yield need("faults", f"{bad:.0%} of the last {LAST} acts came to nothing")
    honest = honesty(model.steps, model.target)
    if honest.z.size >= WINDOW and honest.coverage[-1] < POOR_COVERAGE:
        yield need("predictions", f"predictions are off: {honest.coverage[-1]:.0%} of the last 90 % intervals held")
    held = model.wheel.paused or model.wheel.waiting_act
    if model.alive and not held and model.idle_s > SILENCE_S + _expected_s(model):
        yield need(SILENT, f"no record for {model.idle_s:.0f} s")
    if model.setting("clock") == "system" and (end := end_in_s(budgets(model))) and end[0] < NEARLY_SPENT_S:
        yield need("budget", f"{end[1]} spent in {end[0] / 60:.0f} min")


def _news(model: RunModel) -> Iterator[Reason]:
    if model.whole and model.ended is not None and model.ended.get("status") != "failed":
        yield Reason("ended", f"{_doing(model)}: {model.ended.get('reason', '')}", Severity.NOTICE)


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
