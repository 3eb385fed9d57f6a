"""Whether policies can be told apart: paired by seed, bootstrap intervals, rank tests with corrected p-values.

All policies of a comparison share their seeds, and with them specimen, noise and initial places, so differences are
taken seed by seed. Tests are two-sided Wilcoxon signed-rank tests (Wilcoxon 1945; zeros by Pratt 1959); many at once
are corrected by Holm's step-down method (Holm 1979), which holds the chance of any false claim below ``alpha``
whatever the dependence among the tests.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from autoscope.errors import DataError

Array = NDArray[np.float64]
Statistic = Callable[..., Array]

ALPHA = 0.05
RESAMPLES = 2000
MOST_EXACT = 50
"""Pairs up to which the null distribution is exact; beyond, the normal approximation."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval, from ``n`` seeds."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Comparison:
    """Policy ``a`` against policy ``b`` over the seeds both have.

    Attributes
    ----------
    difference : Interval
        Of the mean of a - b.
    p : float
        Of the signed-rank test; 1 where it cannot be done.
    p_holm : float
        Corrected for all comparisons made together.
    distinguishable : bool
        Whether the corrected p-value is below the alpha it was judged at.
    tested : bool
        Whether it was tested at all: with so few seeds no difference, however large, could have been told.
    """

    a: str
    b: str
    difference: Interval
    p: float
    p_holm: float
    distinguishable: bool
    tested: bool = True


def mean_interval(values: Sequence[float] | Array, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Return the mean with its bootstrap interval; of fewer than two values, or equal ones, that value.

    Raises
    ------
    DataError
        There is no value, or one is not finite.
    """
    known = np.asarray(values, dtype=np.float64)
    if known.size == 0 or not np.isfinite(known).all():
        raise DataError("a mean needs finite values", value=f"{known.size} values")
    low, high = _bootstrap((known,), np.mean, confidence, seed)
    return Interval(float(known.mean()), low, high, known.size)


def paired_difference(
    a: Mapping[int, float], b: Mapping[int, float], confidence: float = 0.95, seed: int = 0
) -> Interval | None:
    """Return the mean of a - b over the seeds both have, with its paired bootstrap interval; None without any.

    Notes
    -----
    BCa interval (Efron, J. Am. Stat. Assoc. 82, 171 (1987)) of `scipy.stats.bootstrap`, both policies resampled by
    the same seeds; the percentile interval where the acceleration is not defined.
    """
    shared = sorted(a.keys() & b.keys())
    if not shared:
        return None
    pair = tuple(np.array([side[s] for s in shared]) for side in (a, b))
    low, high = _bootstrap(pair, _mean_difference, confidence, seed)
    return Interval(float(np.mean(pair[0] - pair[1])), low, high, len(shared))


def _mean_difference(a: Array, b: Array, axis: int = -1) -> Array:
    return np.asarray(np.mean(a, axis=axis) - np.mean(b, axis=axis))


def _bootstrap(samples: tuple[Array, ...], statistic: Statistic, confidence: float, seed: int) -> tuple[float, float]:
    value = float(statistic(*samples))
    differing = samples[0] if len(samples) == 1 else samples[0] - samples[1]
    if differing.size < 2 or np.ptp(differing) <= 1e-12 * (np.abs(differing).max() or 1.0):
        return value, value
    for method in ("BCa", "percentile"):
        with np.errstate(all="ignore"):
            found = stats.bootstrap(
                samples,
                statistic,
                paired=len(samples) > 1,
                n_resamples=RESAMPLES,
                confidence_level=confidence,
                method=method,
                rng=np.random.default_rng(seed),
            ).confidence_interval
        if math.isfinite(found.low) and math.isfinite(found.high):
            return float(found.low), float(found.high)
    return value, value


def signed_rank_p(a: Array, b: Array) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test on pairs (n,); 1 where all pairs are equal.

    Infinite values rank as such: two of the same sign are equal, an infinite one is beyond every finite one.
    """
    with np.errstate(invalid="ignore"):
        gaps = np.where(a == b, 0.0, a - b)
    finite = np.abs(gaps[np.isfinite(gaps)])
    beyond = 2.0 * (finite.max(initial=0.0) + 1.0)  # all infinite gaps tie above the largest finite one
    gaps = np.where(np.isinf(gaps), np.sign(gaps) * beyond, gaps)
    if gaps.size == 0 or not gaps.any():
        return 1.0
    tied = not gaps.all() or np.unique(np.abs(gaps)).size < gaps.size
    if gaps.size > MOST_EXACT:
        return float(stats.wilcoxon(gaps, zero_method="pratt", method="asymptotic").pvalue)
    return _tied_signed_rank_p(gaps) if tied else float(stats.wilcoxon(gaps, method="exact").pvalue)


def _tied_signed_rank_p(gaps: Array) -> float:
    """Return the exact p-value where values tie or are zero, for which scipy would try all signs one by one.

    The null distribution of the rank sum is built up rank by rank (shift algorithm; Streitberg & Röhmel, Statistical
    Software Newsletter 12, 10 (1986)); ranks are doubled, so that averaged ones are whole.
    """
    ranks = np.rint(2 * stats.rankdata(np.abs(gaps))).astype(np.int64)
    known, signs = ranks[gaps != 0], np.sign(gaps[gaps != 0])
    chances = np.zeros(int(known.sum()) + 1)
    chances[0] = 1.0
    for each in known:
        chances[each:] = 0.5 * (chances[each:] + chances[:-each])
        chances[:each] *= 0.5
    observed = int(known[signs > 0].sum())
    return min(2.0 * min(float(chances[: observed + 1].sum()), float(chances[observed:].sum())), 1.0)


def holm(p: Sequence[float] | Array) -> Array:
    """Return p-values corrected for being looked at together (m,), by Holm's step-down method.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    given = np.asarray(p, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    stepped = np.maximum.accumulate(given[order] * np.arange(given.size, 0, -1))
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def compare(
    scores: Mapping[str, Mapping[int, float]],
    *,
    ranked: Mapping[str, Mapping[int, float]] | None = None,
    alpha: float = ALPHA,
    seed: int = 0,
) -> list[Comparison]:
    """Return every pair of policies compared over their shared seeds, p-values corrected together.

    A pair that shares too few seeds to be told apart, however large the difference, is not tested and makes the
    correction of the others no harsher.

    Parameters
    ----------
    scores : mapping of policy to values by seed
        Finite: their differences are averaged.
    ranked : mapping, optional
        Values for the rank tests where they differ from ``scores``: with infinity for a level never reached.
    alpha : float
        Chance of any false claim.
    seed : int
        Of the resampling.
    """
    pairs = list(itertools.combinations(scores, 2))
    tested = scores if ranked is None else ranked
    p = np.array([_pair_p(tested[a], tested[b]) for a, b in pairs])
    enough = can_be_told_apart([len(tested[a].keys() & tested[b].keys()) for a, b in pairs], alpha)
    together = np.ones(len(pairs))
    together[enough] = holm(p[enough])
    found = []
    for (a, b), raw, corrected, done in zip(pairs, p.tolist(), together.tolist(), enough.tolist(), strict=True):
        gap = paired_difference(scores[a], scores[b], seed=seed)
        gap = gap or Interval(math.nan, math.nan, math.nan, 0)
        found.append(Comparison(a, b, gap, raw, corrected, corrected < alpha, done))
    return found


def can_be_told_apart(seeds: Sequence[int], alpha: float = ALPHA) -> NDArray[np.bool_]:
    """Return which pairs, by the seeds they share, could be told apart by Holm's method if all seeds agreed.

    The smallest two-sided p of n seeds is 2**(1 - n).

    Examples
    --------
    >>> can_be_told_apart([20, 20, 3]).tolist(), can_be_told_apart([6] * 10).tolist() == [False] * 10
    ([True, True, False], True)
    """
    smallest = 2.0 ** (1.0 - np.asarray(seeds, dtype=np.float64))
    kept = np.ones(len(seeds), dtype=np.bool_)
    while (kept & (smallest * max(kept.sum(), 1) >= alpha)).any():
        kept &= smallest < np.partition(smallest[kept], -1)[-1] if kept.sum() > 1 else smallest < alpha
    return kept


def _pair_p(a: Mapping[int, float], b: Mapping[int, float]) -> float:
    shared = sorted(a.keys() & b.keys())
    return signed_rank_p(np.array([a[s] for s in shared]), np.array([b[s] for s in shared]))
