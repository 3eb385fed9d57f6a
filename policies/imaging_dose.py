"""What each place has received: the looks around it, and what fell on the whole field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.protocols import JsonValue
from policies.pixels import Indices, PixelGrid

Array = NDArray[np.float64]


class ReceivedDose:
    """Fluence at the pixels of a field.

    The electrons of a look spread over a square that lies anywhere around it, of side ``exposed_m`` in focus, so a
    place at a distance (dx, dy) shares it with chance ``(1 - |dx| / side)(1 - |dy| / side)``.
    """

    def __init__(self, exposed_m: float) -> None:
        self.exposed_m = exposed_m
        self.everywhere_e_per_m2 = 0.0
        """From images and spectrum images of the whole field."""
        self._beams: list[tuple[int, float, float]] = []

    def add(self, pixel: int, dose_e: float, side_m: float | None = None) -> None:
        """Account for a look at a pixel, in focus or spread over a wider square."""
        self._beams.append((pixel, dose_e, side_m or self.exposed_m))

    def received_e_per_m2(self, grid: PixelGrid, pixels: Indices) -> Array:
        """Return the fluence that pixels have received, (p,)."""
        total = np.full(len(pixels), self.everywhere_e_per_m2)
        if not self._beams:
            return total
        at = np.array([pixel for pixel, _, _ in self._beams], dtype=np.int64)
        dose, side = np.array([beam[1:] for beam in self._beams]).T
        apart = np.abs(grid.positions(pixels)[:, None, :] - grid.positions(at)[None])
        share = np.maximum(1.0 - apart / side[:, None], 0.0).prod(axis=2)
        return np.asarray(total + share @ (dose / side**2))

    def state(self) -> dict[str, JsonValue]:
        """Return everything received as JSON data."""
        return {"everywhere": self.everywhere_e_per_m2, "beams": [list(beam) for beam in self._beams]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state returned by `state`."""
        self.everywhere_e_per_m2 = float(state["everywhere"])
        self._beams = [(int(pixel), float(dose_e), float(side_m)) for pixel, dose_e, side_m in state["beams"]]
