"""What people are told of those who were refused: each once, and no scanner fills the log."""

from __future__ import annotations

import threading
from collections.abc import Callable

from autoscope.protocols import Clock

WINDOW_S = 60.0
"""How long refusals are gathered before what was not told at once is told as a number."""
AT_ONCE = 5
"""Who is told of at once in a window, each for the first time; the others are counted."""
COUNTED_APART = 1000
"""Of more sources than this it is not known any more whether they are new."""


class Refusals:
    """Tells of refusals, at most ``AT_ONCE + 1`` lines in each window. Any thread may call it.

    Parameters
    ----------
    tell : callable
        Told a sentence.
    clock : Clock
        Monotonic time.

    Examples
    --------
    >>> from autoscope.clock import SimClock
    >>> clock = SimClock()
    >>> refusals = Refusals(print, clock)
    >>> for _ in range(1000):
    ...     refusals.note("10.0.0.7", "refused 10.0.0.7: its key is not known here")
    refused 10.0.0.7: its key is not known here
    >>> clock.wait(60.0)
    >>> refusals.look()
    refused 999 more times in the last 60 s, from 1 source
    """

    def __init__(self, tell: Callable[[str], None], clock: Clock) -> None:
        self._tell, self._clock = tell, clock
        self._lock = threading.Lock()
        self._since_s: float | None = None
        self._told: set[str] = set()
        self._untold: set[str] = set()
        self._count = 0

    def note(self, source: str, sentence: str) -> None:
        """Tell of a refusal, or count it."""
        self.look()
        with self._lock:
            if self._since_s is None:
                self._since_s = self._clock.now_s()
            new = source not in self._told and len(self._told) < AT_ONCE
            if new:
                self._told.add(source)
            else:
                self._count += 1
                if len(self._untold) < COUNTED_APART:
                    self._untold.add(source)
        if new:
            self._tell(sentence)

    def look(self) -> None:
        """Tell how many were counted, once the window is over."""
        with self._lock:
            if self._since_s is None or self._clock.now_s() - self._since_s < WINDOW_S:
                return
            count, sources = self._count, len(self._untold)
            self._since_s, self._count, self._told, self._untold = None, 0, set(), set()
        if count:
            times = "once more" if count == 1 else f"{count} more times"
            who = "1 source" if sources == 1 else f"{sources}{' or more' if sources == COUNTED_APART else ''} sources"
            self._tell(f"refused {times} in the last {WINDOW_S:g} s, from {who}")
