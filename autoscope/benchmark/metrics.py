"""Metrics of a search: how good what was measured is, by the truth and never by the noisy draw."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from autoscope.benchmark.trace import Trace, Truth
from autoscope.config import ConfigModel

Array = NDArray[np.float64]
Better = Literal["higher", "lower"]


class AfterConfig(ConfigModel):
    """When the campaign is looked at."""

    after: PositiveInt | None = None
    """Number of measurements; absent: all that were taken. A campaign that was shorter has no value."""


def suffix(after: int | None) -> str:
    """Return what tells a metric at a number of measurements from the same at another.

    Examples
    --------
    >>> suffix(100), suffix(None)
    ('@100', '')
    """
    return "" if after is None else f"@{after}"


def cut(trace: Trace, after: int | None) -> Trace | None:
    """Return the campaign as it stood after so many measurements; None where it never got there."""
    if after is None:
        return trace if len(trace) else None
    return trace.up_to(after) if len(trace) >= after else None


def span(truth: Truth) -> float:
    """Return the range of the truth; 1 for a truth that is the same everywhere, where all places are best."""
    return float(np.ptp(truth.values)) or 1.0


class SimpleRegret:
    """How far the best place measured falls short of the best there is, as a share of the range of the truth.

    With ``recommended``, the place is the one whose *measured* value is highest: what an operator would call the best
    without knowing the truth (inference regret).
    """

    class Config(AfterConfig):
        """When, and by whose judgement."""

        recommended: bool = False

    unit, better = "", "lower"

    def __init__(self, config: Config) -> None:
        self._config = config
        self.name = ("inference_regret" if config.recommended else "simple_regret") + suffix(config.after)

    def __call__(self, trace: Trace, truth: Truth) -> float | None:
        """Return a number from 0 (the best place) to 1."""
        known = cut(trace, self._config.after)
        if known is None:
            return None
        found = truth.values[known.chosen]
        best = found[int(np.argmax(known.value))] if self._config.recommended else found.max()
        return float((truth.values.max() - best) / span(truth))


class BestSoFarArea:
    """Mean over all measurements of the best true value found by then, 0 the lowest there is and 1 the highest."""

    class Config(AfterConfig):
        """When the campaign is looked at."""

    unit, better = "", "higher"

    def __init__(self, config: Config) -> None:
        self._config = config
        self.name = "best_so_far_area" + suffix(config.after)

    def __call__(self, trace: Trace, truth: Truth) -> float | None:
        """Return a number from 0 to 1; 1 if the first place was the best."""
        known = cut(trace, self._config.after)
        return None if known is None else float(best_so_far(known, truth).mean())


def best_so_far(trace: Trace, truth: Truth) -> Array:
    """Return the best true value found by each measurement (n,), 0 the lowest there is and 1 the highest."""
    found = (truth.values[trace.chosen] - truth.values.min()) / span(truth)
    return np.maximum.accumulate(found)


class ToLevel:
    """What was spent until a place was measured whose true value reaches a level: measurements, seconds or electrons.

    Infinite where the level was never reached: the campaign is then censored at `horizon`.
    """

    class Config(ConfigModel):
        """Which level, and what is counted."""

        level: float = Field(default=0.95, gt=0.0, le=1.0)
        """As a share of the range of the truth, from its lowest value."""
        per: Literal["measurement", "time", "dose"] = "measurement"

    better = "lower"

    def __init__(self, config: Config) -> None:
        self._config = config
        word = {"measurement": "measurements", "time": "time", "dose": "dose"}[config.per]
        self.name = f"{word}_to_{config.level:g}"
        self.unit = {"measurement": "", "time": "s", "dose": "e"}[config.per]

    def __call__(self, trace: Trace, truth: Truth) -> float | None:
        """Return what was spent by then, or infinity."""
        if not len(trace):
            return None
        level = truth.values.min() + self._config.level * np.ptp(truth.values)
        reached = np.flatnonzero(truth.values[trace.chosen] >= level - 1e-12 * span(truth))
        return float(self._spent(trace)[reached[0]]) if reached.size else math.inf

    def horizon(self, trace: Trace) -> float:
        """Return all that was spent: what is known of a campaign that never reached the level is that it takes more."""
        return float(self._spent(trace)[-1])

    def _spent(self, trace: Trace) -> Array:
        counted = {"time": trace.time_s, "dose": trace.dose_e}
        return counted.get(self._config.per, np.arange(1.0, len(trace) + 1.0))


class TopFound:
    """Share of the best places that were measured, of as many as could have been by then."""

    class Config(AfterConfig):
        """Which places count as the best."""

        top: float = Field(default=0.01, gt=0.0, le=1.0)
        """Fraction of the pool; at least one place."""

    unit, better = "", "higher"

    def __init__(self, config: Config) -> None:
        self._config = config
        self.name = f"top_{100 * config.top:g}_percent_found" + suffix(config.after)

    def __call__(self, trace: Trace, truth: Truth) -> float | None:
        """Return a number from 0 to 1; places as good as the worst of the best count as well."""
        known = cut(trace, self._config.after)
        if known is None:
            return None
        count = max(1, math.ceil(self._config.top * truth.values.size))
        threshold = np.partition(truth.values, -count)[-count]
        found = int((truth.values[np.unique(known.chosen)] >= threshold).sum())
        return min(found / min(count, len(known)), 1.0)


class TargetCoverage:
    """Share of the levels of the target, as the truth has them, at which something was measured.

    The range of the truth is cut into equal bins; bins that no candidate falls into do not count.
    """

    class Config(AfterConfig):
        """How finely the target is cut."""

        bins: int = Field(default=20, ge=2)

    unit, better = "", "higher"

    def __init__(self, config: Config) -> None:
        self._config = config
        self.name = "target_coverage" + suffix(config.after)

    def __call__(self, trace: Trace, truth: Truth) -> float | None:
        """Return a number from 0 to 1."""
        known = cut(trace, self._config.after)
        if known is None:
            return None
        scaled = (truth.values - truth.values.min()) / span(truth)
        level = np.minimum((scaled * self._config.bins).astype(np.int64), self._config.bins - 1)
        return np.unique(level[known.chosen]).size / np.unique(level).size
