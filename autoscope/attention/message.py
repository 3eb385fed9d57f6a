"""A notice as people and programs read it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from autoscope.attention.occurrences import Event, Notice
from autoscope.attention.reasons import Reason, Severity, Situation, worst

SCHEMA = "autoscope.notice/1"
LONGEST_SUBJECT = 120
_WORDS = {Severity.NOTICE: "notice", Severity.NEEDS_YOU: "needs you", Severity.TROUBLE: "TROUBLE"}


@dataclass(frozen=True, slots=True)
class Message:
    """One notice of one run at one moment."""

    notice: Notice
    situation: Situation
    sent: str
    """Wall-clock time, ISO 8601 UTC."""

    @property
    def id(self) -> str:
        """Name of the notice, the same at every try, so that a receiver can tell a repetition."""
        notice = self.notice
        return f"{self.situation.run}/{notice.reason.key}/{notice.since}/{notice.event}/{notice.count}"

    @property
    def headline(self) -> str:
        """One line: how urgent, which run, and what."""
        reason = self.notice.reason
        match self.notice.event:
            case Event.TEST:
                return f"test: {reason.text}"
            case Event.RESOLVED:
                what = "all is well again" if self._is_well else "over"
                return f"{what}: {self.situation.run}: {reason.text}"
            case Event.REMINDER:
                return f"still {_WORDS[reason.severity]}: {self.situation.run}: {reason.text}"
            case _:
                return f"{_WORDS[reason.severity]}: {self.situation.run}: {reason.text}"

    @property
    def text(self) -> str:
        """Everything in plain lines, for an e-mail or a log."""
        situation, notice = self.situation, self.notice
        lines = [self.headline, "", f"run: {situation.run}", f"state: {situation.doing}", f"acts: {situation.acts}"]
        lines += [f"since: {notice.since}", f"now: {self.sent}"]
        lines += [f"also: {_WORDS[other.severity]}: {other.text}" for other in self._others]
        return "\n".join(lines) + "\n"

    @property
    def subject(self) -> str:
        """The headline, short and on one line whatever the reason holds."""
        line = " ".join(f"[autoscope] {self.headline}".split())
        return line if len(line) <= LONGEST_SUBJECT else f"{line[: LONGEST_SUBJECT - 1]}…"

    def plain(self) -> dict[str, Any]:
        """Return the body of a webhook (docs/attention.md); keys are only ever added to it."""
        notice, situation = self.notice, self.situation
        return {
            "schema": SCHEMA,
            "id": self.id,
            "event": str(notice.event),
            **_told(notice.reason),
            "headline": self.headline,
            "since": notice.since,
            "sent": self.sent,
            "run": situation.run,
            "state": situation.doing,
            "acts": situation.acts,
            "standing": [_told(reason) for reason in situation.reasons],
        }

    def json(self) -> bytes:
        """Return `plain` as UTF-8."""
        return json.dumps(self.plain(), ensure_ascii=False, separators=(",", ":")).encode()

    @property
    def _is_well(self) -> bool:
        standing = worst(self.situation.reasons)
        return standing is None or standing is Severity.NOTICE

    @property
    def _others(self) -> list[Reason]:
        return [reason for reason in self.situation.reasons if reason.key != self.notice.reason.key]


def _told(reason: Reason) -> dict[str, str]:
    return {"key": reason.key, "severity": str(reason.severity), "text": reason.text}


def trial(sent: str) -> Message:
    """Return what is sent to try a channel."""
    reason = Reason("test", "this channel works; nothing has happened", Severity.NOTICE)
    return Message(Notice(Event.TEST, reason, sent, 0), Situation("no run", "test", 0, ()), sent)
