"""Which reasons are told on a channel, and when: once as they come up, again while they stand, once when they are over.

A channel's `Occurrences` compares what is with what was last told there. Nothing is queued: what came and went while a
channel could not be reached is not told late, and what is told last is true.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from autoscope.attention.reasons import Reason, Severity


class Event(enum.StrEnum):
    """What a notice says of its reason."""

    RAISED = "raised"
    """It has come up, or become worse."""
    REMINDER = "reminder"
    """It still stands."""
    RESOLVED = "resolved"
    """It is over."""
    TEST = "test"
    """Nothing has happened: somebody tries the channel."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to be told."""

    event: Event
    reason: Reason
    since: str
    """Wall-clock time at which the reason came up, ISO 8601 UTC."""
    count: int
    """How many notices of this occurrence went before."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When something is told; see `autoscope.attention.config` for each."""

    severity: Severity = Severity.NEEDS_YOU
    after_s: float = 0.0
    remind_after_s: float = 1800.0
    most_reminders: int = 6
    min_interval_s: float = 60.0


@dataclass(frozen=True, slots=True)
class _Occurrence:
    reason: Reason
    since_s: float
    since: str
    stands: bool = True
    told: Severity | None = None
    count: int = 0
    reminders: int = 0


class Occurrences:
    """What stands, and what of it was told on one channel.

    Parameters
    ----------
    rules : Rules
        When something is told.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._known: dict[str, _Occurrence] = {}
        self._last_s: dict[str, float] = {}

    def see(self, reasons: Iterable[Reason], now_s: float, wall: str) -> None:
        """Take note of all reasons there are now.

        Parameters
        ----------
        reasons : iterable of Reason
            All of them; what is not among them is over.
        now_s : float
            Monotonic time.
        wall : str
            The same on the wall clock, ISO 8601.
        """
        heeded = {r.key: r for r in reasons if r.severity.rank >= self._rules.severity.rank}
        for key, known in list(self._known.items()):
            if key in heeded:
                self._known[key] = replace(known, reason=heeded[key], stands=True)
            elif known.told is None or known.told is Severity.NOTICE:
                del self._known[key]
            else:
                self._known[key] = replace(known, stands=False)
        for key in heeded.keys() - self._known.keys():
            self._known[key] = _Occurrence(heeded[key], now_s, wall)

    def due(self, now_s: float) -> tuple[Notice, ...]:
        """Return what should be told now, the worst first."""
        found = list(self._due(now_s))
        return tuple(sorted(found, key=lambda notice: -notice.reason.severity.rank))

    def told(self, notice: Notice, now_s: float) -> None:
        """Take note that a notice has arrived."""
        key = notice.reason.key
        self._last_s[key] = now_s
        if notice.event is Event.RESOLVED:
            if key in self._known and not self._known[key].stands:
                del self._known[key]
            elif key in self._known:  # it came up again while the news was under way: that is another occurrence
                self._known[key] = _Occurrence(self._known[key].reason, now_s, notice.since)
            return
        known = self._known.get(key) or _Occurrence(notice.reason, now_s, notice.since, stands=False)
        self._known[key] = replace(
            known,
            told=notice.reason.severity,
            count=notice.count + 1,
            reminders=known.reminders + (notice.event is Event.REMINDER),
        )

    def owes(self) -> bool:
        """Return whether something that came up, or is over, has not been told yet."""
        return any(known.told is None or not known.stands for known in self._known.values())

    def _due(self, now_s: float) -> Iterator[Notice]:
        rules = self._rules
        for key, known in self._known.items():
            passed_s = now_s - self._last_s.get(key, -float("inf"))
            event: Event | None = None
            if known.told is None:
                ripe = now_s - known.since_s >= rules.after_s and passed_s >= rules.min_interval_s
                event = Event.RAISED if ripe else None
            elif not known.stands:
                event = Event.RESOLVED if passed_s >= rules.min_interval_s else None
            elif known.reason.severity.rank > known.told.rank:
                event = Event.RAISED
            elif self._wants_reminder(known, passed_s):
                event = Event.REMINDER
            if event is Event.RESOLVED and known.told is not None:  # as urgent as what people were told
                yield Notice(event, replace(known.reason, severity=known.told), known.since, known.count)
            elif event is not None:
                yield Notice(event, known.reason, known.since, known.count)

    def _wants_reminder(self, known: _Occurrence, passed_s: float) -> bool:
        rules = self._rules
        wanted = rules.remind_after_s > 0.0 and known.reminders < rules.most_reminders
        return wanted and known.told is not Severity.NOTICE and passed_s >= max(rules.remind_after_s, 1.0)
