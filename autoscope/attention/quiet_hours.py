"""Hours in which people sleep, on the clock of a place, across midnight and the changes of summer time."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from autoscope.config_model import ConfigModel
from autoscope.deadline import time_of_day

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEK: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _clock_time(given: object) -> object:
    written = time_of_day(given)
    if len(written) != len("HH:MM"):
        raise ValueError("needs a time of day, e.g. '22:00'")
    return written


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            "is no time zone this computer knows; give a name such as Europe/Vienna (on Windows: pip install tzdata)"
        ) from error
    return name


TimeOfDay = Annotated[str, BeforeValidator(_clock_time)]
TimeZone = Annotated[str, AfterValidator(_known_zone)]


class QuietHours(ConfigModel):
    """From one time of day until another, the next day where that is earlier."""

    begin: TimeOfDay = Field(alias="from")
    """Local time at which it begins, e.g. ``"22:00"``."""
    end: TimeOfDay = Field(alias="to")
    """Local time at which it is over; that minute is not quiet any more."""
    days: tuple[Weekday, ...] = WEEK
    """Days on which it begins."""

    @model_validator(mode="after")
    def _has_length(self) -> Self:
        if self.begin == self.end:
            raise ValueError("quiet hours that end when they begin could mean none or all day; give another time")
        return self

    def hold_at(self, local: datetime.datetime) -> bool:
        """Return whether a local date and time lies within."""
        now, today = f"{local:%H:%M}", WEEK[local.weekday()]
        yesterday = WEEK[local.weekday() - 1]
        if self.begin < self.end:
            return today in self.days and self.begin <= now < self.end
        return (today in self.days and now >= self.begin) or (yesterday in self.days and now < self.end)


def is_quiet(hours: Iterable[QuietHours], wall: str, zone: str | None) -> bool:
    """Return whether people want their rest at an instant.

    The instant is looked up on the clock of the place, so that an hour that summer time skips or repeats is quiet
    exactly where that clock shows a quiet time.

    Parameters
    ----------
    hours : iterable of QuietHours
        When it is quiet; none: never.
    wall : str
        The instant, ISO 8601 with zone, as a Clock tells it.
    zone : str, optional
        IANA name of the time zone; absent: that of this computer.

    Examples
    --------
    >>> night = [QuietHours(begin="22:00", end="07:00")]
    >>> is_quiet(night, "2026-01-01T21:30:00+00:00", "Europe/Vienna")
    True
    >>> is_quiet(night, "2026-01-01T21:30:00+00:00", "UTC")
    False
    """
    local = datetime.datetime.fromisoformat(wall).astimezone(None if zone is None else ZoneInfo(zone))
    return any(one.hold_at(local) for one in hours)
