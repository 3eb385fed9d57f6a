"""The budget of a run, counted again from what its records say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from autoscope.config import BudgetConfig, EngineConfig
from autoscope.journal.chain import Record

RELATIVE = 1e-6
"""Electrons are compared to this part of all there are: counts are sums of floating-point numbers."""

TIME_S, TIME_PART = 5.0, 0.01
"""How far the run's own time may be from that of its records: the last is written a moment after it was counted."""

UNCOUNTED = 2
"""Outcomes that a run which did not complete may have written without counting them."""

Say = Callable[[Record, str], None]


class Accounts:
    """Counts steps, time and electrons from the records, and says where they do not agree.

    Parameters
    ----------
    say : callable
        Told the record and, in people's words, what does not agree.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._budget, self._decision_s = BudgetConfig(), 0.0
        self._started_s: float | None = None
        self._begun: dict[str, Record] = {}
        self._outcomes = self._never = 0
        self._first: Mapping[str, Any] | None = None
        self._last: Mapping[str, Any] | None = None
        self._spent_e = self._largest_e = 0.0
        self._earlier_e = 0.0
        self._resumed = False

    def take(self, record: Record) -> None:
        """Count the next record."""
        match record.kind:
            case "run_started" if self._started_s is None:
                self._start(record)
            case "intent":
                self._begun[str(record.body.get("act_id"))] = record
            case "outcome":
                self._count(record)
            case "run_ended":
                self._close(record)
                self._resumed = True
            case "run_resumed":
                self._take_budget(record)  # it may have been changed when the run was resumed
                self._resumed = True
            case "intervention":
                self._change_budget(record)
            case "note" | "fault":
                self._resumed = self._resumed or "resum" in f"{record.kind} {record.body.get('event', '')}"

    def _start(self, record: Record) -> None:
        self._started_s = record.time_s
        state = record.body.get("state")
        self._first = state if isinstance(state, Mapping) else None
        self._take_budget(record)

    def _take_budget(self, record: Record) -> None:
        config = record.body.get("config")
        if record.kind == "run_resumed" and not isinstance(config, Mapping):
            return  # as before
        parts = config if isinstance(config, Mapping) else {}
        try:
            self._budget = BudgetConfig.model_validate(parts.get("budget") or {})
            self._decision_s = EngineConfig.model_validate(parts.get("engine") or {}).decision_time_s
        except ValidationError:
            self._say(record, "its budget cannot be understood, so nothing is counted against it")

    def _change_budget(self, record: Record) -> None:
        changed = (record.body.get("effect") or {}).get("budget")
        if changed is not None:
            try:
                self._budget = BudgetConfig.model_validate(changed)
            except ValidationError:
                self._say(record, "the budget it sets cannot be understood; the one before is counted against")

    def _count(self, record: Record) -> None:
        body, act_id = record.body, str(record.body.get("act_id"))
        intent = self._begun.pop(act_id, None)
        before, after = body.get("state_before"), body.get("state")
        if not isinstance(before, Mapping) or not isinstance(after, Mapping):
            return
        self._outcomes += 1
        self._never += "never started" in str((body.get("fault") or {}).get("message", ""))
        dose_e, begin_e, end_e = _number(body, "dose_e"), _number(before, "dose_e"), _number(after, "dose_e")
        self._act(record, dose_e, begin_e, end_e)
        if body.get("status") != "refused" and intent is not None:
            self._permitted(record, intent, begin_e)
        self._first = self._first or before
        self._last = after
        self._spent_e += dose_e
        self._largest_e = max(self._largest_e, dose_e)
        self._resumed = False

    def _act(self, record: Record, dose_e: float, begin_e: float, end_e: float) -> None:
        slack = RELATIVE * max(abs(begin_e), abs(end_e), 1.0)
        last_e = _number(self._last, "dose_e") if self._last else begin_e
        if end_e < begin_e - slack:
            self._say(record, f"the dose counter fell during the act, from {begin_e:.6g} to {end_e:.6g} electrons")
        elif abs(dose_e - (end_e - begin_e)) > slack:
            self._say(record, f"claims {dose_e:.6g} electrons, its states say {end_e - begin_e:.6g}")
        if begin_e < last_e - slack and not self._resumed:
            self._say(
                record, f"the dose counter fell since the act before, from {last_e:.6g} to {begin_e:.6g} electrons"
            )
        if begin_e < last_e - slack and self._first is not None:
            self._earlier_e += last_e - _number(self._first, "dose_e")  # an instrument started anew counts from zero
            self._first = None

    def _permitted(self, record: Record, intent: Record, begin_e: float) -> None:
        """Say so where an act was begun when nothing was left for it."""
        budget = self._budget
        if budget.steps is not None and intent.step is not None and intent.step >= budget.steps:
            self._say(record, f"was begun as step {intent.step}, the budget has {budget.steps} (counted from 0)")
        spent_e = self._earlier_e + begin_e - (_number(self._first, "dose_e") if self._first else begin_e)
        if budget.dose_e is not None and spent_e > budget.dose_e * (1 + RELATIVE):
            self._say(record, f"was begun with {spent_e:.6g} electrons spent, the budget is {budget.dose_e:.6g}")
        thought_s = self._decision_s + _number(intent.body, "latency_s")
        spent_s = intent.time_s - (self._started_s or 0.0) - thought_s
        if budget.time_s is not None and spent_s > budget.time_s * (1 + RELATIVE) + TIME_S:
            self._say(record, f"was begun after {spent_s:.6g} s, the time budget is {budget.time_s:.6g} s")

    def _close(self, record: Record) -> None:
        body = record.body
        self._compare_steps(record, body)
        if "time_s" in body and self._started_s is not None:
            told_s, counted_s = _number(body, "time_s"), record.time_s - self._started_s
            if abs(told_s - counted_s) > TIME_S + TIME_PART * counted_s:
                self._say(record, f"claims {told_s:.6g} s, its records span {counted_s:.6g} s")
        if "dose_e" in body and body.get("safe", True):
            self._compare_dose(record, _number(body, "dose_e"))

    def _compare_steps(self, record: Record, body: Mapping[str, Any]) -> None:
        told, counted = body.get("steps"), self._outcomes - self._never
        slack = 0 if body.get("status") == "completed" else UNCOUNTED
        if isinstance(told, int) and not counted - slack <= told <= counted + slack:
            self._say(record, f"claims {told} steps, the record holds the outcomes of {counted}")

    def _compare_dose(self, record: Record, told_e: float) -> None:
        if self._last is None:
            return
        start_e = _number(self._first, "dose_e") if self._first else 0.0
        counted_e = self._earlier_e + _number(self._last, "dose_e") - start_e
        slack = RELATIVE * max(_number(self._last, "dose_e"), 1.0)
        whole = self._last.get("blanked") and (self._first or {}).get("blanked") and not self._begun
        if told_e < max(counted_e, self._spent_e) - slack or (whole and told_e > counted_e + slack):
            self._say(record, f"claims {told_e:.6g} electrons, its acts and states say {counted_e:.6g}")
        if self._budget.dose_e is not None and self._spent_e > self._budget.dose_e + self._largest_e + slack:
            self._say(record, f"{self._spent_e:.6g} electrons were spent, the budget is {self._budget.dose_e:.6g}")


def _number(body: Mapping[str, Any] | None, name: str) -> float:
    value = (body or {}).get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0
