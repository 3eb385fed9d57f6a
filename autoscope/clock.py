"""Clocks: the real one, one whose time jumps to the next event, and one taken up where a run was cut off."""

from __future__ import annotations

import datetime
import time

from autoscope.errors import AutoscopeError
from autoscope.protocols import Clock


class SystemClock:
    """Monotonic time for all arithmetic; the computer's wall clock, wherever it has jumped to, for people."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()

    def now_s(self) -> float:
        """Return seconds since the clock was made."""
        return time.monotonic() - self._start_s

    def wall(self) -> str:
        """Return what the computer's clock shows, ISO 8601 UTC; the journal marks where it jumped."""
        return _iso(datetime.datetime.now(datetime.UTC), 0.0)

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
        return self.wall_at(self._now_s)

    def wall_at(self, time_s: float) -> str:
        """Return the simulated wall-clock time at an instant of this clock, ISO 8601 UTC."""
        return _iso(self._anchor, time_s)

    def wait(self, duration_s: float) -> None:
        """Jump ``duration_s`` seconds ahead."""
        self._now_s += _checked(duration_s)

    def set_wall_ahead(self, jump_s: float) -> None:
        """Let the wall clock alone jump, as when a computer's time is set; monotonic time does not notice."""
        self._anchor += datetime.timedelta(seconds=jump_s)

    def go_to(self, time_s: float) -> None:
        """Stand at exactly this instant, or stay where that is past already; a sum of waits may miss it by a rounding.

        Examples
        --------
        >>> clock = SimClock()
        >>> clock.go_to(0.3)
        >>> clock.now_s()
        0.3
        """
        self._now_s = max(self._now_s, time_s)


class ResumedClock:
    """Real time, taken up where a run was cut off: it jumps like a simulated one until it is told to go on.

    Parameters
    ----------
    real : Clock
        What it keeps to afterwards.
    """

    def __init__(self, real: Clock) -> None:
        self._real = real
        self._now_s = 0.0
        self._since_s: float | None = None

    def now_s(self) -> float:
        """Return seconds on the clock of the run; time in which nobody ran it does not count."""
        return self._now_s if self._since_s is None else self._now_s + self._real.now_s() - self._since_s

    def wall(self) -> str:
        """Return the real wall-clock time, ISO 8601 UTC."""
        return self._real.wall()

    def wait(self, duration_s: float) -> None:
        """Wait in real time; jump while the clock has not been told to go on."""
        if self._since_s is None:
            self._now_s += _checked(duration_s)
        else:
            self._real.wait(duration_s)

    def go_to(self, time_s: float) -> None:
        """Stand at this instant, or stay where that is past already; without effect once it goes on."""
        if self._since_s is None:
            self._now_s = max(self._now_s, time_s)

    def go_on(self) -> None:
        """Keep real time from now on."""
        self._since_s = self._real.now_s()


def _checked(duration_s: float) -> float:
    if not 0.0 <= duration_s < float("inf"):
        raise AutoscopeError("a clock can only wait a finite, non-negative time", value=duration_s, limit=">= 0 s")
    return duration_s


def _iso(anchor: datetime.datetime, passed_s: float) -> str:
    return (anchor + datetime.timedelta(seconds=passed_s)).isoformat(timespec="milliseconds")
