"""Going into the best finds of the last level: found again in the image that showed them, then a campaign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.perception.constellation import match
from autoscope.protocols import JsonValue
from autoscope.records import Scalar
from policies.levels.agenda import Agenda, Place
from policies.levels.config import LevelsConfig
from policies.levels.places import Found
from policies.survey.in_depth import InDepth
from policies.survey.ranking import outstanding

Floats = NDArray[np.float64]
FEWEST = 3
"""Places found again from which a displacement is believed: two agree by chance."""


class Deepening:
    """Keeps what the last level measured and where its images showed places, and the campaigns on the best of them.

    Parameters
    ----------
    config : LevelsConfig
        Which policy, on how many finds, for how long.
    seed : int
        Each campaign has a stream of chance of its own.
    """

    def __init__(self, config: LevelsConfig, seed: int) -> None:
        self._config = config
        self.campaign = InDepth(config.in_depth, config.target or "", seed, of=config.levels[-1].name)
        self._values: dict[int, tuple[float, float]] = {}
        self._shown: dict[int, list[tuple[float, float]]] = {}
        self._lost: list[int] = []

    def showed(self, place: Place, found: Sequence[Found]) -> None:
        """Learn what the image of a place of the last level but one showed, kept or not."""
        if self._config.in_depth is not None and place.level == len(self._config.levels) - 2:
            self._shown[place.number] = [(one.x_m, one.y_m) for one in found]

    def measured(self, number: int, value: Scalar | None) -> None:
        """Learn what was measured at a place of the last level."""
        if self._config.in_depth is not None and value is not None:
            self._values[number] = (value.value, value.std)

    def todo(self) -> list[int]:
        """Return the best places that stand out and no campaign was begun on, the highest first."""
        if not self._values:
            return []
        numbers = np.array(list(self._values), dtype=np.intp)
        values, stds = np.array(list(self._values.values())).T
        stands_out = outstanding(values, stds)
        best = [int(numbers[k]) for k in np.argsort(-values, kind="stable") if stands_out[k]]
        return [n for n in self.campaign.todo(best) if n not in self._lost]

    def reserve_s(self, travel_s: float) -> float:
        """Return the time that campaigns on the finds so far may take with the way there."""
        return len(self.todo()) * (self.campaign.time_s + travel_s)

    def reason(self, number: int) -> str:
        """Return why a place is gone into."""
        (value, std), target = self._values[number], self._config.target
        return f"a campaign inside {self._config.levels[-1].name} {number}: {target} {value:.4g} ± {std:.2g}"

    def begin(self, agenda: Agenda, number: int, found: Sequence[Found], time_s: float) -> bool:
        """Begin the campaign on a place where it is seen now; return whether it was found again.

        Its image is matched with what it showed the first time: the translation that most places agree on, among those
        within half the distance to the image's edge.
        """
        place, parent = agenda[number], agenda[agenda[number].parent]
        look = self._config.levels[parent.level].look
        assert look is not None  # noqa: S101 - a level that finds places has an image
        before = np.array(self._shown.get(parent.number, []), dtype=np.float64).reshape(-1, 2)
        now = np.array([(one.x_m, one.y_m) for one in found], dtype=np.float64).reshape(-1, 2)
        pixel_m = look.fov_m / look.size_px
        moved = match(before, now, reach_m=look.fov_m / 4, tolerance_m=2 * pixel_m)
        if moved.ambiguous or moved.matched < min(FEWEST, len(before)) or moved.confidence <= 0.0:
            self._lost.append(number)
            return False
        centre_m = (place.x_m - parent.x_m + moved.dx_m, place.y_m - parent.y_m + moved.dy_m)
        self.campaign.begin(number, centre_m, time_s)
        return True

    def lose(self, number: int) -> None:
        """Learn that a place could not be reached again."""
        self._lost.append(number)

    def summary(self) -> str:
        """Return how many finds were gone into, as a clause."""
        lost = f", {len(self._lost)} not found again" if self._lost else ""
        return self.campaign.summary() + lost

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data."""
        return {
            "campaign": self.campaign.state(),
            "values": [[n, *pair] for n, pair in self._values.items()],
            "shown": [[n, [list(at) for at in places]] for n, places in self._shown.items()],
            "lost": list(self._lost),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self.campaign.restore(state["campaign"])
        self._values = {int(n): (float(v), float(s)) for n, v, s in state["values"]}
        self._shown = {int(n): [(float(x), float(y)) for x, y in places] for n, places in state["shown"]}
        self._lost = [int(n) for n in state["lost"]]
