"""Whether the sample stood still while an image of known particles was written; else it is taken again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from autoscope.perception.constellation import Match
from autoscope.perception.image_drift import ImageDrift, surely_moved
from autoscope.protocols import JsonValue
from autoscope.purposes import DRIFT_LIMIT_PX, DRIFT_PX, DRIFT_STD_PX
from policies.survey.config import GateConfig

Floats = NDArray[np.float64]
Verdict = Literal["fit", "again", "unfit"]

MEMORY = 15
"""Images from which what is usual is taken."""
ENOUGH = 3
"""Fewer than these say nothing about what is usual."""
LONGEST_S = 120.0
"""Longest wait for a sample that moves steadily."""


class Steadiness:
    """Holds the movement inside each image against what is usual; a fold over what was seen.

    What all images show alike is the scan's own distortion at another magnification. What images of one tile show alike
    while the sample stands still between them was in its overview. Neither is the fault of the image.

    Parameters
    ----------
    config : GateConfig
        How many pixels the sample may move, and how often an image is taken again.
    creep_time_s : float
        Time constant with which a moving sample is expected to settle.
    """

    def __init__(self, config: GateConfig, creep_time_s: float) -> None:
        self._config, self._creep_time_s = config, creep_time_s
        self._usual: list[tuple[float, float]] = []
        self._overviews: dict[int, tuple[float, float]] = {}
        self._last: tuple[float, float, float, float] | None = None
        self._repeats = 0
        self.note: dict[str, float] = {}
        """What was told of the last image; for the decision that follows it."""
        self.remark = ""
        """Why the last image is taken again or not believed; empty where it is fit."""
        self.wait_s = 0.0
        """How long to wait before the image is taken again."""

    def judge(self, tile: int, found: Match, drift: ImageDrift | None, pixel_m: float) -> Verdict:
        """Return whether places may be taken from an image.

        Returns
        -------
        str
            ``fit``, also where its particles do not tell; ``again``: to be taken again; ``unfit``: it has been taken
            again often enough and the sample still moved.
        """
        limit_px = self._config.max_drift_px
        if drift is None or limit_px is None:
            self.forget()
            return "fit"
        moved_m = np.array([drift.dx_m, drift.dy_m])
        length_px = float(np.hypot(*(moved_m - self._expected_m(tile)))) / pixel_m
        self.note = {DRIFT_PX: length_px, DRIFT_STD_PX: drift.std_m / pixel_m}
        if not surely_moved(length_px, drift.std_m / pixel_m, limit_px):
            if tile not in self._overviews:
                self._usual = [*self._usual, (drift.dx_m, drift.dy_m)][-MEMORY:]
            self._last, self._repeats = None, 0
            return "fit"
        return self._moved(tile, found, drift, pixel_m, limit_px)

    def _expected_m(self, tile: int) -> Floats:
        if tile in self._overviews:
            return np.array(self._overviews[tile])
        return np.median(np.array(self._usual), axis=0) if len(self._usual) >= ENOUGH else np.zeros(2)

    def _moved(self, tile: int, found: Match, drift: ImageDrift, pixel_m: float, limit_px: float) -> Verdict:
        self.note[DRIFT_LIMIT_PX] = limit_px
        how = "jumped" if drift.sudden else "moved"
        told = f"{self.note[DRIFT_PX]:.1f} ± {self.note[DRIFT_STD_PX]:.1f} px, {limit_px:g} allowed"
        if self._was_so_before(found, drift, limit_px * pixel_m):
            self._overviews[tile] = (drift.dx_m, drift.dy_m)
            self._last, self._repeats = None, 0
            self.remark = f"the sample {how} while the tile's overview was written, not in this image ({told})"
            return "fit"
        self._last = (drift.dx_m, drift.dy_m, found.dx_m, found.dy_m)
        written = f"the sample {how} while the image before was written ({told})"
        if self._repeats < self._config.repeats:
            self._repeats += 1
            self.wait_s = 0.0 if drift.sudden else self._settled_after_s(limit_px)
            self.remark = f"{written}: it is taken again"
            return "again"
        self._last, self._repeats = None, 0
        self.remark = f"{written}: no place is taken from it"
        return "unfit"

    def _settled_after_s(self, limit_px: float) -> float:
        return min(self._creep_time_s * math.log(max(self.note[DRIFT_PX] / limit_px, 1.0)), LONGEST_S)

    def _was_so_before(self, found: Match, drift: ImageDrift, limit_m: float) -> bool:
        """Return whether the image before told the same while the sample stood still between them.

        A sample that moves inside each of two images moves at least as far from one to the other.
        """
        if self._last is None:
            return False
        apart_m = math.hypot(drift.dx_m - self._last[0], drift.dy_m - self._last[1])
        between_m = math.hypot(found.dx_m - self._last[2], found.dy_m - self._last[3])
        return apart_m < max(limit_m, 3.0 * drift.std_m) and between_m < drift.length_m / 2.0

    def next_act(self) -> None:
        """Learn that the decision after the image was carried out."""
        self.note, self.remark = {}, ""

    def waited(self) -> None:
        """Learn that the sample was given the time to settle."""
        self.wait_s = 0.0

    def forget(self) -> None:
        """Learn that the images before are no longer those of the next one."""
        self._last, self._repeats, self.wait_s = None, 0, 0.0

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data."""
        return {
            "usual": [list(one) for one in self._usual],
            "overviews": [[tile, *moved] for tile, moved in self._overviews.items()],
            "last": list(self._last) if self._last else None,
            "repeats": self._repeats,
            "note": {**self.note},
            "remark": self.remark,
            "wait_s": self.wait_s,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self._usual = [(float(x), float(y)) for x, y in state["usual"]]
        self._overviews = {int(tile): (float(x), float(y)) for tile, x, y in state["overviews"]}
        last = state["last"]
        self._last = (last[0], last[1], last[2], last[3]) if last else None
        self._repeats, self.wait_s = int(state["repeats"]), float(state["wait_s"])
        self.note, self.remark = dict(state["note"]), str(state["remark"])
