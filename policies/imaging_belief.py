"""What is believed of the target at every place: a Gaussian process, with a trend in brightness where one is seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from autoscope.acquisition.exposure_choice import CountingNoise
from autoscope.errors import FitFailed
from autoscope.records import FitSummary
from autoscope.surrogates.prior import Prior, correlation, default_prior
from autoscope.surrogates.recalibration import honest_scale
from autoscope.surrogates.surrogate import Scaling
from policies.imaging_footprint import STENCIL_WEIGHTS
from policies.imaging_model import Array, Indices, Looks, Pooled

Groups = tuple[tuple[int, ...], ...]

SLOPE = 1.0
"""Std believed of the slope of a trend: standardised target over standardised brightness."""
ITERATIONS = 40


@dataclass(frozen=True)
class Inputs:
    """What every pixel looks like: features (pixels, d), which columns belong together, and brightness (pixels,).

    ``brightness`` is standardised, and None where there is no image. ``stencils`` (pixels of the stencil of each
    defocus, (pixels, 7)) say over which pixels a widened probe averages.
    """

    features: Array
    image: tuple[int, ...]
    place: tuple[int, ...]
    brightness: Array | None = None
    stencils: tuple[Indices, ...] = ()

    def members(self) -> list[tuple[str, Groups, bool]]:
        """Return the models that compete: name, groups of the kernel, and whether brightness has a trend."""
        alone: list[tuple[str, Groups, bool]] = [("place", (self.place,), False)]
        if not self.image:
            return alone
        both = (self.image, self.place)
        shown: list[tuple[str, Groups, bool]] = [("image", both, False)]
        if self.brightness is not None:
            shown = [("trend", both, True), ("trend_place", (self.place,), True), *shown]
        return [*shown, *alone]


@dataclass(frozen=True)
class Learnt:
    """Hyperparameters, and the scaling and noise they belong to.

    Attributes
    ----------
    member : str
        Which model explained the looks best.
    slope : float
        Variance of the trend's slope; zero without a trend.
    widening : float
        At least 1: multiplies every std, because the model has been wrong about its looks.
    """

    member: str
    prior: Prior
    slope: float
    scaling: Scaling
    noise: CountingNoise
    iterations: int
    log_evidence: float
    widening: float = 1.0

    def summary(self, n: int) -> FitSummary:
        """Return how the model was fitted, to ``n`` looks, for a decision."""
        named = {f"noise_{name}": value for name, value in asdict(self.noise).items()}
        named |= {"slope_variance": self.slope, "widening": self.widening} | self.prior.flat()
        rung = "coordinates" if self.member == "place" else "ok"
        return FitSummary(
            model=f"imaging_{self.member}",
            n=n,
            iterations=self.iterations,
            log_evidence=self.log_evidence,
            hyperparameters=named,
            rung=rung,
        )


class _Observed:
    """Looks as weighted sums of the rates of pixels: weights (o, p) of pixels (p,)."""

    def __init__(self, inputs: Inputs, seen: Pooled, learnt: Learnt) -> None:
        spread = [inputs.stencils[b - 1][p] if b else np.full(7, p) for p, b in zip(seen.pixels, seen.blurs)]
        stencils = np.array(spread, dtype=np.int64)
        self.pixels, at = np.unique(stencils, return_inverse=True)
        weights = np.zeros((len(stencils), len(self.pixels)))
        np.add.at(weights, (np.arange(len(stencils))[:, None], at.reshape(stencils.shape)), STENCIL_WEIGHTS)
        self.weights: Array | None = None if np.array_equal(weights, np.eye(len(self.pixels))) else weights
        self._inputs, self._learnt = inputs, learnt
        self.rates = learnt.scaling.standard(seen.rates)
        self.variances = seen.variances / learnt.scaling.factor**2

    def with_pixels(self, pixels: Indices) -> Array:
        """Return the prior covariance of every look with the rates of pixels, (o, m)."""
        found = _covariance(self._inputs, self._learnt, self.pixels, pixels)
        return found if self.weights is None else self.weights @ found

    def among(self) -> Array:
        """Return the prior covariance of the looks, their noise included, (o, o)."""
        crossed = self.with_pixels(self.pixels)
        found = crossed if self.weights is None else crossed @ self.weights.T
        return np.asarray(found + np.diag(self.variances))


def _covariance(inputs: Inputs, learnt: Learnt, a: Indices, b: Indices) -> Array:
    """Return the prior covariance of the true rates of pixels: process, trend, and what is each pixel's own."""
    x, prior = inputs.features, learnt.prior
    found = prior.covariance(x[a], x[b]) + prior.jitter * (a[:, None] == b[None])
    if learnt.slope and inputs.brightness is not None:
        found += learnt.slope * np.outer(inputs.brightness[a], inputs.brightness[b])
    return np.asarray(found)


def _factor(covariance: Array) -> Array:
    try:
        return np.asarray(cholesky(covariance, lower=True))
    except (LinAlgError, ValueError) as error:
        raise FitFailed("the covariance of the looks cannot be factorised", value=str(error)) from error


def learn(inputs: Inputs, looks: Looks, forecasts: Array | None = None) -> Learnt:
    """Return the model that explains looks best, of those in `Inputs.members`, always found from the same start.

    The marginal likelihood decides (Rasmussen & Williams 2006, ch. 5.2), so features or a trend that tell nothing
    about the target lose to coordinates. ``forecasts`` are z-scores of looks that were foretold; with those left out
    of the present fit they say how far the model's spread must be widened (`honest_scale`).
    """
    noise = looks.noise()
    seen = looks.pooled(noise)
    scaling = _weighted_scaling(seen)
    found = [_member(inputs, seen, noise, scaling, *member) for member in inputs.members()]
    best = max(found, key=lambda learnt: learnt.log_evidence)
    z = _left_out(inputs, seen, best)
    scale = honest_scale(np.empty(0) if forecasts is None else forecasts, z)
    return replace(best, widening=max(scale, 1.0))


def _weighted_scaling(seen: Pooled) -> Scaling:
    """Return the scaling of rates by their electrons: those of the shortest looks are mostly noise."""
    weight = seen.doses_e / seen.doses_e.sum()
    shift = float(weight @ seen.rates)
    spread = float(np.sqrt(weight @ (seen.rates - shift) ** 2))
    return Scaling(shift, spread if spread > 1e-12 * max(abs(shift), 1e-300) else 1.0)


def _member(
    inputs: Inputs, seen: Pooled, noise: CountingNoise, scaling: Scaling, name: str, groups: Groups, trend: bool
) -> Learnt:
    from autoscope.surrogates.evidence import maximise  # scipy's optimiser: only when something is really fitted

    start = default_prior("matern52", groups)
    slope = SLOPE if trend else 0.0
    rates, variances = scaling.standard(seen.rates), seen.variances / scaling.factor**2
    residual = rates
    if trend and inputs.brightness is not None:
        z, weight = inputs.brightness[seen.pixels], 1.0 / (variances + start.jitter + start.variance / 2.0)
        level = np.stack([np.ones(len(z)), z], axis=1)
        normal = level.T @ (weight[:, None] * level) + np.diag([1.0, 1.0 / SLOPE])
        residual = rates - z * np.linalg.solve(normal, level.T @ (weight * rates))[1]
    try:
        prior, used, _ = maximise(start, inputs.features[seen.pixels], residual, variances, ITERATIONS)
    except FitFailed:  # the start then knows only that near is like near
        prior, used = start, 0
    learnt = Learnt(name, prior, slope, scaling, noise, used, 0.0)
    return replace(learnt, log_evidence=_log_evidence(inputs, seen, learnt))


def _log_evidence(inputs: Inputs, seen: Pooled, learnt: Learnt) -> float:
    observed = _Observed(inputs, seen, learnt)
    factor = _factor(observed.among())
    half = solve_triangular(factor, observed.rates - learnt.prior.mean, lower=True)
    return float(-0.5 * half @ half - np.log(np.diagonal(factor)).sum() - 0.5 * len(half) * np.log(2.0 * np.pi))


def _left_out(inputs: Inputs, seen: Pooled, learnt: Learnt) -> Array:
    """Return the z-score of each pooled look left out of the fit (Rasmussen & Williams 2006, eqs. 5.10-5.12)."""
    observed = _Observed(inputs, seen, learnt)
    half = solve_triangular(_factor(observed.among()), np.eye(len(observed.rates)), lower=True)
    inverse = half.T @ half
    return np.asarray(inverse @ (observed.rates - learnt.prior.mean) / np.sqrt(np.diagonal(inverse)))


def _support(candidates: Indices, stencils: tuple[Indices, ...]) -> tuple[Indices, tuple[Indices, ...]]:
    """Return the candidates and all pixels that looks on them average over, and each kind's places (m, 7) among those.

    Examples
    --------
    >>> _support(np.array([4, 0]), (np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]),))
    (array([4, 0, 1, 5]), (array([[0, 3],
           [1, 2]]),))
    """
    wanted = [stencil[candidates] for stencil in stencils]
    others = np.setdiff1d(np.concatenate([np.empty(0, np.int64), *(each.ravel() for each in wanted)]), candidates)
    support = np.concatenate([candidates, others])
    order = np.argsort(support, kind="stable")
    return support, tuple(order[np.searchsorted(support, each, sorter=order)] for each in wanted)


class Belief:
    """Mean and std of the true rate of each candidate, what no other place can tell about it included.

    A look that averages does so over pixels, whether they are candidates or not: with a wide stride none of its
    neighbours is. So the belief is kept of a support: the candidates, and then every other pixel a look on one of
    them averages over.

    Parameters
    ----------
    inputs : Inputs
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

    def __init__(self, inputs: Inputs, candidates: Indices, seen: Pooled, learnt: Learnt) -> None:
        observed = _Observed(inputs, seen, learnt)
        factor = _factor(observed.among())
        self._inputs, self._candidates, self._learnt = inputs, candidates, learnt
        self._support, self._averages = _support(candidates, inputs.stencils)
        self._rows = solve_triangular(factor, observed.with_pixels(self._support), lower=True, check_finite=False)
        whitened = solve_triangular(factor, observed.rates - learnt.prior.mean, lower=True, check_finite=False)
        self._factor = learnt.scaling.factor * learnt.widening
        level = learnt.prior.mean + whitened @ self._rows
        self._mean: Array = learnt.scaling.shift + learnt.scaling.factor * level
        own = self._rows[:, : len(candidates)]
        self.mean: Array = self._mean[: len(candidates)]
        """(m,), in the unit of the rates."""
        self.std: Array = self._factor * np.sqrt(self._remaining(self._own_variance(), own))
        """(m,), in the unit of the rates."""

    def _own_variance(self) -> Array:
        prior, slope, z = self._learnt.prior, self._learnt.slope, self._inputs.brightness
        own = np.full(len(self._candidates), prior.variance + prior.jitter)
        return own + slope * z[self._candidates] ** 2 if slope and z is not None else own

    @staticmethod
    def _remaining(before: Array, rows: Array) -> Array:
        return np.asarray(np.maximum(before - np.einsum("ij,ij->j", rows, rows), 1e-12 * before))

    def covariance(self, places: Indices) -> Array:
        """Return the covariance of the support (candidates first) with some candidates, (s, r), in squared rates."""
        before = _covariance(self._inputs, self._learnt, self._support, self._candidates[places])
        return np.asarray((before - self._rows.T @ self._rows[:, places]) * self._factor**2)

    def seen_through(self, blur: int) -> tuple[Array, Array]:
        """Return mean and std (m,) of what a look of that kind (0: one pixel in focus) on each candidate would show."""
        if blur == 0:
            return self.mean, self.std
        at = self._averages[blur - 1]
        rows = np.einsum("nmk,k->nm", self._rows[:, at], STENCIL_WEIGHTS)
        std = self._factor * np.sqrt(self._remaining(self._averaged_variance(self._support[at]), rows))
        return np.asarray(self._mean[at] @ STENCIL_WEIGHTS), std

    def averaged(self, values: Array, blur: int) -> Array:
        """Return values of the support (s, ...) averaged over such a look on each candidate, (m, ...)."""
        if blur == 0:
            return values[: len(self._candidates)]
        return np.asarray(np.einsum("mk...,k->m...", values[self._averages[blur - 1]], STENCIL_WEIGHTS))

    def _averaged_variance(self, pixels: Indices) -> Array:
        """Return the prior variance of averages over stencils of pixels (m, 7): all 49 pairs of each."""
        prior, x, weights = self._learnt.prior, self._inputs.features, STENCIL_WEIGHTS
        total = np.zeros(len(pixels))
        for i, heavy in enumerate(weights):
            for j, other in enumerate(weights):
                a, b = pixels[:, i], pixels[:, j]
                apart = x[a] - x[b]
                pair = prior.jitter * (a == b).astype(np.float64)
                for columns, lengths, height in zip(prior.groups, prior.lengthscales, prior.outputscales, strict=True):
                    squared = np.square(apart[:, list(columns)] / np.asarray(lengths)).sum(axis=1)
                    pair += height * correlation(prior.shape, squared)
                total += heavy * other * pair
        z = self._inputs.brightness
        return total if z is None else np.asarray(total + self._learnt.slope * (z[pixels] @ weights) ** 2)
