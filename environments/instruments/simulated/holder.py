"""The heating holder."""

from __future__ import annotations

import math
from collections.abc import Sequence

from environments.instruments.simulated.config import HolderConfig


class Heater:
    """A sample heater whose temperature approaches its set point exponentially.

    Parameters
    ----------
    config : HolderConfig
        Ambient temperature and time constant.
    time_s : float
        Time at which it is at ambient temperature.
    """

    def __init__(self, config: HolderConfig, time_s: float) -> None:
        self._config = config
        self._set_k = self._start_k = config.ambient_k
        self._start_s = time_s

    def snapshot(self) -> list[float]:
        """Return set point, start and its time."""
        return [self._set_k, self._start_k, self._start_s]

    def restore(self, snapshot: Sequence[float]) -> None:
        """Take up a snapshot."""
        self._set_k, self._start_k, self._start_s = snapshot

    def temperature_k(self, time_s: float) -> float:
        """Return the temperature at a time."""
        left = math.exp(-max(time_s - self._start_s, 0.0) / self._config.time_constant_s)
        return self._set_k + (self._start_k - self._set_k) * left

    def heat_to(self, set_k: float, time_s: float) -> None:
        """Set a new set point from a time on."""
        self._start_k, self._start_s = self.temperature_k(time_s), time_s
        self._set_k = set_k
