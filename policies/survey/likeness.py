"""Few-shot search in a survey: what looks like the operator's examples and like what people marked comes first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autoscope.perception.few_shot import FewShot
from autoscope.perception.regions import FEATURE_NAMES
from autoscope.wishes import Marked
from policies.survey.catalogue import Catalogue
from policies.survey.config import ExampleConfig

Floats = NDArray[np.float64]
Marks = tuple[Marked, ...]
"""What people marked so far, in the order they did; comes with every question."""


class Likeness:
    """How much each particle looks like the examples and the marks. A pure function of those and the catalogue.

    Parameters
    ----------
    examples : sequence of ExampleConfig
        Places, interesting or not.
    reach_m : float
        How far from an example, or from a marked point, its particle may be.
    """

    def __init__(self, examples: Sequence[ExampleConfig], reach_m: float) -> None:
        self._examples, self._reach_m = tuple(examples), reach_m
        self._known: tuple[int, Marks] = (-1, ())
        self._shot: FewShot | None = None
        self._probability = np.zeros(0)
        self._judged: dict[int, tuple[bool, str]] = {}

    def tiles(self, centres_m: Floats, marks: Marks = ()) -> list[int]:
        """Return the tiles nearest to what is interesting, marks first and the latest of them before: seen first."""
        places = [m.place.centre for m in reversed(marks) if m.interesting]
        places += [(e.x_m, e.y_m) for e in self._examples if e.interesting]
        return [int(np.argmin(np.sum((centres_m - np.array(place)) ** 2, axis=1))) for place in places]

    def probability(self, catalogue: Catalogue, marks: Marks = ()) -> Floats | None:
        """Return the probability of each particle to be of the wanted kind, (n,); None while none has been shown.

        What a person marked is what he says it is: 1 or 0.
        """
        shot = self._fitted(catalogue, marks)
        return None if shot is None else self._probability

    def wanted(self, catalogue: Catalogue, marks: Marks) -> list[int]:
        """Return the particles that people marked as interesting."""
        self._fitted(catalogue, marks)
        return [row for row, (interesting, who) in self._judged.items() if interesting and who]

    def by_whom(self, catalogue: Catalogue, marks: Marks) -> str:
        """Return whose marks rank the particles, as a clause; empty where nobody marked one as interesting."""
        shot, people = self._fitted(catalogue, marks), self._people()
        return f"; ranked by what {_listed(people)} marked" if shot is not None and people else ""

    def _people(self) -> list[str]:
        return sorted({who for interesting, who in self._judged.values() if interesting and who})

    def reason(self, catalogue: Catalogue, particle: int, marks: Marks = ()) -> str:
        """Return why a particle is ranked as it is, as a clause; empty where nothing was shown."""
        shot = self._fitted(catalogue, marks)
        if shot is None:
            return ""
        interesting, who = self._judged.get(particle, (False, ""))
        if who:
            return f"; {who} marked it as {'interesting' if interesting else 'not interesting'}"
        people = self._people()
        return f"; {shot.reason(_look(catalogue)[particle], f'what {_listed(people)} marked' if people else '')}"

    def _fitted(self, catalogue: Catalogue, marks: Marks) -> FewShot | None:
        if self._known != (len(catalogue), marks):
            self._known, self._shot = (len(catalogue), marks), self._fit(catalogue, marks)
        return self._shot

    def _fit(self, catalogue: Catalogue, marks: Marks) -> FewShot | None:
        self._judged = {}
        if not (self._examples or marks) or len(catalogue) < 2:
            return None
        self._judged = self._judge(catalogue, marks)
        rows = {kind: [row for row, (wanted, _) in self._judged.items() if wanted == kind] for kind in (True, False)}
        shot = FewShot(_look(catalogue), rows[True], rows[False], FEATURE_NAMES)
        if not shot.ready:
            return None
        self._probability = shot.probability(_look(catalogue))
        for row, (interesting, who) in self._judged.items():
            if who:
                self._probability[row] = float(interesting)
        return shot

    def _judge(self, catalogue: Catalogue, marks: Marks) -> dict[int, tuple[bool, str]]:
        """Return for each particle that was shown whether it is wanted and who marked it; the latest word counts."""
        x_m, y_m = catalogue.column("x"), catalogue.column("y")
        judged: dict[int, tuple[bool, str]] = {}
        for e in self._examples:
            judged |= dict.fromkeys(self._nearest(x_m, y_m, (e.x_m, e.y_m)), (e.interesting, ""))
        for mark in marks:
            inside = [int(row) for row in np.flatnonzero(mark.place.contains(x_m, y_m))]
            shown = inside or self._nearest(x_m, y_m, mark.place.centre)
            judged |= dict.fromkeys(shown, (mark.interesting, mark.who or "somebody"))
        return judged

    def _nearest(self, x_m: Floats, y_m: Floats, place: tuple[float, float]) -> list[int]:
        distance = np.hypot(x_m - place[0], y_m - place[1])
        nearest = int(np.argmin(distance))
        return [nearest] if distance[nearest] <= self._reach_m else []


def _listed(people: Sequence[str]) -> str:
    return people[0] if len(people) == 1 else f"{', '.join(people[:-1])} and {people[-1]}"


def _look(catalogue: Catalogue) -> Floats:
    return catalogue.features()[:, :-2]
