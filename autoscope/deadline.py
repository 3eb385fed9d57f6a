"""When a run has to be over: a time of day, or an instant."""

from __future__ import annotations

import datetime
import re

_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
MINUTES_A_DAY = 24 * 60


def time_of_day(given: object) -> str:
    """Return a deadline as it is written down: ``HH:MM``, or an instant in ISO 8601 with its zone.

    YAML reads an unquoted ``22:30`` as the number 1350 and a date as a date; both are understood.

    Raises
    ------
    ValueError
        Neither, or an instant without its zone.

    Examples
    --------
    >>> time_of_day("7:30"), time_of_day(1350), time_of_day("2026-01-02T07:30:00+01:00")
    ('07:30', '22:30', '2026-01-02T07:30:00+01:00')
    """
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < MINUTES_A_DAY:
        return f"{given // 60:02d}:{given % 60:02d}"
    if isinstance(given, datetime.datetime):
        given = given.isoformat()
    if not isinstance(given, str):
        raise ValueError("needs a time of day, e.g. '07:30'")
    if match := _TIME_OF_DAY.fullmatch(given.strip()):
        return f"{int(match[1]):02d}:{match[2]}"
    try:
        instant = datetime.datetime.fromisoformat(given.strip())
    except ValueError as error:
        raise ValueError("is neither a time of day like '07:30' nor a date and time in ISO 8601") from error
    if instant.tzinfo is None:
        raise ValueError("needs its time zone, e.g. '2026-01-02T07:30:00+01:00'")
    return instant.isoformat()


def instant_of(deadline: str, wall: str, *, local: bool) -> str:
    """Return the instant a deadline means to somebody whose clock shows ``wall``, ISO 8601 UTC.

    Parameters
    ----------
    deadline : str
        As `time_of_day` returns it.
    wall : str
        What the clock shows, ISO 8601 with zone.
    local : bool
        Whether a time of day is one of the computer's time zone; else of UTC.

    Examples
    --------
    >>> instant_of("07:30", "2026-01-01T20:00:00.000+00:00", local=False)
    '2026-01-02T07:30:00+00:00'
    >>> instant_of("07:30", "2026-01-01T07:30:00.000+00:00", local=False)
    '2026-01-02T07:30:00+00:00'
    """
    now = datetime.datetime.fromisoformat(wall)
    match = _TIME_OF_DAY.fullmatch(deadline)
    if match is None:
        return datetime.datetime.fromisoformat(deadline).astimezone(datetime.UTC).isoformat()
    here = now.astimezone() if local else now.astimezone(datetime.UTC)
    then = here.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
    if then <= here:
        then += datetime.timedelta(days=1)
    return then.astimezone(datetime.UTC).isoformat()


def seconds_until(instant: str, wall: str) -> float:
    """Return how long it is from what a clock shows until an instant; negative where that is past.

    Examples
    --------
    >>> seconds_until("2026-01-02T07:30:00+00:00", "2026-01-01T20:00:00.000+00:00")
    41400.0
    """
    return (datetime.datetime.fromisoformat(instant) - datetime.datetime.fromisoformat(wall)).total_seconds()
