"""How long to look, chosen together with where: noise foreseen before a look, and the worth of a look per cost.

Rates, not counts: a counted target grows with the dose of its look, so looks of different dose are compared as
values per useful electron. All functions take arrays over places (m,) and exposures (k,), or both (m, k).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls
from scipy.special import ndtr

from autoscope.errors import ModelError
from autoscope.exposure import electrons

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Per = Literal["electron", "second", "both"]

TIE = 1e-9
"""Relative difference below which two worths per cost count as equal; the cheaper look then wins."""


@dataclass(frozen=True)
class Exposure:
    """How one look is taken: dwell time in all, beam current, by how much out of focus, and over how many pixels.

    Attributes
    ----------
    binning : int
        Side, in pixels, of the square that is scanned and summed; 1 parks the probe.
    """

    dwell_s: float
    current_a: float
    defocus_m: float = 0.0
    binning: int = 1

    @property
    def dose_e(self) -> float:
        """Electrons of the look."""
        return electrons(self.current_a, self.dwell_s)


def ladder(
    dwells_s: Sequence[float],
    currents_a: Sequence[float],
    defoci_m: Sequence[float] = (0.0,),
    binnings: Sequence[int] = (1,),
) -> tuple[Exposure, ...]:
    """Return every dwell, current, defocus and binning, fewest electrons first, then nearest to focus and smallest.

    Examples
    --------
    >>> [e.dwell_s for e in ladder([0.1, 0.01], [1e-10])]
    [0.01, 0.1]
    """
    ways = (Exposure(*way) for way in itertools.product(dwells_s, currents_a, defoci_m, binnings))
    return tuple(sorted(set(ways), key=lambda e: (e.dose_e, e.dwell_s, abs(e.defocus_m), e.defocus_m, e.binning)))


@dataclass(frozen=True)
class CountingNoise:
    """Variance of a rate after N electrons: ``floor + (background + per_event * max(rate, 0)) / N``.

    Attributes
    ----------
    background : float
        What is counted whatever the rate: background under a peak, dark counts. Unit: rate squared.
    per_event : float
        1 for a rate of counted events, the gain of a camera otherwise. Unit: rate.
    floor : float
        What no dose removes. Unit: rate squared.
    """

    background: float
    per_event: float
    floor: float = 0.0

    def variance(self, rate: ArrayLike, dose_e: ArrayLike) -> Array:
        """Return the variance of a rate measured with so many electrons; the arguments broadcast.

        Examples
        --------
        >>> CountingNoise(0.0, 1.0).variance([0.0, 0.02], 100.0).tolist()
        [0.0, 0.0002]
        """
        expected = self.background + self.per_event * np.maximum(np.asarray(rate, dtype=np.float64), 0.0)
        return np.asarray(self.floor + expected / np.asarray(dose_e, dtype=np.float64))

    @classmethod
    def fit(cls, rate: Array, std: Array, dose_e: Array) -> CountingNoise:
        """Return the noise that explains the stated uncertainties of looks, arrays (n,).

        Non-negative least squares (Lawson & Hanson 1974, ch. 23) of the relative error of the variance, each look
        weighted with its electrons: a short look holds few events, and its stated uncertainty says as little.

        Raises
        ------
        ModelError
            No look has an uncertainty and electrons above zero.

        Examples
        --------
        >>> rate, dose = np.array([0.0, 0.1, 0.4]), np.array([10.0, 100.0, 1000.0])
        >>> noise = CountingNoise.fit(rate, np.sqrt((0.02 + rate) / dose), dose)
        >>> round(noise.background, 6), round(noise.per_event, 6)
        (0.02, 1.0)
        """
        usable = (std > 0.0) & (dose_e > 0.0) & np.isfinite(std)
        if not usable.any():
            raise ModelError(
                "the noise cannot be learnt: no look states its uncertainty",
                value=len(std),
                remedy="Use a scalarizer that gives a standard deviation",
            )
        rate, std, dose_e = np.maximum(rate[usable], 0.0), std[usable], dose_e[usable]
        columns = np.stack([1.0 / dose_e, rate / dose_e, np.ones(len(rate))], axis=1) / std[:, None] ** 2
        weight = np.sqrt(dose_e / dose_e.max())
        scale = np.maximum(np.abs(columns).max(axis=0), 1e-300)  # electrons and rates differ by many decades
        found, _ = nnls(weight[:, None] * columns / scale, weight)
        background, per_event, floor = (float(v) for v in found / scale)
        return cls(background, per_event, floor)


def useful_electrons(
    dose_e: ArrayLike, before_e_per_m2: ArrayLike, area_m2: ArrayLike, critical_e_per_m2: float
) -> Array:
    """Return the electrons of a look that still meet an intact specimen.

    ``N exp(-(D + N / 2A) / Dc)``: first-order damage (Egerton, Li & Malac, Micron 35, 399 (2004)) at the middle of
    the look, for ``D`` received before on the area ``A``. An infinite critical fluence ``Dc`` means no damage.

    Examples
    --------
    >>> round(float(useful_electrons(100.0, 0.0, 1.0, 50.0 / math.log(2.0))), 6)
    50.0
    """
    dose, before = np.asarray(dose_e, dtype=np.float64), np.asarray(before_e_per_m2, dtype=np.float64)
    return np.asarray(dose * np.exp(-(before + 0.5 * dose / np.asarray(area_m2)) / critical_e_per_m2))


def within_bound(dose_e: ArrayLike, before_e_per_m2: ArrayLike, area_m2: ArrayLike, bound_e_per_m2: float) -> Mask:
    """Return which looks leave their place at or below the largest fluence it may receive.

    Examples
    --------
    >>> within_bound([1.0, 2.0], [[0.0], [8.5]], 1.0, 10.0).tolist()
    [[True, True], [True, False]]
    """
    total = np.asarray(before_e_per_m2, dtype=np.float64) + np.asarray(dose_e, dtype=np.float64) / np.asarray(area_m2)
    return np.asarray(total <= bound_e_per_m2)


def variance_reduction(squared_covariance: Array, std: Array, noise_variance: Array) -> Array:
    """Return by how much a look lowers the variance elsewhere: ``c^2 / (s^2 + v)``.

    Parameters
    ----------
    squared_covariance : array
        Squared posterior covariance of the place looked at with what matters, (averaged over that) (m, 1).
    std : array
        Of the place looked at, (m, 1).
    noise_variance : array
        Of the look, (m, k).

    Averaged over a field this is Cohn's criterion (Cohn, Ghahramani & Jordan, JAIR 4, 129 (1996)).
    """
    total = std**2 + noise_variance
    return np.asarray(np.where(total > 0.0, squared_covariance / np.where(total > 0.0, total, 1.0), 0.0))


def knowledge_gradient(mean: Array, std: Array, noise_variance: Array) -> Array:
    """Return by how much a look is expected to raise the best mean, (m, k), for means and stds (m,).

    Frazier, Powell & Dayanik, SIAM J. Control Optim. 47, 2410 (2008), eq. 4.9, for places thought independent:
    ``t f(-|mean - best other| / t)`` with ``t = s^2 / sqrt(s^2 + v)`` and ``f(z) = phi(z) + z Phi(z)``. Divided by the
    cost of the look and maximised over its length it is their KG(*) (Frazier & Powell, Decision Analysis 7, 378
    (2010)): a look too short to change any mind is worth little, however cheap.
    """
    variance = np.square(std)[:, None]
    total = variance + noise_variance
    change = np.sqrt(np.where(total > 0.0, variance**2 / np.where(total > 0.0, total, 1.0), 0.0))
    gap = np.abs(mean - best_other(mean))[:, None]
    z = -gap / np.where(change > 0.0, change, 1.0)
    gain = change * (np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi) + z * ndtr(z))
    return np.asarray(np.where(change > 0.0, np.maximum(gain, 0.0), 0.0))


def best_other(mean: Array) -> Array:
    """Return for each place the highest mean among all others, (m,); its own where it is alone.

    Examples
    --------
    >>> best_other(np.array([1.0, 3.0, 2.0])).tolist()
    [3.0, 2.0, 3.0]
    """
    if len(mean) < 2:
        return mean.copy()
    order = np.argsort(mean, kind="stable")
    others = np.full(len(mean), mean[order[-1]])
    others[order[-1]] = mean[order[-2]]
    return others


@dataclass(frozen=True)
class Price:
    """What a look costs: electrons, seconds, or electrons with every second counted as so many of them."""

    per: Per = "electron"
    second_worth_e: float = 0.0

    def of(self, dose_e: Array, time_s: Array) -> Array:
        """Return the cost of looks of that dose and duration, overheads included.

        Examples
        --------
        >>> Price("both", 10.0).of(np.array([5.0]), np.array([2.0])).tolist()
        [25.0]
        """
        match self.per:
            case "electron":
                return dose_e
            case "second":
                return time_s
            case "both":
                return dose_e + self.second_worth_e * time_s


def best_look(
    worth: Array, cost: Array, allowed: Mask, rng: np.random.Generator, patience: float = 0.0
) -> tuple[int, int]:
    """Return (place, exposure): the place of the highest worth per cost, and how long to look there.

    Parameters
    ----------
    worth : array
        (m, k), not negative.
    cost : array
        (k,).
    allowed : array of bool
        (m, k).
    rng : numpy.random.Generator
        Breaks ties between places.
    patience : float
        In [0, 1): at the chosen place the dearest exposure that gives up at most this share of the worth per cost is
        taken. Worth grows ever more slowly with dose, so that many short looks always cost a little less than a long
        one; a little patience saves most of the acts. At 0 the best is taken, the cheaper of equals.

    Raises
    ------
    ModelError
        Nothing is allowed.

    Examples
    --------
    >>> everything = np.full((1, 2), True)
    >>> best_look(np.array([[1.0, 1.8]]), np.array([1.0, 2.0]), everything, np.random.default_rng(0))
    (0, 0)
    >>> best_look(np.array([[1.0, 1.8]]), np.array([1.0, 2.0]), everything, np.random.default_rng(0), patience=0.2)
    (0, 1)
    """
    if not allowed.any():
        raise ModelError("no look is allowed: every place has received all it may", value=len(worth))
    rate = np.where(allowed, worth / cost, -np.inf)
    top = rate.max(axis=1)
    place = int(rng.choice(np.flatnonzero(top >= top.max() - TIE * abs(top.max()))))
    good = np.flatnonzero(allowed[place] & (rate[place] >= (1.0 - max(patience, TIE)) * top[place]))
    by_cost = good[np.argsort(cost[good], kind="stable")]
    return place, int(by_cost[-1] if patience > 0.0 else by_cost[0])


def other_looks(
    worth: Array, cost: Array, allowed: Mask, chosen: tuple[int, int], same: int, elsewhere: int
) -> list[tuple[int, int]]:
    """Return the next best exposures of the chosen place, then the best exposure of each of the next best places."""
    rate = np.where(allowed, worth / cost, -np.inf)
    place, rung = chosen
    here = [(place, int(q)) for q in np.argsort(-rate[place], kind="stable") if q != rung and allowed[place, q]]
    top = rate.max(axis=1)
    top[place] = -np.inf
    there = [(int(i), int(np.argmax(rate[i]))) for i in np.argsort(-top, kind="stable")[:elsewhere] if top[i] > -np.inf]
    return here[:same] + there
