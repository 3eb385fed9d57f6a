"""The model's maps as the dashboard shows them: posterior mean, uncertainty and acquisition value of every place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autoscope.dashboard.model import RunModel

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Maps:
    """What a model thought of every candidate before a step.

    ``x_m`` and ``y_m`` (n,) are places in the stage frame; ``layers`` hold (n,) numbers by name (``mean``, ``std``,
    ``acquisition``), NaN where there is none.
    """

    step: int
    target: str
    unit: str
    x_m: Floats
    y_m: Floats
    layers: dict[str, Floats]


class MapSource(Protocol):
    """Where maps come from."""

    def latest(self, at: int | None, model: RunModel) -> Maps | None:
        """Return the maps as they are, or were before a step; the same object where nothing changed.

        None where there are none (yet).
        """

    def why_none(self) -> str:
        """Return why there are none, for people."""

    def close(self) -> None:
        """Want no more."""


class NoMaps:
    """There are none."""

    def latest(self, at: int | None, model: RunModel) -> Maps | None:
        """Return None."""
        return None

    def why_none(self) -> str:
        """Return that nothing makes them."""
        return "no model makes maps of this run"

    def close(self) -> None:
        """Do nothing."""
