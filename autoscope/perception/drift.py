"""How a sample drifts: a Kalman filter that foretells the displacement between two looks, and says how surely.

Each axis has three hidden parts: a displacement ``p``, a slow velocity ``v``, and what is left of the creep ``c`` after
a stage move, which dies away exponentially. What is seen is ``p + c``. Both axes share one covariance, since both are
looked at together (Kalman, J. Basic Eng. 82, 35 (1960); the matrices as in Bar-Shalom, Li & Kirubarajan, Estimation
with Applications to Tracking and Navigation (2001), ch. 6).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.config import ConfigModel
from autoscope.protocols import JsonValue
from autoscope.quantities import PositiveDuration, PositiveLength, PositiveSpeed
from autoscope.records import Value

Floats = NDArray[np.float64]

SEEN = np.array([1.0, 0.0, 1.0])
"""What is seen of (p, v, c)."""
MEMORY = 20.0
"""Looks over which the surprise is averaged."""
MOST_INFLATED = 100.0
"""The walk is never taken for more than this many times as wild (in variance) as was expected."""


class DriftConfig(ConfigModel):
    """How much drift is expected before any is seen."""

    walk_per_minute_m: PositiveLength = 0.3e-9
    """Random walk: standard deviation per axis after one minute; grows where looks surprise."""
    speed_m_per_s: PositiveSpeed = 20e-12
    """Standard deviation of the steady velocity."""
    speed_time_s: PositiveDuration = 3600.0
    """Over this time the velocity changes by its own size."""
    creep_fraction: float = 3e-3
    """Part of a stage move that is still to come when the stage has arrived (standard deviation)."""
    creep_max_m: PositiveLength = 20e-9
    """... but no more than this."""
    creep_time_s: PositiveDuration = 30.0
    """Time constant with which it comes."""
    stage_m: PositiveLength = 30e-9
    """Standard deviation of where the stage stops."""


class Displacement(Value):
    """Where a sample is expected relative to where it was first seen."""

    dx_m: float
    dy_m: float
    std_m: float
    """Standard deviation per axis, relative to the last look."""


class DriftModel:
    """Foretells the displacement of the sample from what was seen of it; a fold over moves and looks.

    Parameters
    ----------
    config : DriftConfig
        What is expected.
    """

    def __init__(self, config: DriftConfig) -> None:
        self._config = config
        self._mean = np.zeros((3, 2))
        self._cov = np.diag([config.stage_m**2, config.speed_m_per_s**2, 0.0])
        self._time_s = 0.0
        self._surprise = 1.0

    def _at(self, time_s: float) -> tuple[Floats, Floats]:
        """Return mean (3, 2) and covariance (3, 3) at a time, no earlier than the last look or move."""
        config, dt = self._config, max(time_s - self._time_s, 0.0)
        step = np.eye(3)
        step[0, 1], step[2, 2] = dt, math.exp(-dt / config.creep_time_s)
        walk = config.walk_per_minute_m**2 / 60.0 * min(max(self._surprise, 1.0), MOST_INFLATED)
        turn = config.speed_m_per_s**2 / config.speed_time_s
        noise = np.zeros((3, 3))
        noise[:2, :2] = [[walk * dt + turn * dt**3 / 3.0, turn * dt**2 / 2.0], [turn * dt**2 / 2.0, turn * dt]]
        return step @ self._mean, step @ self._cov @ step.T + noise

    def predict(self, time_s: float) -> Displacement:
        """Return the displacement expected at a time."""
        mean, cov = self._at(time_s)
        dx_m, dy_m = (float(v) for v in SEEN @ mean)
        return Displacement(dx_m=dx_m, dy_m=dy_m, std_m=math.sqrt(max(float(SEEN @ cov @ SEEN), 0.0)))

    def moved(self, time_s: float, length_m: float) -> None:
        """Learn that the stage has moved by so much: it stops somewhere near, and creeps."""
        self._mean, self._cov = self._at(time_s)
        self._time_s = max(time_s, self._time_s)
        creep_m = min(self._config.creep_fraction * length_m, self._config.creep_max_m)
        self._cov += np.diag([self._config.stage_m**2, 0.0, creep_m**2])

    def anchor(self, time_s: float) -> None:
        """Take what is expected now for the truth: positions are relative to this look from now on.

        Velocity and creep stay as uncertain as they were.
        """
        self._mean, cov = self._at(time_s)
        self._time_s = max(time_s, self._time_s)
        onto = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        self._cov = onto @ cov @ onto.T

    def measured(self, time_s: float, dx_m: float, dy_m: float, std_m: float, *, first: bool) -> None:
        """Learn where the sample is seen.

        Parameters
        ----------
        time_s : float
            When.
        dx_m, dy_m, std_m : float
            Its displacement, and the standard deviation of that per axis.
        first : bool
            Whether it is the first look since the stage moved: it then tells much about where the stage stopped and
            only a little about the drift.
        """
        mean, cov = self._at(time_s)
        self._time_s = max(time_s, self._time_s)
        noise = std_m**2 + (self._config.stage_m**2 if first else 0.0)
        spread = float(SEEN @ cov @ SEEN) + noise
        miss = np.array([dx_m, dy_m]) - SEEN @ mean
        gain = cov @ SEEN / spread
        self._mean = mean + np.outer(gain, miss)
        self._cov = cov - np.outer(gain, gain) * spread
        if first:
            self._mean[0] += np.array([dx_m, dy_m]) - SEEN @ self._mean
            self.anchor(time_s)
            self._cov[0, 0] += std_m**2
        else:
            size = float(miss @ miss) / (2.0 * spread)
            self._surprise += (min(size, MOST_INFLATED) - self._surprise) / MEMORY

    def smear_m(self, time_s: float, dwell_s: float) -> float:
        """Return how far the sample is likely to creep during a dwell that begins at a time."""
        mean, cov = self._at(time_s)
        creep_m = float(np.hypot(*mean[2])) + math.sqrt(max(float(cov[2, 2]), 0.0))
        return creep_m * -math.expm1(-dwell_s / self._config.creep_time_s)

    def settled_after_s(self, time_s: float, dwell_s: float, smear_m: float) -> float:
        """Return how long to wait until a dwell is smeared by no more than this; 0 where it may begin now."""
        now_m = self.smear_m(time_s, dwell_s)
        return self._config.creep_time_s * math.log(now_m / smear_m) if now_m > smear_m else 0.0

    @property
    def speed_m_per_s(self) -> tuple[float, float]:
        """Velocity believed in now (x, y), without creep."""
        return float(self._mean[1, 0]), float(self._mean[1, 1])

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data."""
        mean, cov = self._mean.tolist(), self._cov.tolist()
        return {"mean": mean, "cov": cov, "time_s": self._time_s, "surprise": self._surprise}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self._mean, self._cov = np.array(state["mean"]), np.array(state["cov"])
        self._time_s, self._surprise = float(state["time_s"]), float(state["surprise"])
