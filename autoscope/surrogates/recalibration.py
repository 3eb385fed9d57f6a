"""By which factor predicted standard deviations must be multiplied to be honest, learnt during the run.

Points chosen by an acquisition are no random sample. As long as model and prior are right this does not matter: the
choice depends on the past alone, so each z is still standard normal given the past. A wrong model, however, is asked
just where it errs on the hopeful side (the optimiser's curse, Smith & Winkler 2006), and prequential z then show a
bias and a spread that the rest of the field does not have. Hence the second source: leave-one-out z of the present
fit, less biased by selection but made with hyperparameters that saw the value. `honest_scale` uses both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtr
from scipy.stats import norm

from autoscope.errors import ModelError
from autoscope.protocols import JsonValue
from autoscope.surrogates.calibration import check_forecast

Array = NDArray[np.float64]
Size = tuple[int, float]

SCALE_BOUNDS = (0.25, 4.0)
"""No recalibration beyond these factors: what needs more is a wrong model, not a wrong scale."""
WINSOR = 2.5
"""Errors larger than so many robust standard deviations count as if they were just that large."""
WINSORISED_NORMAL = float(2.0 * ndtr(WINSOR) - 1.0 - 2.0 * WINSOR * norm.pdf(WINSOR) + 2.0 * WINSOR**2 * ndtr(-WINSOR))
"""Mean square of a standard normal variable clipped at `WINSOR`."""
MEDIAN_OF_ABSOLUTE_NORMAL = float(norm.ppf(0.75))
SHARE = 0.5
"""What a leave-one-out error counts of a prequential one: it was made from the same measurements."""
PSEUDO_MEDIANS = 4
"""Imagined honest errors that steady the median of very few."""


def robust_mean_square(z: Array, pseudo: int = 0) -> float:
    """Return a mean square of ``z`` (n,) about zero that one blunder cannot move far.

    Each size counts at most `WINSOR` times the spread that the median size suggests, and the mean is divided by what
    that leaves of a normal variable, so that honest z give 1. ``pseudo`` imagined honest errors steady the median.
    Without them the result is homogeneous of degree two; it never falls when some z grows in size.

    Examples
    --------
    >>> z = norm.ppf((np.arange(200) + 0.5) / 200)
    >>> round(robust_mean_square(z), 2), round(robust_mean_square(np.append(z, 1e6)), 2)
    (1.0, 1.03)
    """
    if len(z) == 0:
        return 1.0
    size = np.abs(z)
    median = _median(np.concatenate([size, np.full(pseudo, MEDIAN_OF_ABSOLUTE_NORMAL)]))
    clipped = np.minimum(size, WINSOR * median / MEDIAN_OF_ABSOLUTE_NORMAL)
    return float(np.mean(clipped**2)) / WINSORISED_NORMAL


def _median(values: Array) -> float:
    """Return the median: numpy's own takes longer to look for axes and NaN than to find it."""
    half, odd = divmod(len(values), 2)
    ordered = np.partition(values, half if odd else (half - 1, half))
    return float(ordered[half]) if odd else float(ordered[half - 1] + ordered[half]) / 2.0


def posterior_scale(count: float, sum_of_squares: float, doubt: float = 0.5, prior_count: float = 1.0) -> float:
    """Return the factor that makes predicted standard deviations honest, in `SCALE_BOUNDS`; closed form.

    Two explanations of ``count`` z-scores with that ``sum_of_squares``: the forecasts are honest (factor 1), or, with
    prior probability ``doubt``, the squared factor is unknown with the conjugate prior inverse-gamma(c/2, c/2), c =
    ``prior_count`` (Gelman et al. 2013, section 2.6). The squared factor returned is the mean of 1 and of
    ``(c + sum) / (c + count)`` under the posterior probabilities of the two (Bayes factor in closed form). So chance
    fluctuations of honest forecasts hardly move it, and gross over-confidence is corrected after a few. It increases
    with ``sum_of_squares``, because the Bayes factor is least where that equals ``count``.

    Examples
    --------
    >>> posterior_scale(20.0, 20.0), round(posterior_scale(20.0, 180.0), 2)
    (1.0, 2.94)
    """
    shape, a, b = 0.5 * prior_count, 0.5 * (prior_count + count), 0.5 * (prior_count + sum_of_squares)
    log_bayes = shape * math.log(shape) - float(gammaln(shape)) + float(gammaln(a)) - a * math.log(b)
    log_odds = log_bayes + 0.5 * sum_of_squares + math.log(doubt / (1.0 - doubt))
    wrong = 1.0 / (1.0 + math.exp(-min(max(log_odds, -500.0), 500.0)))
    squared = 1.0 + wrong * (b / a - 1.0)
    return min(max(math.sqrt(squared), SCALE_BOUNDS[0]), SCALE_BOUNDS[1])


def honest_scale(z: Array, leave_one_out: Array | None = None, share: float = SHARE, doubt: float = 0.5) -> float:
    """Return the factor by which predicted standard deviations should be multiplied, in [1/4, 4].

    Parameters
    ----------
    z : array
        Prequential z-scores of the model's own predictions, shape (n,).
    leave_one_out : array, optional
        Those of the present fit, shape (k,). They were made from the same measurements, so each counts ``share`` of a
        prequential one; together they count at most as much as the prequential ones, once there are ten of these.
    share : float
        See above.
    doubt : float
        Prior probability that the model needs correction; see `posterior_scale`.

    Examples
    --------
    >>> honest_scale(np.empty(0))
    1.0
    """
    return _pooled_scale(_size(z), _size(leave_one_out), share, doubt)


def _size(z: Array | None) -> Size:
    """Return how many there are, and their robust mean square."""
    return (0, 1.0) if z is None else (len(z), robust_mean_square(z, PSEUDO_MEDIANS))


def _pooled_scale(own: Size, others: Size, share: float, doubt: float) -> float:
    """Return the factor from number and mean square of prequential and of leave-one-out z-scores."""
    count, squares = float(own[0]), own[0] * own[1]
    if others[0]:
        worth = min(share * others[0], max(count, 10.0))
        count, squares = count + worth, squares + worth * others[1]
    return posterior_scale(count, squares, doubt)


class Recalibrator:
    """Learns by which factor predicted standard deviations must be multiplied to be honest.

    Told the model's own forecasts, never those already multiplied: else it would chase its own tail. A fold, like
    `Prequential`.

    Parameters
    ----------
    window : int
        How many of the latest forecasts count.
    doubt : float
        Prior probability that the model needs correction, in (0, 1).

    Examples
    --------
    >>> learner = Recalibrator()
    >>> for value in (3.0, -3.0, 2.0, -4.0, 3.5, -2.5):
    ...     learner.tell(mean=0.0, std=1.0, value=value)
    >>> 2.0 < learner.scale() < 4.0
    True
    """

    def __init__(self, window: int = 100, doubt: float = 0.5) -> None:
        if window < 1 or not 0.0 < doubt < 1.0:
            raise ModelError("a recalibrator cannot learn so", value=(window, doubt), limit="window >= 1, (0, 1)")
        self._window, self._doubt = window, doubt
        self._z_: list[float] = []
        self._own_: Size | None = None
        self._others_: tuple[Array | None, Size] = (None, _size(None))

    def tell(self, mean: float, std: float, value: float) -> None:
        """Take one forecast of the model (``std`` with the noise of the measurement) and its value into account.

        Raises
        ------
        ModelError
            See `Prequential.tell`.
        """
        check_forecast(mean, std, value)
        self._z_ = [*self._z_, (value - mean) / std][-self._window :]
        self._own_ = None

    def scale(self, leave_one_out: Sequence[float] | Array | None = None) -> float:
        """Return the factor; ``leave_one_out`` are z-scores of the present fit. See `honest_scale`.

        Asked several times a decision, so sizes are kept: of an array given, for as long as it is the same object.
        """
        others = None if leave_one_out is None else np.asarray(leave_one_out, dtype=np.float64)
        if others is not self._others_[0]:
            self._others_ = others, _size(others)
        if self._own_ is None:
            self._own_ = _size(np.array(self._z_, dtype=np.float64))
        return _pooled_scale(self._own_, self._others_[1], SHARE, self._doubt)

    def state(self) -> dict[str, JsonValue]:
        """Return everything as JSON data."""
        return {"z": list(self._z_)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self._z_ = [float(z) for z in state["z"]]
        self._own_ = None
