"""Electrons on the sample: the beam current, integrated over the time the beam was open."""

from __future__ import annotations

import threading

from autoscope.exposure import electrons
from autoscope.protocols import Clock


class DoseMeter:
    """Counts electrons from what is read back, so that a beam opened by hand is counted too.

    Between two readings the beam counts as open if it was open at the first; time on the clock is multiplied by the
    current read there. What opens and shuts between two readings is covered by `at_least`: an exposure costs no less
    than its dwell time.

    Parameters
    ----------
    clock : Clock
        Time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen_s, self._current_a, self._total_e = clock.now_s(), 0.0, 0.0

    def read(self, *, blanked: bool, current_a: float) -> float:
        """Add what has fallen since the last reading, take this one for what follows; return the total."""
        with self._lock:
            now_s = self._clock.now_s()
            self._total_e += electrons(self._current_a, max(now_s - self._seen_s, 0.0))
            self._seen_s, self._current_a = now_s, 0.0 if blanked else current_a
            return self._total_e

    def at_least(self, total_e: float) -> None:
        """Raise the total to what an exposure must have cost."""
        with self._lock:
            self._total_e = max(self._total_e, total_e)
