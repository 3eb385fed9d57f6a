"""Why a person is needed, under a key that stays the same while the words change."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Severity(enum.StrEnum):
    """How urgently somebody is needed; `rank` orders them."""

    NOTICE = "notice"
    """Good to know: the run has ended as it should."""
    NEEDS_YOU = "needs_you"
    """It waits, or something is odd."""
    TROUBLE = "trouble"
    """It is not well."""

    @property
    def rank(self) -> int:
        """Return 0 for a notice, 2 for trouble."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that a person should know or do something about."""

    key: str
    """Stable word for the kind of thing, e.g. ``silent``: the same thing an hour later has the same key."""
    text: str
    """What to read; may hold numbers that change."""
    severity: Severity


@dataclass(frozen=True, slots=True)
class Situation:
    """How a run stands, as far as a notice tells it."""

    run: str
    doing: str
    """``running``, ``paused``, ``completed`` ..."""
    acts: int
    reasons: tuple[Reason, ...]


def worst(reasons: Iterable[Reason]) -> Severity | None:
    """Return the highest severity, None where there is no reason.

    Examples
    --------
    >>> worst([Reason("ended", "completed", Severity.NOTICE), Reason("silent", "", Severity.TROUBLE)])
    <Severity.TROUBLE: 'trouble'>
    """
    return max((reason.severity for reason in reasons), key=lambda severity: severity.rank, default=None)
