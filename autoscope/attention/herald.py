"""Tells people over all channels, each at its own pace: a slow or dead one holds up neither the others nor the run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autoscope.attention.channels import Way, way_of
from autoscope.attention.config import AttentionConfig, Channel
from autoscope.attention.message import Message, trial
from autoscope.attention.occurrences import Notice, Occurrences, Rules
from autoscope.attention.quiet_hours import is_quiet
from autoscope.attention.reasons import Situation
from autoscope.errors import AutoscopeError
from autoscope.protocols import Clock

FIRST_RETRY_S, LONGEST_RETRY_S = 5.0, 300.0
Tell = Callable[[str], object]


def rules_of(config: AttentionConfig, channel: Channel) -> Rules:
    """Return when something is told on a channel."""
    return Rules(
        severity=channel.severity,
        after_s=channel.after_s,
        remind_after_s=config.remind_after_s,
        most_reminders=config.most_reminders,
        min_interval_s=config.min_interval_s,
    )


def due_now(
    config: AttentionConfig, channel: Channel, occurrences: Occurrences, now_s: float, wall: str
) -> tuple[Notice, ...]:
    """Return what should be told on a channel at this moment, with respect for its quiet hours."""
    due = occurrences.due(now_s)
    if due and is_quiet(config.quiet_hours_of(channel), wall, config.time_zone):
        return tuple(notice for notice in due if channel.breaks_quiet(notice.reason.severity))
    return due


@dataclass
class _Attempt:
    """A delivery under way; ``error`` is set before ``is_over``."""

    message: Message
    is_over: threading.Event
    error: str = ""


class Courier:
    """One channel: what is due there, one delivery at a time, and a growing wait after each failure.

    Parameters
    ----------
    config : AttentionConfig
        All settings.
    channel : Channel
        Those of this channel.
    way : Way
        How it is told.
    clock : Clock
        Time and the wall clock.
    tell : callable
        Takes a line about what was delivered or not.
    """

    def __init__(self, config: AttentionConfig, channel: Channel, way: Way, clock: Clock, tell: Tell) -> None:
        self._config, self._channel, self._way, self._clock, self._tell = config, channel, way, clock, tell
        self.name = channel.name or channel.kind
        self._occurrences = Occurrences(rules_of(config, channel))
        self._attempt: _Attempt | None = None
        self._failures, self._next_s = 0, 0.0

    def look(self, situation: Situation) -> None:
        """Take note of how the run stands, and begin to tell what is due; returns at once."""
        now_s, wall = self._clock.now_s(), self._clock.wall()
        self._settle(now_s)
        self._occurrences.see(situation.reasons, now_s, wall)
        if self._attempt is None and now_s >= self._next_s:
            due = due_now(self._config, self._channel, self._occurrences, now_s, wall)
            if due:
                self._begin(Message(due[0], situation, wall))

    def owes(self) -> bool:
        """Return whether something is under way, or still has to be told."""
        return self._attempt is not None or self._occurrences.owes()

    @property
    def failures(self) -> int:
        """Deliveries that failed in a row."""
        return self._failures

    def wait(self, limit_s: float) -> None:
        """Wait until what is under way has arrived or failed."""
        if self._attempt is not None:
            self._attempt.is_over.wait(limit_s)
            self._settle(self._clock.now_s())

    def _begin(self, message: Message) -> None:
        attempt = self._attempt = _Attempt(message, threading.Event())

        def deliver() -> None:
            attempt.error = why_not(self._way, message)
            attempt.is_over.set()

        threading.Thread(target=deliver, name=f"attention-{self.name}", daemon=True).start()

    def _settle(self, now_s: float) -> None:
        attempt = self._attempt
        if attempt is None or not attempt.is_over.is_set():
            return
        self._attempt = None
        if not attempt.error:
            self._failures = 0
            self._occurrences.told(attempt.message.notice, now_s)
            self._tell(f"{self.name}: told: {attempt.message.headline}")
            return
        self._failures += 1
        wait_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(self._failures - 1, 10))
        self._next_s = now_s + wait_s
        self._tell(f"{self.name}: NOT told, tried again in {wait_s:g} s: {attempt.error}")


class Herald:
    """All channels of a configuration.

    Parameters
    ----------
    config : AttentionConfig
        Who is told what.
    clock : Clock
        Time and the wall clock.
    tell : callable
        Takes a line about what was delivered or not.
    ring : callable
        Rings the terminal's bell.

    Raises
    ------
    ConfigError
        A secret is absent.
    PluginError
        An extra that a channel needs is not installed.
    """

    def __init__(self, config: AttentionConfig, clock: Clock, tell: Tell, ring: Callable[[], object]) -> None:
        ways = [(channel, way_of(channel, ring)) for channel in config.channels]
        self._couriers: Sequence[Courier] = [Courier(config, channel, way, clock, tell) for channel, way in ways]

    def look(self, situation: Situation) -> None:
        """Take note of how the run stands, and begin to tell what is due; returns at once."""
        for courier in self._couriers:
            courier.look(situation)

    def owes(self) -> tuple[str, ...]:
        """Return the channels on which something is under way, or still has to be told."""
        return tuple(courier.name for courier in self._couriers if courier.owes())

    def failing(self) -> bool:
        """Return whether the last delivery failed on a channel that still owes something."""
        return any(courier.failures and courier.owes() for courier in self._couriers)

    def wait(self, limit_s: float) -> None:
        """Wait until what is under way has arrived or failed, on each channel at most for a time."""
        for courier in self._couriers:
            courier.wait(limit_s)


def try_channels(config: AttentionConfig, clock: Clock, tell: Tell, ring: Callable[[], object]) -> int:
    """Send one notice over each channel, say what worked, and return how many did not; heeds no quiet hours."""
    failed = 0
    for channel in config.channels:
        try:
            error = why_not(way_of(channel, ring), trial(clock.wall()))
        except AutoscopeError as absent:
            error = str(absent)
        failed += bool(error)
        tell(f"{channel.name or channel.kind}: {'does not work: ' + error if error else 'works'}")
    return failed


def why_not(way: Way, message: Message) -> str:
    """Return why a message did not arrive, empty where it did."""
    try:
        way.send(message)
    except AutoscopeError as error:
        return str(error)
    except Exception as error:  # a channel that breaks in a new way must not end the watch
        return f"{type(error).__name__}: {error}"
    return ""
