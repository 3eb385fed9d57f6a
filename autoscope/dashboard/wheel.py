"""Who steers, and how freely the run decides, folded from the interventions in the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from autoscope.dashboard.remarks import Remark


@dataclass(frozen=True)
class Wheel:
    """What people have made of a run's steering."""

    holder: str = ""
    """Who has the wheel; empty where anybody may take it."""
    paused: str = ""
    """Who paused it; empty where it is not paused."""
    autonomy: str = "autonomous"
    waiting_act: str = ""
    """Id of the act that waits for a person's word."""
    pinned: tuple[Mapping[str, Any], ...] = ()
    excluded: tuple[Mapping[str, Any], ...] = ()
    marked: tuple[Mapping[str, Any], ...] = ()
    queue: tuple[Mapping[str, Any], ...] = field(default=())

    def after(self, told: Remark) -> Wheel:
        """Return the wheel after one more record."""
        if told.kind == "run_resumed":
            return replace(self, paused="", waiting_act="")
        if told.kind != "intervention":
            return self
        given = told.body.get("arguments") or {}
        match told.body.get("command"):
            case "pause":
                return replace(self, paused=told.who or "somebody")
            case "resume":
                return replace(self, paused="")
            case "take_wheel":
                return replace(self, holder=told.who)
            case "give_wheel":
                return replace(self, holder="")
            case "autonomy":
                return replace(self, autonomy=str(given.get("level", self.autonomy)))
            case _:
                return self
