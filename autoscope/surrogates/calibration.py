"""Does a model know what it does not know? Judged prequentially: each prediction before its measurement.

All functions take observed values ``y`` (n,), predicted means (n,) and predictive standard deviations (n,),
which include the noise of the measurement itself: ``sqrt(std**2 + noise_std**2)``. Prequential: Dawid 1984.
How selection biases these figures, and what is done about it: `autoscope.surrogates.recalibration`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import chi2, norm, t

from autoscope.errors import ModelError
from autoscope.protocols import JsonValue
from autoscope.records import Calibration as Calibration
from autoscope.records import Value

Array = NDArray[np.float64]

PIT_BINS = 10
LEAST = 8
"""Forecasts below which nothing is tested."""
HALF_WIDTHS = (float(norm.ppf(0.75)), float(norm.ppf(0.95)))
"""Of central intervals of 50 % and 90 %, in standard deviations."""

# --- figures of a series ----------------------------------------------------------------------------


def z_scores(y: Array, mean: Array, std: Array) -> Array:
    """Return standardised errors, shape (n,).

    Examples
    --------
    >>> z_scores(np.array([3.0]), np.array([1.0]), np.array([2.0])).tolist()
    [1.0]
    """
    return np.asarray((y - mean) / std)


def coverage(y: Array, mean: Array, std: Array, level: float = 0.9) -> float:
    """Return the fraction of values inside central intervals of probability ``level``.

    Examples
    --------
    >>> coverage(np.array([0.0, 5.0]), np.zeros(2), np.ones(2))
    0.5
    """
    half_width = float(norm.ppf(0.5 + level / 2.0))
    return float(np.mean(np.abs(z_scores(y, mean, std)) <= half_width))


def log_densities(y: Array, mean: Array, std: Array) -> Array:
    """Return the log predictive density of each value under its Gaussian forecast, shape (n,).

    Examples
    --------
    >>> log_densities(np.array([0.0]), np.array([0.0]), np.array([1.0])).round(4).tolist()
    [-0.9189]
    """
    z = z_scores(y, mean, std)
    return np.asarray(-0.5 * z * z - np.log(std) - 0.5 * math.log(2.0 * math.pi))


def log_score(y: Array, mean: Array, std: Array) -> float:
    """Return the mean log predictive density of Gaussian forecasts (Gneiting & Raftery 2007, section 4.1)."""
    return float(np.mean(log_densities(y, mean, std)))


def crps(y: Array, mean: Array, std: Array) -> Array:
    """Return the continuous ranked probability score of each Gaussian forecast, shape (n,), in the unit of ``y``.

    Smaller is better; it degrades linearly with a blunder where the log score does so quadratically. Closed form:
    Gneiting & Raftery 2007, equation 21, with the sign reversed.

    Examples
    --------
    >>> crps(np.array([0.0]), np.array([0.0]), np.array([1.0])).round(4).tolist()
    [0.2337]
    """
    z = z_scores(y, mean, std)
    density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return np.asarray(std * (z * (2.0 * ndtr(z) - 1.0) + 2.0 * density - 1.0 / math.sqrt(math.pi)))


def pit_histogram(y: Array, mean: Array, std: Array, bins: int = PIT_BINS) -> Array:
    """Return how many probability integral transforms fall into each of ``bins`` equal bins of [0, 1], shape (bins,).

    Flat for an honest forecaster, a valley for an over-confident one, a hill for a timid one (Dawid 1984).

    Examples
    --------
    >>> pit_histogram(np.array([-9.0, 0.1, 9.0]), np.zeros(3), np.ones(3), bins=3).tolist()
    [1.0, 1.0, 1.0]
    """
    at = np.minimum((ndtr(z_scores(y, mean, std)) * bins).astype(np.int64), bins - 1)
    return np.bincount(at, minlength=bins).astype(np.float64)


def calibration(y: Array, mean: Array, std: Array) -> Calibration:
    """Return all figures at once for a non-empty series."""
    z = z_scores(y, mean, std)
    return Calibration(
        n=len(y),
        mean_z=float(np.mean(z)),
        std_z=float(np.std(z)),
        coverage_90=coverage(y, mean, std),
        sharpness=float(np.mean(std)),
        log_score=log_score(y, mean, std),
    )


# --- is it chance? ----------------------------------------------------------------------------------


class HonestyTest(Value):
    """A statistic of z-scores, and the interval in which it lies with the stated probability if they are honest."""

    name: str
    statistic: float
    low: float
    high: float

    @property
    def rejected(self) -> bool:
        """Whether chance alone is a poor explanation."""
        return not self.low <= self.statistic <= self.high


def spread_test(z: Array, level: float = 0.95) -> HonestyTest:
    """Test whether the mean square of ``z`` (n,) differs from 1: n times it follows chi-square with n degrees.

    Examples
    --------
    >>> spread_test(np.full(20, 3.0)).rejected
    True
    """
    n = len(z)
    low, high = (float(chi2.ppf(q, n)) / n for q in ((1.0 - level) / 2.0, (1.0 + level) / 2.0))
    return HonestyTest(name="spread", statistic=float(np.mean(z * z)), low=low, high=high)


def bias_test(z: Array, level: float = 0.95) -> HonestyTest:
    """Test whether the mean of ``z`` (n >= 2,) differs from 0, whatever its spread (Student's t).

    Examples
    --------
    >>> bias_test(np.array([0.9, 1.1, 1.0, 1.2])).rejected
    True
    """
    half_width = float(t.ppf((1.0 + level) / 2.0, len(z) - 1))
    error = float(np.std(z, ddof=1)) / math.sqrt(len(z))
    statistic = float(np.mean(z)) / max(error, 1e-12)
    return HonestyTest(name="bias", statistic=statistic, low=-half_width, high=half_width)


def clustering_test(z: Array, level: float = 0.95) -> HonestyTest:
    """Test whether surprises follow surprises: the lag-one autocorrelation of the size of ``z`` (n >= 3,) against 0.

    For independent values it is near normal with mean -1/n and variance 1/n (Bartlett 1946). Above the interval:
    over-confidence comes in spells, as when hyperparameters are wrong until the next refit.

    Examples
    --------
    >>> clustering_test(np.repeat([0.1, 4.0, 0.1], 20)).rejected
    True
    """
    n, size = len(z), np.abs(z) - np.mean(np.abs(z))
    correlation = float(size[1:] @ size[:-1]) / max(float(size @ size), 1e-300)
    half_width = float(norm.ppf((1.0 + level) / 2.0)) / math.sqrt(n)
    return HonestyTest(name="clustering", statistic=correlation, low=-1.0 / n - half_width, high=-1.0 / n + half_width)


def rank_correlation(a: Array, b: Array) -> float:
    """Return Spearman's rank correlation of two series (n,), each of which varies; equal values share their mean rank.

    Examples
    --------
    >>> round(rank_correlation(np.array([1.0, 2.0, 2.0, 9.0]), np.array([0.0, 3.0, 4.0, 5.0])), 4)
    0.9487
    """
    ranks = []
    for column in (a, b):
        ordered = np.sort(column)
        doubled = np.searchsorted(ordered, column, "left") + np.searchsorted(ordered, column, "right")
        ranks.append(doubled - float(len(column)))  # twice the rank, about its mean
    return float(ranks[0] @ ranks[1] / math.sqrt((ranks[0] @ ranks[0]) * (ranks[1] @ ranks[1])))


# --- tracked during a run ---------------------------------------------------------------------------


class Scorecard(Value):
    """All figures of a series of forecasts; means weigh recent ones more where the tracker forgets."""

    n: int
    mean_z: float
    std_z: float
    coverage_50: float
    coverage_90: float
    sharpness: float
    relative_sharpness: float | None
    """Sharpness over the spread of all values seen; below 1 where the model tells more than their mean does."""
    log_score: float
    crps: float
    pit: tuple[float, ...]
    """Share of forecasts in each bin of the probability integral transform."""

    def record(self, scale: float = 1.0) -> Calibration:
        """Return what is written into a decision."""
        return Calibration(
            n=self.n,
            mean_z=self.mean_z,
            std_z=self.std_z,
            coverage_90=self.coverage_90,
            sharpness=self.sharpness,
            log_score=self.log_score,
            scale=scale,
        )


class Prequential:
    """Keeps the score of predictions made before their measurements: lately, and since the beginning.

    A fold: the same forecasts told in the same order give the same figures to the bit, also across `state` and
    `restore`. The state does not grow beyond the window.

    Parameters
    ----------
    window : int
        How many of the latest forecasts `recent` looks at.
    forgetting : float
        Weight of a forecast relative to the next one within the window, in (0, 1]; 1 weighs all the same.

    Examples
    --------
    >>> track = Prequential()
    >>> track.tell(mean=1.0, std=2.0, value=3.0)
    >>> track.total().mean_z
    1.0
    """

    def __init__(self, window: int = 50, forgetting: float = 1.0) -> None:
        if window < 1 or not 0.0 < forgetting <= 1.0:
            raise ModelError("a tracker cannot look back so", value=(window, forgetting), limit="window >= 1, (0, 1]")
        self._window, self._forgetting = window, forgetting
        self._recent_: list[tuple[float, float, float]] = []
        self._n_ = 0
        self._sums_: Array = np.zeros(7 + PIT_BINS)
        self._values_ = (0.0, 0.0)

    @property
    def n(self) -> int:
        """Number of forecasts told."""
        return self._n_

    def tell(self, mean: float, std: float, value: float) -> None:
        """Take one forecast (``std`` with the noise of the measurement) and its value into account.

        Raises
        ------
        ModelError
            A number is not finite or ``std`` is not positive: no forecast that could be scored. Nothing changes.
        """
        check_forecast(mean, std, value)
        self._recent_ = [*self._recent_, (mean, std, value)][-self._window :]
        self._n_ += 1
        self._sums_ = self._sums_ + _figures(np.array([[mean, std, value]]))[0]
        centre, squares = self._values_
        moved = centre + (value - centre) / self._n_
        self._values_ = (moved, squares + (value - centre) * (value - moved))  # Welford 1962

    def z(self) -> Array:
        """Return z-scores of the window, oldest first, shape (min(n, window),)."""
        mean, std, value = self._columns()
        return z_scores(value, mean, std)

    def total(self) -> Scorecard | None:
        """Return the figures of all forecasts, or None before the first."""
        return None if self._n_ == 0 else self._scorecard(self._n_, self._sums_ / self._n_)

    def recent(self) -> Scorecard | None:
        """Return the figures of the window, or None before the first forecast."""
        if self._n_ == 0:
            return None
        weights = self._forgetting ** np.arange(len(self._recent_) - 1.0, -1.0, -1.0)
        figures = _figures(np.array(self._recent_))
        return self._scorecard(len(self._recent_), weights @ figures / weights.sum())

    def tests(self, level: float = 0.95) -> tuple[HonestyTest, ...]:
        """Return the tests of spread, bias and clustering on the window; none on fewer than 8 forecasts."""
        z = self.z()
        return () if len(z) < LEAST else (spread_test(z, level), bias_test(z, level), clustering_test(z, level))

    def informative(self, level: float = 0.95) -> bool:
        """Return whether higher forecasts were followed by higher values, beyond chance, in the window.

        Spearman's rank correlation against its normal approximation (Kendall & Gibbons 1990, section 4.10). Scale and
        spread of the forecasts play no part: what orders candidates rightly is of use however wrong it is in size.
        """
        mean, _, value = self._columns()
        if len(mean) < LEAST or np.ptp(mean) == 0.0 or np.ptp(value) == 0.0:
            return False
        return rank_correlation(mean, value) * math.sqrt(len(mean) - 1.0) > float(ndtri(level))

    def _columns(self) -> tuple[Array, Array, Array]:
        mean, std, value = np.array(self._recent_, dtype=np.float64).reshape(-1, 3).T
        return mean, std, value

    def _scorecard(self, n: int, figures: Array) -> Scorecard:
        mean_z, square_z, in_50, in_90, sharpness, log_density, ranked, *pit = figures.tolist()
        spread = math.sqrt(self._values_[1] / self._n_)
        return Scorecard(
            n=n,
            mean_z=mean_z,
            std_z=math.sqrt(max(square_z - mean_z**2, 0.0)),
            coverage_50=in_50,
            coverage_90=in_90,
            sharpness=sharpness,
            relative_sharpness=sharpness / spread if spread > 0.0 else None,
            log_score=log_density,
            crps=ranked,
            pit=tuple(pit),
        )

    def state(self) -> dict[str, JsonValue]:
        """Return everything as JSON data."""
        return {
            "recent": [list(row) for row in self._recent_],
            "n": self._n_,
            "sums": self._sums_.tolist(),
            "values": list(self._values_),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self._recent_ = [(float(mean), float(std), float(value)) for mean, std, value in state["recent"]]
        self._n_ = int(state["n"])
        self._sums_ = np.array(state["sums"], dtype=np.float64)
        self._values_ = (float(state["values"][0]), float(state["values"][1]))


def _figures(rows: Array) -> Array:
    """Return what is averaged of forecasts (n, 3): z, z squared, in 50 %, in 90 %, std, log density, CRPS, PIT bins."""
    mean, std, value = rows.T
    z = z_scores(value, mean, std)
    inside = [np.abs(z) <= half_width for half_width in HALF_WIDTHS]
    plain = [z, z * z, *inside, std, log_densities(value, mean, std), crps(value, mean, std)]
    bins = np.minimum((ndtr(z) * PIT_BINS).astype(np.int64), PIT_BINS - 1)
    return np.column_stack([*plain, np.eye(PIT_BINS)[bins]])


def check_forecast(mean: float, std: float, value: float) -> None:
    """Raise ModelError unless all are finite and ``std`` is positive."""
    if not (math.isfinite(mean) and math.isfinite(value) and math.isfinite(std) and std > 0.0):
        raise ModelError("this is no forecast that could be scored", value=(mean, std, value), limit="finite, std > 0")
