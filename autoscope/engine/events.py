"""What the loop tells those who watch, and how a run ends."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from pydantic import Field

from autoscope.engine.incumbent import Best
from autoscope.records import Budget, Decision, Outcome, Value


class RunStatus(enum.StrEnum):
    """The one terminal state of a run."""

    COMPLETED = "completed"
    """The policy finished, or a budget was spent."""
    STOPPED = "stopped"
    """A person stopped it."""
    FAILED = "failed"
    """It could not go on."""


class Ended(Exception):
    """Raised where a run comes to its end, with the reason for people."""

    def __init__(self, status: RunStatus, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class RunEnd(Value):
    """How a run ended, and what it spent."""

    status: RunStatus
    reason: str
    steps: int
    time_s: float
    dose_e: float
    faults: int
    safe: bool
    """Whether the instrument read back as blanked."""
    bytes: int = Field(default=0, exclude_if=lambda value: not value)
    """Volume of the frames."""
    best: tuple[Best, ...] = Field(default=(), exclude_if=lambda value: not value)
    """The highest value of every target."""


@dataclass(frozen=True)
class StepEvent:
    """One step, just after the policy was told."""

    step: int
    decision: Decision
    outcome: Outcome
    spent: Budget
    latency_s: float
    """Real time the policy took to decide."""


class Listener(Protocol):
    """Watches a run; must not disturb it."""

    def on_step(self, event: StepEvent) -> None:
        """Take note of a step."""


class Silence:
    """A listener that takes no notice."""

    def on_step(self, event: StepEvent) -> None:
        """Do nothing."""
