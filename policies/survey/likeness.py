"""Few-shot search in a survey: the particles that look like the operator's examples come first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autoscope.perception.few_shot import FewShot
from autoscope.perception.regions import FEATURE_NAMES
from policies.survey.catalogue import Catalogue
from policies.survey.config import ExampleConfig

Floats = NDArray[np.float64]


class Likeness:
    """How much each particle looks like the examples. A pure function of examples and catalogue.

    Parameters
    ----------
    examples : sequence of ExampleConfig
        Places, interesting or not.
    reach_m : float
        How far from an example its particle may be.
    """

    def __init__(self, examples: Sequence[ExampleConfig], reach_m: float) -> None:
        self._examples, self._reach_m = tuple(examples), reach_m
        self._known = -1
        self._shot: FewShot | None = None
        self._probability = np.zeros(0)

    def tiles(self, centres_m: Floats) -> list[int]:
        """Return the tiles nearest to the interesting examples: they are seen first."""
        places = [(e.x_m, e.y_m) for e in self._examples if e.interesting]
        return [int(np.argmin(np.sum((centres_m - np.array(place)) ** 2, axis=1))) for place in places]

    def probability(self, catalogue: Catalogue) -> Floats | None:
        """Return the probability of each particle to be like the examples, (n,); None while none has been seen."""
        shot = self._fitted(catalogue)
        return None if shot is None else self._probability

    def reason(self, catalogue: Catalogue, particle: int) -> str:
        """Return why a particle is ranked as it is, as a clause; empty where there are no examples."""
        shot = self._fitted(catalogue)
        return "" if shot is None else f"; {shot.reason(_look(catalogue)[particle])}"

    def _fitted(self, catalogue: Catalogue) -> FewShot | None:
        if self._known != len(catalogue):
            self._known, self._shot = len(catalogue), self._fit(catalogue)
        return self._shot

    def _fit(self, catalogue: Catalogue) -> FewShot | None:
        if not self._examples or len(catalogue) < 2:
            return None
        rows = {True: self._rows(catalogue, interesting=True), False: self._rows(catalogue, interesting=False)}
        shot = FewShot(_look(catalogue), rows[True], rows[False], FEATURE_NAMES)
        if not shot.ready:
            return None
        self._probability = shot.probability(_look(catalogue))
        return shot

    def _rows(self, catalogue: Catalogue, *, interesting: bool) -> list[int]:
        found = []
        for example in self._examples:
            distance = np.hypot(catalogue.column("x") - example.x_m, catalogue.column("y") - example.y_m)
            nearest = int(np.argmin(distance))
            if example.interesting == interesting and distance[nearest] <= self._reach_m:
                found.append(nearest)
        return found


def _look(catalogue: Catalogue) -> Floats:
    return catalogue.features()[:, :-2]
