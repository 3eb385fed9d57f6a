"""How far the acquisition under way is, and that people are asked, for those who watch a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from autoscope.engine.events import Listener
from autoscope.protocols import Environment, Watchable
from autoscope.records import Decision


@dataclass(frozen=True)
class Acquiring:
    """How far a frame of the act under way is."""

    signal: str
    points_done: int
    points_total: int
    """Points of the scan."""


@runtime_checkable
class Watcher(Protocol):
    """A `Listener` that also wants to know how far acquisitions are."""

    def on_acquiring(self, now: Acquiring) -> None:
        """Take note; called on the instrument's thread, or on one of its own software, often."""


@runtime_checkable
class Asked(Protocol):
    """A `Listener` that also wants to know when the run waits for a person's word."""

    def on_waiting(self, decision: Decision, because: str) -> None:
        """Take note of what is to be done or suggested, and why a person is asked; over with the next step."""


class Watching:
    """A `FrameSink` that tells a watcher and leaves the frames alone."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._totals: dict[str, int] = {}

    def begin(self, signal: str, data: np.ndarray[Any, np.dtype[Any]]) -> None:
        """Tell that a frame has begun."""
        self._totals[signal] = int(data.shape[0] * data.shape[1])
        self._watcher.on_acquiring(Acquiring(signal, 0, self._totals[signal]))

    def advance(self, signal: str, points: int) -> None:
        """Tell how far it is."""
        self._watcher.on_acquiring(Acquiring(signal, points, self._totals[signal]))


def tell_waiting(listener: Listener, decision: Decision, because: str) -> None:
    """Tell a listener that a decision waits for a person's word, where that concerns it."""
    if isinstance(listener, Asked):
        listener.on_waiting(decision, because)


def watch(environment: Environment, listener: Listener) -> None:
    """Have an environment tell a listener how far acquisitions are, where both can."""
    if isinstance(environment, Watchable) and isinstance(listener, Watcher):
        environment.watch(Watching(listener))
