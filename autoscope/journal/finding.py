"""Choosing among runs: every filter given must hold."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from autoscope.actions import Value
from autoscope.errors import ConfigError
from autoscope.journal.summary import RunSummary

SORTS = ("started", "name", "sample", "operator", "instrument", "status", "steps", "time_s", "dose_e")
"""What runs can be sorted by."""


class Wanted(Value):
    """What a run must be like; texts match anywhere and in capital or small letters, None matches all."""

    sample: str | None = None
    instrument: str | None = None
    operator: str | None = None
    policy: str | None = None
    status: str | None = None
    element: str | None = None
    """A whole word of a scalarizer's name or settings, e.g. ``Pt``."""
    tag: str | None = None
    since: str | None = None
    """Day or instant, ISO 8601; without a zone it is UTC."""
    until: str | None = None
    """As ``since``; a day counts to its end."""
    text: str | None = None
    """Anywhere in what is known of the run, every word of it."""

    def fits(self, run: RunSummary) -> bool:
        """Return whether a run is wanted.

        Raises
        ------
        ConfigError
            ``since`` or ``until`` is no date.
        """
        texts = ("sample", "instrument", "operator", "policy", "status")
        return (
            all(_within(getattr(self, name), getattr(run, name)) for name in texts)
            and (self.element is None or self.element.lower() in run.elements)
            and (self.tag is None or self.tag.lower() in {tag.lower() for tag in run.tags})
            and self._in_time(run)
            and all(word in _all_text(run) for word in (self.text or "").lower().split())
        )

    def _in_time(self, run: RunSummary) -> bool:
        since, until = _instant(self.since, "since"), _instant(self.until, "until", end=True)
        if since is None and until is None:
            return True
        started = _instant(run.started, "started") if run.started else None
        return started is not None and (since is None or since <= started) and (until is None or started < until)


def choose(
    runs: Iterable[RunSummary], wanted: Wanted, *, sort: str = "started", newest_last: bool = False
) -> list[RunSummary]:
    """Return the runs wanted, sorted, greatest first or last.

    Raises
    ------
    ConfigError
        No such order, or no such date.
    """
    if sort not in SORTS:
        raise ConfigError("runs cannot be sorted by this", value=sort, limit=", ".join(SORTS))
    found = sorted((run for run in runs if wanted.fits(run)), key=lambda run: (_key(run, sort), run.folder))
    return found if newest_last else found[::-1]


def _key(run: RunSummary, sort: str) -> float | str:
    value = getattr(run, sort)
    return value.lower() if isinstance(value, str) else float(value)


def _within(part: str | None, text: str) -> bool:
    return part is None or part.lower() in text.lower()


def _all_text(run: RunSummary) -> str:
    return run.model_dump_json().lower()


def _instant(text: str | None, name: str, *, end: bool = False) -> datetime.datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        remedy = "Write 2026-03-01 or 2026-03-01T20:00"
        raise ConfigError("is no date", where=f"--{name}", value=text, remedy=remedy) from error
    instant = instant if instant.tzinfo else instant.replace(tzinfo=datetime.UTC)
    return instant + datetime.timedelta(days=1) if end and len(text) == 10 else instant
