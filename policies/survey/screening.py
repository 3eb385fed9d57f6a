"""A short look first: the dwell time at which an interesting particle can just be told from a common one.

The full dwell is what a spectrum needs to be worth keeping. To see that a particle is *not* interesting takes less, and
how much less is learnt from the first spectra: the rates of common and of interesting particles, and how they scatter.
A short look that leaves doubt is followed by a spectrum of full dwell at once. This is a two-stage test in the manner
of Wald (Sequential Analysis, 1947), with the chance of passing over an interesting particle as its only setting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from autoscope.protocols import JsonValue
from policies.survey.config import ScreenConfig
from policies.survey.ranking import FEW, outstanding

Floats = NDArray[np.float64]
LADDER = math.sqrt(2.0)
"""Ratio of neighbouring dwell times that are considered."""
WEAKEST = 2.0
"""An interesting particle may be this many standard deviations of the interesting ones weaker than their mean."""
LEAST_SHARE = 0.25
"""... but not weaker than this part of the mean's distance from the common level."""


@dataclass(frozen=True)
class ShortLook:
    """A dwell time, and the target's value from which a particle seen for so long is looked at again."""

    dwell_s: float
    suspect_from: float
    """In the unit of a spectrum of full dwell."""
    false_alarms: float
    """Share of common particles expected to be looked at again."""


class Screening:
    """Learns from spectra of full dwell how short a look may be.

    Parameters
    ----------
    config : ScreenConfig
        What may be missed, and the shortest dwell.
    full_s : float
        The full dwell.
    """

    def __init__(self, config: ScreenConfig | None, full_s: float) -> None:
        self._config, self._full_s = config, full_s
        self._seen: list[tuple[float, float]] = []
        self.look: ShortLook | None = None

    @property
    def dwell_s(self) -> float:
        """Dwell time of the first look at a particle."""
        return self.look.dwell_s if self.look else self._full_s

    def tell(self, value: float, std: float) -> None:
        """Learn the target's value, with its uncertainty, of a spectrum of full dwell."""
        if self._config is None:
            return
        self._seen.append((value, std))
        if len(self._seen) % self._config.learn == 0 or (self.look is None and len(self._seen) > self._config.learn):
            self.look = shortest_look(np.array(self._seen), self._config, self._full_s)

    def is_suspect(self, value: float) -> bool:
        """Return whether a short look, scaled to the full dwell, leaves doubt."""
        return self.look is not None and value >= self.look.suspect_from

    def reason(self) -> str:
        """Return why the look is short, as a clause."""
        if self.look is None or self._config is None:
            return ""
        return (
            f"; a look of {self.look.dwell_s:.2g} s passes over {self._config.miss:.1%} of the interesting ones and "
            f"brings back {self.look.false_alarms:.1%} of the others"
        )

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data."""
        look = self.look
        return {
            "seen": [list(pair) for pair in self._seen],
            "look": [look.dwell_s, look.suspect_from, look.false_alarms] if look else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self._seen = [(float(value), float(std)) for value, std in state["seen"]]
        self.look = ShortLook(*state["look"]) if state["look"] else None


def shortest_look(seen: Floats, config: ScreenConfig, full_s: float) -> ShortLook | None:
    """Return the look that costs the least time a particle, or None where none is shorter than the full dwell.

    A look of ``t`` brings back what is not ``z`` standard deviations below the weakest interesting particle, where
    ``z`` belongs to ``config.miss``; counting noise grows as ``t`` shrinks. The time a particle takes is then ``t``
    and, for the false alarms, the full dwell again.

    Parameters
    ----------
    seen : (n, 2) float64
        Values and standard uncertainties of spectra of full dwell.
    """
    values, stds = seen.T
    interesting = outstanding(values, stds)
    if np.sum(interesting) < FEW:
        return None
    common, high = values[~interesting], values[interesting]
    level = float(np.median(common))
    weakest = max(float(np.mean(high) - WEAKEST * np.std(high)), level + LEAST_SHARE * float(np.mean(high) - level))
    own = max(0.0, float(np.var(common)) - float(np.mean(stds[~interesting] ** 2)))
    z_miss = float(norm.isf(config.miss))
    best: tuple[float, ShortLook] | None = None
    dwell_s = full_s / LADDER
    while dwell_s >= config.from_s:
        shrink = full_s / dwell_s
        suspect_from = weakest - z_miss * math.sqrt(float(np.mean(stds[interesting] ** 2)) * shrink)
        noise = math.sqrt(own + float(np.mean(stds[~interesting] ** 2)) * shrink)
        false_alarms = float(norm.sf((suspect_from - level) / noise))
        cost_s = dwell_s + false_alarms * full_s
        if best is None or cost_s < best[0]:
            best = cost_s, ShortLook(dwell_s, suspect_from, false_alarms)
        dwell_s /= LADDER
    return best[1] if best and best[0] < full_s else None
