"""The beam: blanked or not, and every electron accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoscope.exposure import electrons


class Beam:
    """Whether electrons reach the sample, how many have, and for how long.

    Between exposures the beam is blanked unless it was unblanked on purpose; then all time that passes on the
    clock is exposure of the place where the probe is parked.

    Parameters
    ----------
    time_s : float
        Time at which the instrument is started, beam blanked.
    """

    def __init__(self, time_s: float) -> None:
        self.blanked = True
        self.dose_e = 0.0
        self.on_s = 0.0
        self._accounted_s = time_s

    def snapshot(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return {"blanked": self.blanked, "dose_e": self.dose_e, "on_s": self.on_s, "accounted_s": self._accounted_s}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take up a snapshot."""
        self.blanked, self.dose_e = snapshot["blanked"], snapshot["dose_e"]
        self.on_s, self._accounted_s = snapshot["on_s"], snapshot["accounted_s"]

    def pass_time(self, until_s: float, current_a: float) -> float:
        """Account for the time since the last account and return the electrons that fell in it."""
        passed_s = max(until_s - self._accounted_s, 0.0)
        self._accounted_s = max(until_s, self._accounted_s)
        return 0.0 if self.blanked else self.expose(passed_s, current_a)

    def skip_time(self, until_s: float) -> None:
        """Take note that time passed whose electrons are accounted for otherwise, or never reached the sample."""
        self._accounted_s = max(until_s, self._accounted_s)

    def expose(self, duration_s: float, current_a: float) -> float:
        """Account for an exposure and return its electrons."""
        dose_e = electrons(current_a, duration_s)
        self.dose_e += dose_e
        self.on_s += duration_s
        return dose_e
