"""What is believed of the target at every place, from looks of any dose: rates with the noise of their electrons."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from autoscope.acquisition.exposure_choice import CountingNoise
from autoscope.errors import FitFailed
from autoscope.records import FitSummary
from autoscope.surrogates.prior import Prior, default_prior
from autoscope.surrogates.surrogate import Scaling

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Groups = tuple[tuple[int, ...], ...]
Target = Literal["counts", "intensive"]


@dataclass(frozen=True)
class Looks:
    """Looks in their order, as comparable rates.

    Attributes
    ----------
    pixels : array of int64
        (n,); a pixel may be there many times.
    rates, stds : array
        (n,): value and its stated uncertainty, per useful electron for a counted target, as they are otherwise.
    doses_e : array
        Useful electrons of each look, (n,).
    """

    pixels: Indices
    rates: Array
    stds: Array
    doses_e: Array

    @classmethod
    def of(cls, pixels: list[int], values: list[float], stds: list[float], doses_e: list[float], kind: Target) -> Looks:
        """Return looks from values as they were scalarized."""
        doses = np.asarray(doses_e, dtype=np.float64)
        unit = doses if kind == "counts" else np.ones(len(doses))
        return cls(np.asarray(pixels, dtype=np.int64), np.asarray(values) / unit, np.asarray(stds) / unit, doses)

    def first(self, n: int) -> Looks:
        """Return the first ``n`` looks."""
        return Looks(self.pixels[:n], self.rates[:n], self.stds[:n], self.doses_e[:n])

    @property
    def mean_rate(self) -> float:
        """The rate of all looks together."""
        return float(self.rates @ self.doses_e / self.doses_e.sum())

    def noise(self) -> CountingNoise:
        """Return the noise learnt from what the looks state of themselves."""
        return CountingNoise.fit(self.rates, self.stds, self.doses_e)

    def pooled(self, noise: CountingNoise) -> Pooled:
        """Return one rate per pixel: looks there weighted by their electrons, which is by inverse variance.

        The stated uncertainty of few counts follows their luck, and weighting by it would draw rates down; the noise
        model at the rate, with one event of the mean rate added to it, does not.
        """
        pixels, place = np.unique(self.pixels, return_inverse=True)
        doses: Array = np.bincount(place, self.doses_e).astype(np.float64)
        rates = np.bincount(place, self.rates * self.doses_e) / doses
        mean = max(self.mean_rate, 0.0)
        one_event_e = noise.per_event / mean if mean > 0.0 else 0.0
        steady = (np.maximum(rates, 0.0) * doses + mean * one_event_e) / (doses + one_event_e)
        return Pooled(pixels.astype(np.int64), rates, noise.variance(steady, doses), doses)


@dataclass(frozen=True)
class Pooled:
    """One rate per measured pixel (p,), with its variance and its electrons."""

    pixels: Indices
    rates: Array
    variances: Array
    doses_e: Array


@dataclass(frozen=True)
class Estimate:
    """What is believed of the field: offsets (m, 2), mean and std of the rate (m,)."""

    positions_m: Array
    mean: Array
    std: Array


@dataclass(frozen=True)
class Learnt:
    """Hyperparameters, and the scaling and noise they belong to."""

    prior: Prior
    scaling: Scaling
    noise: CountingNoise
    iterations: int

    def summary(self, n: int) -> FitSummary:
        """Return how the model was fitted, to ``n`` looks, for a decision."""
        named = {f"noise_{name}": value for name, value in asdict(self.noise).items()}
        return FitSummary(model="imaging", n=n, iterations=self.iterations, hyperparameters=self.prior.flat() | named)


def learn(features: Array, looks: Looks, groups: Groups) -> Learnt:
    """Return hyperparameters fitted to looks (features of all pixels, row by row), always from the same start.

    Where they cannot be fitted, those of the start: the belief then knows only that near is like near.
    """
    from autoscope.surrogates.evidence import maximise  # torch: only when something is really fitted

    noise = looks.noise()
    seen = looks.pooled(noise)
    scaling = Scaling.of(seen.rates)
    start = default_prior("matern52", groups)
    variances = seen.variances / scaling.factor**2
    try:
        prior, used = maximise(start, features[seen.pixels], scaling.standard(seen.rates), variances, 40)
    except FitFailed:
        return Learnt(start, scaling, noise, 0)
    return Learnt(prior, scaling, noise, used)


class Belief:
    """Mean and std of the true rate of each candidate, what no other place can tell about it included.

    The rate at a place is ``g = f + e``: ``f`` a Gaussian process on the features, ``e`` independent of place to place,
    with the fitted jitter ``J`` as variance. Given ``f``, a look of variance ``v`` and rate ``y`` tells of ``e``:
    mean ``w (y - f)`` and variance ``w v`` with ``w = J / (J + v)`` (0 and ``J`` where nothing was measured).

    Parameters
    ----------
    features : array
        Of all pixels, (pixels, d).
    candidates : array of int64
        Pixels that matter, (m,).
    seen : Pooled
        All that was measured.
    learnt : Learnt
        Hyperparameters.

    Raises
    ------
    FitFailed
        The covariance of the looks cannot be factorised.
    """

    def __init__(self, features: Array, candidates: Indices, seen: Pooled, learnt: Learnt) -> None:
        prior, scaling = learnt.prior, learnt.scaling
        self._prior, self._points, self._factor = prior, features[candidates], scaling.factor
        rates, variances = scaling.standard(seen.rates), seen.variances / scaling.factor**2
        mean, variance, self._rows = _over(prior, features[seen.pixels], rates, variances, self._points)
        at = np.searchsorted(seen.pixels, candidates)
        at = np.minimum(at, len(seen.pixels) - 1)
        measured = seen.pixels[at] == candidates
        self._own = np.where(measured, prior.jitter / (prior.jitter + variances[at]), 0.0)
        self._apart = np.where(measured, self._own * variances[at], prior.jitter)
        mean = (1.0 - self._own) * mean + self._own * np.where(measured, rates[at], 0.0)
        self.mean: Array = scaling.shift + scaling.factor * mean
        """(m,), in the unit of the rates."""
        self.std: Array = scaling.factor * np.sqrt((1.0 - self._own) ** 2 * variance + self._apart)
        """(m,), in the unit of the rates."""

    def squared_covariance(self, places: Indices) -> Array:
        """Return the squared covariance of every candidate with some of them (r,), averaged over those, (m,)."""
        covariance = self._prior.covariance(self._points, self._points[places]) - self._rows.T @ self._rows[:, places]
        covariance *= np.outer(1.0 - self._own, 1.0 - self._own[places])
        covariance[places, np.arange(len(places))] += self._apart[places]
        return np.asarray(np.square(covariance).mean(axis=1)) * self._factor**4


def _over(prior: Prior, x: Array, y: Array, noise_variance: Array, points: Array) -> tuple[Array, Array, Array]:
    """Return mean, variance (m,) and whitened covariances with the data (n, m) of the process at points.

    Rasmussen & Williams 2006, algorithm 2.1. Written out, because the covariance of places with each other is needed.
    """
    try:
        factor = cholesky(prior.covariance(x, x) + np.diag(noise_variance + prior.jitter), lower=True)
    except (LinAlgError, ValueError) as error:
        raise FitFailed("the covariance of the looks cannot be factorised", value=str(error)) from error
    rows = solve_triangular(factor, prior.covariance(x, points), lower=True, check_finite=False)
    whitened = solve_triangular(factor, y - prior.mean, lower=True, check_finite=False)
    variance = np.maximum(prior.variance - np.einsum("ij,ij->j", rows, rows), 0.0)
    return prior.mean + whitened @ rows, variance, rows
