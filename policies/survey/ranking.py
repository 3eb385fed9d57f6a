"""Which particles are worth measuring: a model of the target over what particles look like and where they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import ModelError
from autoscope.protocols import JsonValue
from autoscope.records import FitSummary
from autoscope.surrogates.gp import GaussianProcess
from policies.survey.catalogue import Catalogue

Floats = NDArray[np.float64]
ENOUGH = 12
"""Measurements before a model is worth fitting."""
GROWTH = 1.3
"""Hyperparameters are learnt anew when the data have grown by this factor; between, only the data are taken in."""


class Ranking:
    """Predicts the target of every particle of a catalogue; a pure function of the measurements in their order.

    Parameters
    ----------
    fit_points : int
        Largest number of measurements a model knows: the highest half, and a seeded sample of the others.
    area_m : float
        Size of the surveyed area, the unit of distance between particles.
    seed : int
        Seed of the samples.
    """

    def __init__(self, fit_points: int, area_m: float, seed: int) -> None:
        self._fit_points, self._area_m, self._seed = fit_points, area_m, seed
        self._model: GaussianProcess | None = None
        self._scaling: tuple[Floats, Floats] | None = None
        self._learnt_n = 0
        self._predicted: tuple[Floats, Floats] = (np.zeros(0), np.zeros(0))
        self.known_n = 0
        self.summary: FitSummary | None = None
        self.data_sha256 = ""

    def take_in(self, catalogue: Catalogue) -> None:
        """Learn from what was measured so far; hyperparameters only when the data have grown enough."""
        x, y, noise = self._data(catalogue, catalogue.measured_count)
        self.known_n, self._predicted = catalogue.measured_count, (np.zeros(0), np.zeros(0))
        if len(y) < ENOUGH or float(np.std(y)) == 0.0:
            return
        try:
            if self._model is None or self.known_n >= GROWTH * self._learnt_n:
                self._model = self._model or _fresh(x.shape[1])
                self.summary, self._learnt_n = self._model.fit(x, y, noise), self.known_n
            else:
                self._model.recall(self._model.state(), x, y, noise)
        except ModelError as error:
            # Without a usable fit all particles are alike and tiles are visited by their number: still a survey.
            self._model, self.summary = None, FitSummary(model="none", n=len(y), rung=f"prior: {error.what}")

    def _data(self, catalogue: Catalogue, n: int) -> tuple[Floats, Floats, Floats]:
        numbers, values, stds = catalogue.measured(n)
        chosen = self._chosen(values)
        self.data_sha256 = hashlib.sha256(np.stack([numbers[chosen], values[chosen]]).tobytes()).hexdigest()
        if len(values) == 0:
            return np.zeros((0, 0)), values, stds
        features = catalogue.features()[numbers]
        self._scaling = self._scaled_by(features)
        return self._scale(features[chosen]), values[chosen], stds[chosen]

    def _chosen(self, values: Floats) -> NDArray[np.intp]:
        if len(values) <= self._fit_points:
            return np.arange(len(values))
        order = np.argsort(-values, kind="stable")
        high = order[: self._fit_points // 2]
        rest = np.sort(order[self._fit_points // 2 :])
        rng = np.random.default_rng([self._seed, len(values)])
        return np.concatenate([high, rng.choice(rest, self._fit_points - len(high), replace=False)])

    def _scaled_by(self, features: Floats) -> tuple[Floats, Floats]:
        low, middle, high = np.percentile(features, (16, 50, 84), axis=0)
        spread = np.where(high > low, (high - low) / 2, 1.0)
        middle[-2:], spread[-2:] = 0.0, self._area_m  # positions in units of the whole area
        return middle, spread

    def _scale(self, features: Floats) -> Floats:
        middle, spread = self._scaling if self._scaling is not None else (0.0, 1.0)
        return np.clip((features - middle) / spread, -6.0, 6.0)

    def predict(self, catalogue: Catalogue) -> tuple[Floats, Floats]:
        """Return mean and std of the target of every particle, each (n,); all alike while there is no model."""
        if len(self._predicted[0]) != len(catalogue):
            if self._model is None:
                self._predicted = _alike(len(catalogue), catalogue.measured(self.known_n)[1])
            else:
                self._predicted = self._model.predict(self._scale(catalogue.features()))
        return self._predicted

    def predict_some(self, catalogue: Catalogue, numbers: Sequence[int]) -> tuple[Floats, Floats]:
        """Return mean and std of the target of some particles, in their order, without predicting all."""
        if len(self._predicted[0]) == len(catalogue) or self._model is None:
            mean, std = self.predict(catalogue)
            return mean[list(numbers)], std[list(numbers)]
        return self._model.predict(self._scale(catalogue.features()[list(numbers)]))

    @property
    def ready(self) -> bool:
        """Whether predictions come from a model."""
        return self._model is not None

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data, short of the measurements."""
        summary = self.summary.model_dump(mode="json") if self.summary else None
        model = self._model.state() if self._model else None
        return {"known_n": self.known_n, "learnt_n": self._learnt_n, "summary": summary, "model": model}

    def restore(self, state: Mapping[str, Any], catalogue: Catalogue) -> None:
        """Take up what `state` returned, with the measurements in the catalogue."""
        self.known_n, self._learnt_n = int(state["known_n"]), int(state["learnt_n"])
        x, y, noise = self._data(catalogue, self.known_n)
        self.summary = FitSummary.model_validate(state["summary"]) if state["summary"] else None
        self._model = None
        if state["model"]:
            self._model = _fresh(x.shape[1])
            self._model.recall(state["model"], x, y, noise)


def _fresh(dimensions: int) -> GaussianProcess:
    look = tuple(range(dimensions - 2))
    return GaussianProcess(groups=(look, (dimensions - 2, dimensions - 1)), shape="matern52")


def _alike(n: int, values: Floats) -> tuple[Floats, Floats]:
    if len(values) == 0:
        return np.zeros(n), np.ones(n)
    return np.full(n, float(np.mean(values))), np.full(n, max(float(np.std(values)), 1e-12))


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
