"""Metrics of the map a policy believes in: its error, its order, and how honest its uncertainty is.

All are judged against the truth. Intervals are judged on candidates that were *not* measured, which nobody told the
policy about; there the belief is about the noise-free target, so measurement noise has no part in it.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.stats import norm, rankdata

from autoscope.benchmark.metrics import AfterConfig, cut, span, suffix
from autoscope.benchmark.trace import Belief, Trace, Truth

Array = NDArray[np.float64]


def belief_at(trace: Trace, after: int | None) -> Belief | None:
    """Return the policy's map after so many measurements, or its last; None where it has none."""
    wanted = max(trace.maps, default=None) if after is None else after
    return None if wanted is None else trace.maps.get(wanted)


class MapError:
    """Root mean square error of the map; normalised, as a share of the range of the truth (NRMSE)."""

    class Config(AfterConfig):
        """When, and in which unit."""

        normalised: bool = True

    better = "lower"
    unit = ""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.name = ("map_nrmse" if config.normalised else "map_rmse") + suffix(config.after)

    def __call__(self, trace: Trace, truth: Truth) -> float | None:
        """Return the error over all candidates; without ``normalised``, in the unit of the target."""
        belief = belief_at(trace, self._config.after)
        if belief is None:
            return None
        error = float(np.sqrt(np.mean((belief[0] - truth.values) ** 2)))
        return error / span(truth) if self._config.normalised else error


class RankCorrelation:
    """Spearman's rank correlation of map and truth; 0 for a map without any structure."""

    class Config(AfterConfig):
        """When the campaign is looked at."""

    unit, better = "", "higher"

    def __init__(self, config: Config) -> None:
        self._config = config
        self.name = "map_rank_correlation" + suffix(config.after)

    def __call__(self, trace: Trace, truth: Truth) -> float | None:
        """Return a number from -1 to 1."""
        belief = belief_at(trace, self._config.after)
        if belief is None:
            return None
        ours, theirs = (rankdata(values) for values in (belief[0], truth.values))
        if np.ptp(ours) == 0 or np.ptp(theirs) == 0:
            return 0.0
        return float(np.corrcoef(ours, theirs)[0, 1])


class CalibrationConfig(AfterConfig):
    """When, and which forecasts are judged."""

    of: Literal["map", "forecasts"] = "map"
    """``map``: the belief about candidates not measured, against the truth. ``forecasts``: each prediction made before
    its measurement, against what was measured, measurement noise added."""


class _Calibration:
    """What the metrics of calibration share: forecasts as mean, standard deviation and what came."""

    prefix: ClassVar[str]

    def __init__(self, config: CalibrationConfig) -> None:
        self._calibration = config
        self.name = f"{'map' if config.of == 'map' else 'forecast'}_{self.prefix}{suffix(config.after)}"

    def _forecasts(self, trace: Trace, truth: Truth) -> tuple[Array, Array, Array] | None:
        """Return mean, standard deviation and outcome of the forecasts judged; None where there are none."""
        after = self._calibration.after
        if self._calibration.of == "forecasts":
            known = cut(trace, after)
            if known is None:
                return None
            std = np.hypot(known.sd, known.std)
            made = np.isfinite(known.mean) & np.isfinite(std) & (std > 0)
            return (known.mean[made], std[made], known.value[made]) if made.any() else None
        belief, n = belief_at(trace, after), max(trace.maps, default=0) if after is None else after
        if belief is None:
            return None
        left = np.setdiff1d(np.arange(truth.values.size), trace.chosen[:n])
        mean, std = belief[0][left], np.maximum(belief[1][left], 1e-12 * span(truth))
        return (mean, std, truth.values[left]) if left.size and np.isfinite(std).all() else None


class IntervalCoverage(_Calibration):
    """Share of outcomes inside the central interval of that level; an honest forecaster has the level itself."""

    class Config(CalibrationConfig):
        """Which interval."""

        level: float = Field(default=0.9, gt=0.0, lt=1.0)

    unit, better = "", "higher"
    prefix = "coverage"
    ranked: ClassVar[bool] = False
    """More is not better than the level itself: nobody is ranked by it; see `CalibrationError`."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._level = config.level
        self.name = self.name.replace("coverage", f"coverage_{100 * config.level:g}")

    def __call__(self, trace: Trace, truth: Truth) -> float | None:
        """Return a number from 0 to 1."""
        found = self._forecasts(trace, truth)
        return None if found is None else coverage(*found, self._level)


def coverage(mean: Array, std: Array, outcome: Array, level: float) -> float:
    """Return the share of outcomes within the central interval of normal forecasts."""
    return float(np.mean(np.abs(outcome - mean) <= norm.ppf(0.5 + level / 2) * std))


class CalibrationError(_Calibration):
    """Mean distance between the coverage promised and the coverage kept, over levels 5 % to 95 %."""

    class Config(CalibrationConfig):
        """When, and which forecasts are judged."""

    unit, better = "", "lower"
    prefix = "calibration_error"
    levels: ClassVar[Array] = np.linspace(0.05, 0.95, 19)

    def __call__(self, trace: Trace, truth: Truth) -> float | None:
        """Return a number from 0 (kept at every level) to about 0.5."""
        found = self._forecasts(trace, truth)
        if found is None:
            return None
        return float(np.mean([abs(coverage(*found, float(level)) - level) for level in self.levels]))


class Sharpness(_Calibration):
    """Mean predicted standard deviation as a share of the range of the truth; less is better among the honest."""

    class Config(CalibrationConfig):
        """When, and which forecasts are judged."""

    unit, better = "", "lower"
    prefix = "sharpness"
    ranked: ClassVar[bool] = False
    """Less is better only among the honest: nobody is ranked by it; see `CRPS`."""

    def __call__(self, trace: Trace, truth: Truth) -> float | None:
        """Return a number above 0."""
        found = self._forecasts(trace, truth)
        return None if found is None else float(np.mean(found[1])) / span(truth)


class CRPS(_Calibration):
    """Mean continuous ranked probability score of normal forecasts, as a share of the range of the truth."""

    class Config(CalibrationConfig):
        """When, and which forecasts are judged."""

    unit, better = "", "lower"
    prefix = "crps"

    def __call__(self, trace: Trace, truth: Truth) -> float | None:
        """Return a number above 0."""
        found = self._forecasts(trace, truth)
        return None if found is None else float(np.mean(gaussian_crps(*found))) / span(truth)


def gaussian_crps(mean: Array, std: Array, outcome: Array) -> Array:
    """Return the continuous ranked probability score of normal forecasts (n,), in the unit of the outcome.

    Closed form: Gneiting, Raftery, Westveld & Goldman, Monthly Weather Review 133, 1098 (2005), eq. 5.

    Examples
    --------
    >>> gaussian_crps(np.array([0.0]), np.array([1.0]), np.array([0.0])).round(4).tolist()
    [0.2337]
    """
    z = (outcome - mean) / std
    return np.asarray(std * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi)))
