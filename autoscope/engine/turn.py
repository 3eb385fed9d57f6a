"""One turn of the walk that decides ahead: an act that runs, what is done meanwhile, and the act when it is over."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

from autoscope.engine.acting import NEVER, Span
from autoscope.engine.desk import Intent
from autoscope.exposure import Cost
from autoscope.records import Budget, MicroscopeState, Observation, Result


@dataclass(frozen=True)
class Done:
    """An act that is over, with what was known before it; not written down yet."""

    intent: Intent
    state: MicroscopeState
    left: Budget
    answer: Observation | Result
    span: Span = NEVER


@dataclass
class Turn:
    """What the policy's thread does while one act runs."""

    running: Intent
    state: MicroscopeState
    """When the act began, at ``begun_s`` on the clock of the run."""
    cost: Cost
    begun_s: float
    asked: bool = False
    overtaken: threading.Event = field(default_factory=threading.Event)
    """A stand-in was taken; whatever the policy answers is for later."""
    answered: bool = False
    future: Future[Intent | None] = field(default_factory=Future)


def before_of(answer: Observation | Result) -> MicroscopeState:
    """Return how the instrument stood before an act."""
    return answer.state_before if isinstance(answer, Observation) else answer.outcome.state_before
