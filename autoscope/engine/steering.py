"""The seam where people reach the loop: an inbox emptied at every step boundary."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from autoscope.records import Intervention


class Inbox(Protocol):
    """Where interventions wait until the loop reaches a step boundary."""

    def take(self) -> list[Intervention]:
        """Return what has arrived since the last call, oldest first, and forget it."""


class QueueInbox:
    """An inbox in memory: a signal handler, a test or a dashboard in the same process posts into it."""

    def __init__(self) -> None:
        self._waiting: list[Intervention] = []

    def post(self, intervention: Intervention) -> None:
        """Leave an intervention for the next step boundary."""
        self._waiting.append(intervention)

    def take(self) -> list[Intervention]:
        """Return and forget what has arrived."""
        taken, self._waiting = self._waiting, []
        return taken


@contextmanager
def stop_on_interrupt(inbox: QueueInbox, *, who: str) -> Iterator[None]:
    """Turn the first Ctrl-C (or SIGTERM) into a clean stop after the current step; the second interrupts at once."""

    def ask(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        why = signal.Signals(signum).name
        inbox.post(Intervention(who=who, when="", why=why, command="stop"))

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
