"""How much has been learnt, and how honest the predictions were: from each prediction and what was measured then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscope.dashboard.columns import Steps

Floats = NDArray[np.float64]

Z_90 = 1.6448536269514722
"""Half width of the central 90 % interval of a Gaussian, in standard deviations."""
WINDOW = 30
"""Predictions that make one point of the running coverage."""


@dataclass(frozen=True)
class Learning:
    """The measured values of a target in their order, (n,), and the best so far."""

    steps: NDArray[np.int64]
    values: Floats
    best: Floats


@dataclass(frozen=True)
class Honesty:
    """Predictions against what was measured then.

    ``z`` (n,) are the errors in predicted standard deviations of prediction and measurement together; ``coverage`` is
    the share of the last `WINDOW` that lay in the 90 % interval, from the `WINDOW`-th on.
    """

    steps: NDArray[np.int64]
    z: Floats
    coverage: Floats

    @property
    def covered(self) -> float | None:
        """Share of all values that lay in their 90 % intervals; None before the first prediction."""
        return float((np.abs(self.z) <= Z_90).mean()) if self.z.size else None


def learning(steps: Steps, target: str, *, least: bool = False) -> Learning:
    """Return the learning curve of a target; ``least``: the lowest value is the best."""
    values = steps.values.get(target, np.full(len(steps), np.nan))
    measured = np.flatnonzero(np.isfinite(values))
    found = values[measured]
    return Learning(measured, found, (np.minimum if least else np.maximum).accumulate(found))


def honesty(steps: Steps, target: str) -> Honesty:
    """Return how the predictions of a target compare with its measured values."""
    nothing = np.full(len(steps), np.nan)
    values, noise = steps.values.get(target, nothing), steps.uncertainties.get(target, nothing)
    spread = np.hypot(steps.std, noise)
    known = np.flatnonzero(np.isfinite(values) & np.isfinite(steps.mean) & (spread > 0))
    z = (values[known] - steps.mean[known]) / spread[known]
    inside = np.concatenate([[0.0], np.cumsum(np.abs(z) <= Z_90)])
    width = min(WINDOW, max(1, z.size))
    coverage = (inside[width:] - inside[:-width]) / width if z.size >= WINDOW else np.zeros(0)
    return Honesty(known, z, coverage)
