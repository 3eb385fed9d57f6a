"""A run as it is at one moment: frozen, bounded, and all that the screens draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autoscope.dashboard.columns import Steps
from autoscope.dashboard.remarks import Remark
from autoscope.dashboard.wheel import Wheel


@dataclass(frozen=True)
class RunModel:
    """What a journal has told so far."""

    name: str
    """Of the run's folder, or its address."""
    header: Mapping[str, Any]
    """Body of the first record, with the newest configuration; empty before the run has begun."""
    steps: Steps
    remarks: tuple[Remark, ...]
    """The newest, oldest first."""
    state: Mapping[str, Any]
    """Last known state of the instrument."""
    wheel: Wheel = field(default_factory=Wheel)
    """Who steers, and how freely the run decides."""
    first_s: float = 0.0
    last_s: float = 0.0
    last_wall: str = ""
    start_dose_e: float = 0.0
    """What the instrument had counted when the run began."""
    records: int = 0
    ended: Mapping[str, Any] | None = None
    alive: bool = False
    """Whether a process writes to it now."""
    idle_s: float = 0.0
    """Real time since a record came."""
    whole: bool = False
    """Whether everything recorded has been read."""
    damage: str = ""
    """Why the record cannot be read further; empty where it can."""

    def setting(self, *path: str) -> Any:
        """Return one setting of the configuration, or None where there is none."""
        part: Any = self.header.get("config")
        for key in path:
            part = part.get(key) if isinstance(part, Mapping) else None
        return part

    def number(self, *path: str) -> float | None:
        """Return a setting that is a number or a quantity (``3600.0 s``), or None."""
        found = self.setting(*path)
        try:
            return float(str(found).split()[0]) if found is not None and not isinstance(found, bool) else None
        except (ValueError, IndexError):
            return None

    @property
    def target(self) -> str:
        """Name of the value the policy is after, or of any that is measured; empty where none is."""
        wanted, known = self.setting("policy", "options", "target"), self.steps.values
        return wanted if wanted in known else next(iter(known), "")

    @property
    def seeks_least(self) -> bool:
        """Whether the policy looks for the lowest value."""
        options = self.setting("policy", "options") or {}
        rule = options.get("acquisition")
        goal = rule.get("goal") if isinstance(rule, Mapping) else options.get("goal")
        return goal == "minimise"
