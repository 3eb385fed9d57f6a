"""Which tile to see next when there is not time for all: coarse first, then where a look is worth most."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from autoscope.surrogates.posterior import ExactPosterior
from autoscope.surrogates.prior import Prior
from autoscope.surrogates.threads import one_thread

Floats = NDArray[np.float64]
COARSE = 0.15
"""Part of the tiles seen first, as far from each other as can be: a picture of the whole area."""
AT_LEAST = 4
MOST_KNOWN = 400
"""Seen tiles that the model knows: evenly chosen among more."""
BETA = 1.0
"""A tile is worth what is expected of it plus this many standard deviations."""


class Reconnaissance:
    """Values unseen tiles by what was found in those seen: a Gaussian process on the worth of a tile over the stage.

    Parameters
    ----------
    centres_m : ndarray
        Of all tiles, (n, 2).
    length_m : float
        Distance over which the worth of tiles is expected to change.
    """

    def __init__(self, centres_m: Floats, length_m: float) -> None:
        self._centres_m, self._length_m = centres_m, length_m
        self.coarse = max(AT_LEAST, math.ceil(COARSE * len(centres_m)))

    def choose(self, unseen: list[int], seen: list[int], worth: Floats, seconds: Floats) -> tuple[int, str]:
        """Return the tile to see next and why, as a phrase.

        Parameters
        ----------
        unseen : list of int
            To choose from, at least one.
        seen : list of int
            Tiles with their overview.
        worth : ndarray
            Of each seen tile, (len(seen),): interesting particles expected in it.
        seconds : ndarray
            What seeing each unseen tile would cost, (len(unseen),).
        """
        if len(seen) < self.coarse:
            return self._farthest(unseen, seen), "far from all tiles seen: first a coarse picture of the whole area"
        mean, std = self._predict(unseen, seen, worth)
        value = (mean + BETA * std) / seconds
        best = int(np.argmax(value))
        why = (
            f"{mean[best]:.2g} +- {std[best]:.2g} interesting particles expected from its neighbours: "
            f"most for its {seconds[best]:.0f} s"
        )
        return unseen[best], why

    def _farthest(self, unseen: list[int], seen: list[int]) -> int:
        if not seen:
            middle = self._centres_m.mean(axis=0)
            return unseen[int(np.argmin(np.hypot(*(self._centres_m[unseen] - middle).T)))]
        away = self._centres_m[unseen][:, None] - self._centres_m[seen][None]
        return unseen[int(np.argmax(np.hypot(away[..., 0], away[..., 1]).min(axis=1)))]

    def _predict(self, unseen: list[int], seen: list[int], worth: Floats) -> tuple[Floats, Floats]:
        known = np.unique(np.linspace(0, len(seen) - 1, min(len(seen), MOST_KNOWN)).astype(int))
        x = self._centres_m[[seen[k] for k in known]] / self._length_m
        usual, spread = float(np.mean(worth)), float(np.std(worth))
        if spread == 0.0:
            return np.full(len(unseen), usual), np.full(len(unseen), max(usual, 1.0))
        with one_thread():
            posterior = ExactPosterior(_PRIOR, x, (worth[known] - usual) / spread, np.zeros(len(x)))
            mean, variance = posterior.predict(self._centres_m[unseen] / self._length_m)
        return np.maximum(usual + spread * mean, 0.0), spread * np.sqrt(np.maximum(variance, 0.0))


_PRIOR = Prior(
    shape="matern52", groups=((0, 1),), lengthscales=((1.0, 1.0),), outputscales=(1.0,), jitter=0.3
)  # a third of the variance of tiles is their own
