"""Metrics of what a campaign cost: way, seconds of deciding, memory, instrument time, dose."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from autoscope.benchmark.metrics import AfterConfig, cut, suffix
from autoscope.benchmark.trace import Trace, Truth
from autoscope.config import ConfigModel


class _Spent:
    """The last value of a running sum."""

    class Config(AfterConfig):
        """When the campaign is looked at."""

    better = "lower"
    unit: ClassVar[str]
    label: ClassVar[str]
    series: ClassVar[str]

    def __init__(self, config: Config) -> None:
        self._config = config
        self.name = self.label + suffix(config.after)

    def __call__(self, trace: Trace, truth: Truth) -> float | None:
        """Return what was spent by then."""
        known = cut(trace, self._config.after)
        return None if known is None else float(getattr(known, self.series)[-1])


class Travel(_Spent):
    """Way of the probe and the stage, metres."""

    unit, label, series = "m", "travel", "travel_m"


class InstrumentTime(_Spent):
    """Time on the instrument, overview and deciding included, seconds."""

    unit, label, series = "s", "instrument_time", "time_s"


class Dose(_Spent):
    """Electrons on the specimen."""

    unit, label, series = "e", "dose", "dose_e"


class DecisionLatency:
    """Real seconds a decision takes: a quantile over the decisions of a campaign."""

    class Config(AfterConfig):
        """Which quantile."""

        quantile: float = Field(default=0.5, ge=0.0, le=1.0)
        """0.5 is the median, 0.99 what one decision in a hundred exceeds."""

    unit, better = "s", "lower"

    def __init__(self, config: Config) -> None:
        self._config = config
        word = "median" if config.quantile == 0.5 else f"p{100 * config.quantile:g}"
        self.name = f"latency_{word}" + suffix(config.after)

    def __call__(self, trace: Trace, truth: Truth) -> float | None:
        """Return seconds."""
        known = cut(trace, self._config.after)
        timed = np.array([]) if known is None else known.latency_s[np.isfinite(known.latency_s)]
        return float(np.quantile(timed, self._config.quantile)) if timed.size else None


class PeakMemory:
    """Most memory the process held, bytes; that of a peer's own worker process is not in it."""

    class Config(ConfigModel):
        """Nothing to set."""

    name, unit, better = "peak_memory", "B", "lower"

    def __init__(self, config: Config) -> None:
        self._config = config

    def __call__(self, trace: Trace, truth: Truth) -> float | None:
        """Return bytes; None where it is not known."""
        return float(trace.peak_rss_bytes) or None
