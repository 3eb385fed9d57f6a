"""Clocks: the real one, and one whose time jumps to the next event."""

from __future__ import annotations

import datetime
import time

from autoscope.errors import AutoscopeError


class SystemClock:
    """Monotonic time with one wall-clock anchor taken when the clock is made."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._anchor = datetime.datetime.now(datetime.UTC)

    def now_s(self) -> float:
        """Return seconds since the clock was made."""
        return time.monotonic() - self._start_s

    def wall(self) -> str:
        """Return the anchor plus the monotonic time passed, ISO 8601 UTC."""
        return _iso(self._anchor, self.now_s())

    def wait(self, duration_s: float) -> None:
        """Sleep for ``duration_s`` seconds."""
        time.sleep(_checked(duration_s))


class SimClock:
    """A clock that stands still until somebody waits; a night passes in minutes, to the bit.

    Parameters
    ----------
    start : str
        Wall-clock time at zero, ISO 8601.

    Examples
    --------
    >>> clock = SimClock()
    >>> clock.wait(3600.0)
    >>> clock.now_s()
    3600.0
    """

    def __init__(self, start: str = "2026-01-01T20:00:00+00:00") -> None:
        self._now_s = 0.0
        self._anchor = datetime.datetime.fromisoformat(start)

    def now_s(self) -> float:
        """Return simulated seconds since the clock was made."""
        return self._now_s

    def wall(self) -> str:
        """Return the simulated wall-clock time, ISO 8601 UTC."""
        return _iso(self._anchor, self._now_s)

    def wait(self, duration_s: float) -> None:
        """Jump ``duration_s`` seconds ahead."""
        self._now_s += _checked(duration_s)


def _checked(duration_s: float) -> float:
    if not 0.0 <= duration_s < float("inf"):
        raise AutoscopeError("a clock can only wait a finite, non-negative time", value=duration_s, limit=">= 0 s")
    return duration_s


def _iso(anchor: datetime.datetime, passed_s: float) -> str:
    return (anchor + datetime.timedelta(seconds=passed_s)).isoformat(timespec="milliseconds")
