"""Keeping the place: where a tile's particles are now, how surely, and when to look again.

The displacement of each tile is relative to its overview; one drift model (`autoscope.perception.drift`) joins them
all, so that what is seen in one tile tells where to send the stage for the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.perception.constellation import Match
from autoscope.perception.drift import DriftModel
from autoscope.protocols import JsonValue
from autoscope.records import View
from policies.survey.config import AlignConfig

Floats = NDArray[np.float64]
JUST_NOW_S = 2.0
"""So soon after a look another one tells nothing new."""
NEGLIGIBLE_S = 0.5
"""A shorter wait is not worth an act."""


class KeepPlace:
    """Where the particles are, from tile to tile.

    Parameters
    ----------
    config : AlignConfig
        How surely the place has to be known, and what drift is expected.
    centres_m : (n, 2) float64
        Nominal stage positions of the tiles.
    """

    def __init__(self, config: AlignConfig, centres_m: Floats) -> None:
        self._config, self._centres_m = config, centres_m
        self._model = DriftModel(config.drift)
        self._references: dict[int, tuple[float, float, float, float]] = {}
        self._at_m: tuple[float, float] | None = None
        self._tile, self._looks, self._looked_s = -1, 0, 0.0

    def aim(self, tile: int, time_s: float) -> tuple[float, float]:
        """Return where to send the stage, so that a tile's particles come to lie where they were first seen."""
        x_m, y_m = self._held(tile)
        now = self._model.predict(time_s)
        return x_m + now.dx_m, y_m + now.dy_m

    def _held(self, tile: int) -> tuple[float, float]:
        """Return where the stage is to be for a tile where nothing is displaced."""
        x_m, y_m, was_x_m, was_y_m = self._references.get(tile, (*self._centres_m[tile], 0.0, 0.0))
        return float(x_m - was_x_m), float(y_m - was_y_m)

    def beyond(self, view: View) -> frozenset[int]:
        """Return the tiles whose place is now where the stage must not go, by drift or from the start."""
        now, tiles = self._model.predict(view.state.time_s), range(len(self._centres_m))
        aims_m = np.array([self._held(tile) for tile in tiles]) + np.array([now.dx_m, now.dy_m])
        out = np.zeros(len(aims_m), dtype=bool)
        for axis, name in enumerate(("x_m", "y_m")):
            if (allowed := view.capabilities.ranges.get(name)) is not None:
                out |= (aims_m[:, axis] < allowed.low) | (aims_m[:, axis] > allowed.high)
        return frozenset(int(tile) for tile in np.flatnonzero(out))

    def arrived(self, tile: int, x_m: float, y_m: float, time_s: float) -> None:
        """Learn that the stage was sent for a tile."""
        before = self._at_m or (x_m, y_m)
        self._model.moved(time_s, float(np.hypot(x_m - before[0], y_m - before[1])))
        self._at_m, self._tile, self._looks = (x_m, y_m), tile, 0

    def saw(self, time_s: float) -> None:
        """Learn that the tile has its overview: its particles are where they are now."""
        now, (x_m, y_m) = self._model.predict(time_s), self._at_m or (0.0, 0.0)
        self._references[self._tile] = (x_m, y_m, now.dx_m, now.dy_m)
        self._model.anchor(time_s)
        self._looks, self._looked_s = self._looks + 1, time_s

    def found(self, match: Match, time_s: float) -> None:
        """Learn by how much the tile's particles are displaced from where they were first seen."""
        x_m, y_m, was_x_m, was_y_m = self._references[self._tile]
        at_x_m, at_y_m = self._at_m or (x_m, y_m)
        dx_m, dy_m = match.dx_m + (at_x_m - x_m) + was_x_m, match.dy_m + (at_y_m - y_m) + was_y_m
        self._model.measured(time_s, dx_m, dy_m, match.std_m, first=self._looks == 0)
        self._looks, self._looked_s = self._looks + 1, time_s

    def axis_m(self, time_s: float) -> tuple[float, float]:
        """Return the place under the optical axis as it is believed, in the positions of the catalogue."""
        now, (x_m, y_m) = self._model.predict(time_s), self._at_m or (0.0, 0.0)
        return x_m - now.dx_m, y_m - now.dy_m

    def shift_m(self, time_s: float) -> tuple[float, float]:
        """Return by how much the tile's particles are expected to be displaced at a time."""
        now = self._model.predict(time_s)
        x_m, y_m, was_x_m, was_y_m = self._references[self._tile]
        at_x_m, at_y_m = self._at_m or (x_m, y_m)
        return now.dx_m - was_x_m - (at_x_m - x_m), now.dy_m - was_y_m - (at_y_m - y_m)

    def std_m(self, time_s: float) -> float:
        """Return how surely the place is known at a time: standard deviation per axis since the last look."""
        return self._model.predict(time_s).std_m

    def is_due(self, time_s: float, dwell_s: float) -> bool:
        """Return whether to look again before a dwell: if that makes the place in the middle of it surer."""
        since_s = time_s - self._looked_s
        if self._looks == 0 or since_s > self._config.at_most_every_s:
            return True
        return since_s > JUST_NOW_S and self.std_m(time_s + dwell_s / 2) > self._config.keep_within_m

    def wait_s(self, time_s: float, dwell_s: float) -> float:
        """Return how long to wait until the stage has crept enough for a dwell; 0 where the drift model needs none."""
        wait_s = self._model.settled_after_s(time_s, dwell_s, self._config.smear_m)
        return wait_s if wait_s > NEGLIGIBLE_S else 0.0

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data."""
        return {
            "model": self._model.state(),
            "references": [[tile, *reference] for tile, reference in self._references.items()],
            "at_m": list(self._at_m) if self._at_m else None,
            "tile": self._tile,
            "looks": self._looks,
            "looked_s": self._looked_s,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self._model.restore(state["model"])
        self._references = {int(tile): (a, b, c, d) for tile, a, b, c, d in state["references"]}
        self._at_m = (state["at_m"][0], state["at_m"][1]) if state["at_m"] else None
        self._tile, self._looks = int(state["tile"]), int(state["looks"])
        self._looked_s = float(state["looked_s"])
