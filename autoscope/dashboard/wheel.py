"""Who steers, how freely the run decides, and what people want of it, folded from the record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from autoscope.dashboard.remarks import Remark
from autoscope.engine.standing import Ordered, Standing
from autoscope.records import Decision, Intervention
from autoscope.wishes import Wishes

AWAITING, WENT_ON = "awaiting", "went_on"
"""As `autoscope.engine.boundary` writes them; importing that room would take a third of the time of opening."""


@dataclass(frozen=True)
class Wheel:
    """What people have made of a run's steering."""

    standing: Standing = field(default_factory=Standing)
    waiting_act: str = ""
    """Id of the act that waits for a person's word."""
    because: str = ""
    """Why it needs one."""
    suggestion: Mapping[str, Any] = field(default_factory=dict)
    """The decision, as far as people choose by it, where it is one that they may decide otherwise."""

    @property
    def holder(self) -> str:
        """Who has the wheel; empty where anybody may take it."""
        return self.standing.wheel.who if self.standing.wheel else ""

    @property
    def paused(self) -> str:
        """Who paused the run; empty where it is not paused."""
        return (self.standing.paused.who or "somebody") if self.standing.paused else ""

    @property
    def autonomy(self) -> str:
        """Which acts need a person's word: ``each_step``, ``hazardous_only`` or ``autonomous``."""
        return self.standing.autonomy.level

    @property
    def queue(self) -> tuple[Ordered, ...]:
        """Places that people want measured, next first."""
        return self.standing.queue

    @property
    def wishes(self) -> Wishes:
        """Regions excluded, pinned and marked, and what else people want of the next decision."""
        return self.standing.wishes

    @property
    def interventions(self) -> tuple[Intervention, ...]:
        """Everything people ordered, oldest first."""
        return self.standing.interventions

    @property
    def undone(self) -> frozenset[str]:
        """Ids of orders that were taken back."""
        return self.standing.undone

    def after(self, told: Remark) -> Wheel:
        """Return the wheel after one more record that is no act; orders this version cannot read change nothing."""
        match told.kind:
            case "run_resumed":
                other_budget = bool(told.body.get("config"))
                return Wheel(self.standing.taken_up(other_budget=other_budget))
            case "intervention":
                return self._ordered(told.body)
            case "note":
                return self._noted(told.body)
            case _:
                return self

    def concluded(self) -> Wheel:
        """Return the wheel after an act is over."""
        return replace(self, waiting_act="", because="", suggestion={}) if self.waiting_act else self

    def suggested(self) -> Decision | None:
        """Return what waits for a person's choice as a decision; None where nothing does."""
        if not self.suggestion:
            return None
        told = {**self.suggestion, "purpose": "", "reason": self.because}
        try:
            return Decision.model_validate_json(json.dumps(told))
        except ValidationError:  # of a later version
            return None

    @property
    def pair(self) -> tuple[str, str] | None:
        """Ids of the acts of two measurements that people are asked to compare."""
        first, second = (*(self.suggestion.get("pair") or ()), "", "")[:2]
        return (str(first), str(second)) if first and second else None

    def decided(self, order: str) -> Wheel:
        """Return the wheel when an act that carries out an order was decided."""
        wheel = self.concluded() if self.suggestion else self  # nobody is asked any more
        return replace(wheel, standing=wheel.standing.with_reached(order)) if order else wheel

    def _ordered(self, body: Mapping[str, Any]) -> Wheel:
        try:
            intervention = Intervention.model_validate_json(json.dumps(body))
            intervention.parsed()
        except ValidationError:
            return self
        answered = intervention.command in ("approve", "veto")
        heard = self.concluded() if answered or self.suggestion else self
        return replace(heard, standing=self.standing.with_(intervention))

    def _noted(self, body: Mapping[str, Any]) -> Wheel:
        if body.get("event") == AWAITING:
            act_id, because = str(body.get("act_id")), str(body.get("because", ""))
            suggestion = body.get("suggestion")
            told = dict(suggestion) if isinstance(suggestion, Mapping) else {}
            return replace(self, waiting_act=act_id, because=because, suggestion=told)
        return self.concluded() if body.get("event") == WENT_ON else self
