"""What the dashboard itself makes heard: a bell and a line over the screen when something new needs a person."""

from __future__ import annotations

from typing import Literal

from autoscope.attention.config import AttentionConfig, BellConfig
from autoscope.attention.herald import due_now, rules_of
from autoscope.attention.message import Message
from autoscope.attention.occurrences import Event, Occurrences
from autoscope.attention.reasons import Severity, Situation
from autoscope.protocols import Clock

Look = Literal["information", "warning", "error"]
_LOOKS: dict[Severity, Look] = {
    Severity.NOTICE: "information",
    Severity.NEEDS_YOU: "warning",
    Severity.TROUBLE: "error",
}


class Heeding:
    """Tells what is new since it was asked last.

    Parameters
    ----------
    config : AttentionConfig
        Quiet hours, reminders, and the bell's settings; other channels are for ``autoscope watch``.
    clock : Clock
        Time and the wall clock.
    """

    def __init__(self, config: AttentionConfig, clock: Clock) -> None:
        bells = [channel for channel in config.channels if isinstance(channel, BellConfig)]
        self._config, self._clock, self._bell = config, clock, bells[0] if bells else BellConfig()
        self._occurrences = Occurrences(rules_of(config, self._bell))
        self.is_muted = False
        """Whether the bell stays silent; the lines are shown all the same."""

    def news(self, situation: Situation) -> tuple[tuple[str, Look], ...]:
        """Return the lines to show now, each with how it looks; it needs a bell where `rings` says so."""
        now_s, wall = self._clock.now_s(), self._clock.wall()
        self._occurrences.see(situation.reasons, now_s, wall)
        due = due_now(self._config, self._bell, self._occurrences, now_s, wall)
        for notice in due:
            self._occurrences.told(notice, now_s)
        return tuple(
            (
                Message(notice, situation, wall).headline,
                "information" if notice.event is Event.RESOLVED else _LOOKS[notice.reason.severity],
            )
            for notice in due
        )

    def rings(self, news: tuple[tuple[str, Look], ...]) -> bool:
        """Return whether the bell should ring for these lines."""
        return not self.is_muted and any(look != "information" for _, look in news)
