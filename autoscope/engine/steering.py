"""The seam where people reach the loop: an inbox emptied at every step boundary."""

from __future__ import annotations

import queue
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol, runtime_checkable

from autoscope.clock import SystemClock
from autoscope.interventions import URGENT, Order, Receipt
from autoscope.protocols import Clock
from autoscope.records import Intervention

HERE = "this computer"
"""``through`` of an order that came from a process of the same user."""
Answer = Callable[[Receipt], None]


def unheard(receipt: Receipt) -> None:
    """Let a receipt go."""


@dataclass(frozen=True)
class Posted:
    """An order that has reached the run, or what a signal of the operating system means."""

    said: Order | Intervention
    through: str = HERE
    answer: Answer = field(default=unheard, compare=False)


class Inbox(Protocol):
    """Where orders wait until the loop reaches a step boundary."""

    def take(self) -> Sequence[Posted | Intervention]:
        """Return what has arrived since the last call, oldest first, and forget it."""


@runtime_checkable
class Attended(Protocol):
    """An inbox with people at its other end, whose word can be waited for."""

    @property
    def clock(self) -> Clock:
        """The time of people: while they think, the time of a simulated run stands still."""

    def wait(self, timeout_s: float | None) -> bool:
        """Return True as soon as something has arrived, or False when so much of people's time has passed."""

    def on_urgent(self, act: Callable[[Posted], None]) -> None:
        """Have what cannot wait for a step boundary also told at once, on the thread of whoever posts it."""


class Unattended:
    """An inbox that nobody knows of: whoever would be waited for is not there."""

    def take(self) -> Sequence[Posted]:
        """Return nothing."""
        return ()


class QueueInbox:
    """An inbox in memory: signal handlers, and whoever brings orders from elsewhere, post into it from any thread.

    Parameters
    ----------
    clock : Clock, optional
        The time of people; the system's by default.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._arriving: queue.SimpleQueue[Posted] = queue.SimpleQueue()  # a signal handler may put while we get
        self._held: deque[Posted] = deque()
        self._urgent: Callable[[Posted], None] = lambda posted: None

    @property
    def clock(self) -> Clock:
        """The time of people."""
        return self._clock

    def on_urgent(self, act: Callable[[Posted], None]) -> None:
        """Have urgent orders also told at once."""
        self._urgent = act

    def post(self, said: Order | Intervention, *, through: str = HERE, answer: Answer = unheard) -> None:
        """Leave an order for the next step boundary; an urgent one is told at once besides."""
        posted = Posted(said, through, answer)
        if isinstance(said, Order) and said.command.command in URGENT:
            self._urgent(posted)
        self._arriving.put(posted)

    def take(self) -> Sequence[Posted]:
        """Return and forget what has arrived."""
        taken = [*self._held]
        self._held.clear()
        while not self._arriving.empty():
            taken.append(self._arriving.get())
        return taken

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for the next arrival."""
        if self._held:
            return True
        try:
            self._held.append(self._arriving.get(timeout=timeout_s))
        except queue.Empty:
            return False
        return True


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
