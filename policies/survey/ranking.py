"""Which particles are worth measuring: how probable it is that a particle is interesting.

A particle is *interesting* when its target stands out from the usual value. The probability of that, given what a
particle looks like and where it lies, is estimated by indicator kriging (Journel, Math. Geol. 15, 445 (1983)): a
Gaussian process with fixed, smooth kernels on the indicator 0 or 1, whose large noise shrinks a few finds towards the
common rate. Hyperparameters are not fitted: with one interesting particle in a hundred the evidence of a Gaussian
model is ruled by a few outliers, and it then explains them by lengthscales too short to predict anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import ModelError
from autoscope.protocols import JsonValue
from autoscope.records import FitSummary
from autoscope.surrogates.posterior import ExactPosterior
from autoscope.surrogates.prior import Prior
from autoscope.surrogates.threads import one_thread
from policies.survey.catalogue import Catalogue

Floats = NDArray[np.float64]
ENOUGH = 12
"""Measurements before a model is worth having."""
STANDS_OUT = 5.0
"""Robust standard deviations above the usual value from which a particle is interesting."""
FEW = 3
"""With fewer particles that stand out, the upper tenth is called interesting: any target can be ranked."""
LOOK_LENGTH = 4.0
"""Lengthscale of what particles look like, in robust standard deviations of each feature: a gentle trend."""
NOISE = 10.0
"""Variance of the indicator about its probability, relative to that of the probability over the sample."""


class Ranking:
    """Predicts how probable it is that each particle of a catalogue is interesting.

    A pure function of the measurements in their order.

    Parameters
    ----------
    fit_points : int
        Largest number of measurements the model knows: all interesting ones, and a seeded sample of the others.
    length_m : float
        Distance over which the probability is expected to change.
    seed : int
        Seed of the samples.
    """

    def __init__(self, fit_points: int, length_m: float, seed: int) -> None:
        self._fit_points, self._length_m, self._seed = fit_points, length_m, seed
        self._posterior: ExactPosterior | None = None
        self._scaling: tuple[Floats, Floats] = (np.zeros(0), np.ones(0))
        self._levels = (0.0, 0.0, 0.0)
        self._predicted: tuple[Floats, Floats] = (np.zeros(0), np.zeros(0))
        self.rate = 0.0
        self.known_n = 0
        self.summary: FitSummary | None = None
        self.data_sha256 = ""

    def take_in(self, catalogue: Catalogue) -> None:
        """Learn from everything measured so far."""
        self._learn(catalogue, catalogue.measured_count)

    def _learn(self, catalogue: Catalogue, n: int) -> None:
        numbers, values, stds = catalogue.measured(n)
        self.known_n, self._predicted = n, (np.zeros(0), np.zeros(0))
        self._posterior, self.summary = None, None
        if n < ENOUGH or float(np.std(values)) == 0.0:
            return
        full = catalogue.is_full(numbers)
        interesting = full & (values > threshold(values[full], stds[full])) if full.any() else full
        self.rate = float(np.mean(interesting))
        self._levels = _levels(values, interesting)
        chosen = self._chosen(interesting)
        self.data_sha256 = hashlib.sha256(np.stack([numbers[chosen], values[chosen]]).tobytes()).hexdigest()
        features = catalogue.features()[numbers]
        self._scaling = self._scaled_by(features)
        self._fit(self._scale(features[chosen]), interesting[chosen].astype(np.float64))

    def _fit(self, x: Floats, indicator: Floats) -> None:
        prior = _prior(x.shape[1])
        try:
            # Centred on the sample's own mean: finds are over-represented in it once it is a part of the data.
            with one_thread():
                self._posterior = ExactPosterior(prior, x, indicator - np.mean(indicator), np.zeros(len(x)))
        except ModelError as error:
            # Without a usable model all particles are alike and tiles are visited by their number: still a survey.
            self.summary = FitSummary(model="none", n=len(x), rung=f"prior: {error.what}")
            return
        known = prior.flat() | {"rate": self.rate}
        self.summary = FitSummary(model="indicator_kriging", n=len(x), hyperparameters=known)

    def _chosen(self, interesting: NDArray[np.bool_]) -> NDArray[np.intp]:
        if len(interesting) <= self._fit_points:
            return np.arange(len(interesting))
        finds = np.flatnonzero(interesting)[-self._fit_points // 2 :]
        rest = np.flatnonzero(~interesting)
        rng = np.random.default_rng([self._seed, len(interesting)])
        return np.concatenate([finds, rng.choice(rest, min(len(rest), self._fit_points - len(finds)), replace=False)])

    def _scaled_by(self, features: Floats) -> tuple[Floats, Floats]:
        low, middle, high = np.percentile(features, (16, 50, 84), axis=0)
        spread = np.where(high > low, (high - low) / 2, 1.0) * LOOK_LENGTH
        middle[-2:], spread[-2:] = 0.0, self._length_m
        return middle, spread

    def _scale(self, features: Floats) -> Floats:
        middle, spread = self._scaling
        scaled: Floats = (features - middle) / spread
        scaled[:, :-2] = np.clip(scaled[:, :-2], -6.0 / LOOK_LENGTH, 6.0 / LOOK_LENGTH)
        return scaled

    def probability(self, catalogue: Catalogue) -> tuple[Floats, Floats]:
        """Return the probability that each particle is interesting and its standard deviation, each (n,)."""
        if len(self._predicted[0]) != len(catalogue):
            self._predicted = self._probability(catalogue.features()) if len(catalogue) else _alike(0)
        return self._predicted

    def _probability(self, features: Floats) -> tuple[Floats, Floats]:
        if self._posterior is None:
            return _alike(len(features))
        with one_thread():
            mean, variance = self._posterior.predict(self._scale(features))
        # The indicator's own variance is the unit of the kernel's: a rate of 1 % varies less than one of 50 %.
        unit = np.sqrt(self.rate * (1.0 - self.rate) / NOISE)
        return np.clip(self.rate + mean, 1e-4, 1.0), unit * np.sqrt(np.maximum(variance, 0.0))

    def expected(
        self, catalogue: Catalogue, numbers: Sequence[int], share: float = 1.0
    ) -> tuple[Floats, Floats, Floats]:
        """Return chance of interest, mean and standard deviation of the target of some particles.

        In the target's own unit, of the mixture of interesting and common values weighted by the chance; where counts
        are taken for a ``share`` of the full dwell, they shrink by it, and the variance of their noise too.
        """
        chance, _ = self._probability(catalogue.features()[list(numbers)])
        common, high, scatter = self._levels
        mean = share * (common + chance * (high - common))
        between = share**2 * chance * (1.0 - chance) * (high - common) ** 2
        return chance, mean, np.sqrt(between + share * scatter**2)

    @property
    def ready(self) -> bool:
        """Whether predictions come from a model."""
        return self._posterior is not None

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data, short of the measurements."""
        return {"known_n": self.known_n}

    def restore(self, state: Mapping[str, Any], catalogue: Catalogue) -> None:
        """Take up what `state` returned, with the measurements in the catalogue."""
        self._learn(catalogue, int(state["known_n"]))


def threshold(values: Floats, stds: Floats) -> float:
    """Return the target value above which a particle stands out from the others.

    The median plus `STANDS_OUT` robust standard deviations (1.4826 times the median absolute deviation, Rousseeuw and
    Croux, J. Am. Stat. Assoc. 88, 1273 (1993), at least the median measurement uncertainty); the 90 % quantile where
    fewer than `FEW` reach that.
    """
    level = _stand_out_level(values, stds)
    return level if np.sum(values > level) >= FEW else float(np.quantile(values, 0.9))


def outstanding(values: Floats, stds: Floats) -> NDArray[np.bool_]:
    """Return which values stand out by `STANDS_OUT` robust standard deviations, however few they are."""
    return np.asarray(values > _stand_out_level(values, stds))


def _stand_out_level(values: Floats, stds: Floats) -> float:
    usual = float(np.median(values))
    scatter = max(1.4826 * float(np.median(np.abs(values - usual))), float(np.median(stds)))
    return usual + STANDS_OUT * scatter


def _levels(values: Floats, interesting: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return the mean of common values, of interesting ones, and the scatter of the common ones."""
    common = values[~interesting]
    high = float(np.mean(values[interesting])) if interesting.any() else float(np.mean(common))
    return float(np.mean(common)), high, float(np.std(common))


def _prior(dimensions: int) -> Prior:
    look, place = tuple(range(dimensions - 2)), (dimensions - 2, dimensions - 1)
    return Prior(
        shape="matern52",
        groups=(look, place),
        lengthscales=((1.0,) * len(look), (1.0, 1.0)),
        outputscales=(1.0, 1.0),
        jitter=NOISE,
    )


def _alike(n: int) -> tuple[Floats, Floats]:
    return np.full(n, 0.5), np.full(n, 0.5)


def unlike_each_other(features: Floats, count: int) -> list[int]:
    """Return up to ``count`` rows that are far from each other (farthest-point design, seeded by the most typical row).

    Source: Gonzalez, *Theor. Comput. Sci.* 38, 293 (1985).
    """
    if len(features) == 0 or count == 0:
        return []
    spread = np.std(features, axis=0)
    scaled = (features - np.median(features, axis=0)) / np.where(spread > 0, spread, 1.0)
    chosen = [int(np.argmin(np.sum(scaled**2, axis=1)))]
    distance = np.linalg.norm(scaled - scaled[chosen[0]], axis=1)
    while len(chosen) < min(count, len(features)):
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(scaled - scaled[chosen[-1]], axis=1))
    return chosen
