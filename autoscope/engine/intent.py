"""An act that was decided and written down."""

from __future__ import annotations

from dataclasses import dataclass

from autoscope.exposure import Cost
from autoscope.records import Act, Decision


@dataclass(frozen=True)
class Intent:
    """An act that is written down and may be done next."""

    step: int
    act: Act
    decision: Decision
    cost: Cost
    """As the intent tells it."""
    latency_s: float
