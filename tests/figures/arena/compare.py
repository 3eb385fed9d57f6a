"""Whether two methods can be told apart: bootstrap over seeds, paired where the seeds are shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

RESAMPLES = 4000
FEWEST = 5
"""Below so many shared seeds, seeds are not paired: what each method has is resampled on its own."""


@dataclass(frozen=True)
class Difference:
    """Ours minus theirs with its 95 % interval, from ``n`` seeds of theirs."""

    value: float
    low: float
    high: float
    n: int
    paired: bool

    def worse(self, *, lower_is_better: bool) -> bool:
        """Return whether ours is distinguishably worse: the whole interval lies on the wrong side of zero."""
        return self.low > 0 if lower_is_better else self.high < 0


def difference(
    ours: Mapping[int, float],
    theirs: Mapping[int, float],
    statistic: Callable[..., Array] = np.mean,
    seed: int = 0,
) -> Difference | None:
    """Return the difference of a statistic over seeds; None where either has none.

    Parameters
    ----------
    ours, theirs : mapping from seed to value
    statistic : callable
        ``numpy.mean`` or ``numpy.median``, with an ``axis``.
    seed : int
        Of the resampling.

    Notes
    -----
    Percentile bootstrap (Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13). With few seeds of
    one side, its own spread is hardly known: deviations from the centre are then drawn from both sides together.
    """
    if not ours or not theirs:
        return None
    shared = sorted(ours.keys() & theirs.keys())
    if len(shared) >= FEWEST:
        gaps = np.array([ours[s] - theirs[s] for s in shared])
        low, high = _interval((gaps,), lambda x, axis: statistic(x, axis=axis), seed)
        return Difference(float(statistic(gaps)), low, high, len(shared), True)
    return _unpaired(np.array(list(ours.values())), np.array(list(theirs.values())), statistic, seed)


def _unpaired(a: Array, b: Array, statistic: Callable[..., Array], seed: int) -> Difference:
    centres = float(statistic(a)), float(statistic(b))
    pooled = np.concatenate([a - centres[0], b - centres[1]])
    rng = np.random.default_rng(seed)
    drawn = (statistic(rng.choice(pooled, (RESAMPLES, s.size)), axis=1) for s in (a, b))
    gap = centres[0] - centres[1]
    low, high = np.quantile(gap + next(drawn) - next(drawn), (0.025, 0.975))
    return Difference(gap, float(low), float(high), len(b), False)


def _interval(samples: tuple[Array, ...], statistic: Callable[..., Array], seed: int) -> tuple[float, float]:
    """Return the 95 % interval; of values that are all the same, that value."""
    if all(np.ptp(s) == 0 for s in samples):
        value = float(statistic(*samples, axis=-1))
        return value, value
    found = stats.bootstrap(
        samples, statistic, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return float(found.low), float(found.high)
