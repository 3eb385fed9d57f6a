"""Noise that does not follow the luck of each draw: what measurements state of themselves, at the values expected.

The uncertainty that counting data state is the root of what was counted. A draw that fell low then states less noise
than one that fell high, and whoever weighs by it is drawn down: Neyman's chi square, biased by about one count
whatever the counts are (Mighell, ApJ 518, 380, 1999, section 2). Weighing by the noise at the *expected* value is free
of it (iteratively reweighted least squares; McCullagh & Nelder, *Generalized Linear Models*, 1989, section 2.5).
Expected is what the others foretell, and the value itself as far as they do not know better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.protocols import JsonValue

Array = NDArray[np.float64]

LEAST = 8
"""With fewer measurements than this nothing is said of how noise depends on the value."""


@dataclass(frozen=True)
class NoiseLaw:
    """How the stated variance depends on the value: a straight line, within what was stated so far.

    Attributes
    ----------
    level, slope : float
        Variance at value zero, and its change by the value.
    low, high : float
        Least and most of the variances stated; beyond them nothing is foretold.

    Examples
    --------
    >>> law = NoiseLaw.of(np.arange(1.0, 21.0), np.sqrt(np.arange(1.0, 21.0)))
    >>> round(law.level, 6), round(law.slope, 6)
    (0.0, 1.0)
    >>> law.steadied(np.array([2.0]), np.array([4.0]), np.array([9.0]), np.array([0.0])).round(6).tolist()
    [3.0]
    """

    level: float = 1.0
    slope: float = 0.0
    low: float = 1.0
    high: float = 1.0

    @classmethod
    def of(cls, y: Array, stated_std: Array) -> NoiseLaw:
        """Return the law of measurements (n,) and their stated standard deviations (n,); flat where none shows."""
        variance = np.square(stated_std)
        low, high = (float(variance.min()), float(variance.max())) if len(y) else (0.0, 0.0)
        if len(y) < LEAST or not 0.0 < low < high or np.ptp(y) == 0.0:
            return cls()
        slope, level = np.polyfit(y, variance, 1)
        return cls(float(level), float(slope), low, high)

    def variance(self, values: Array) -> Array:
        """Return the variance to be stated at expected values, same shape."""
        return np.clip(self.level + self.slope * values, self.low, self.high)

    def steadied(self, stated_std: Array, y: Array, mean: Array, std: Array) -> Array:
        """Return what measurements (n,) would state, had each value been the one expected there, standard deviations.

        What does not depend on the value, as another dwell time or background, stays in them.

        Parameters
        ----------
        stated_std, y : array
            What they state, and their values (n,).
        mean, std : array
            Of the noise-free value, foretold without the measurement itself, (n,). Where little was foretold, as of the
            first particle on an empty support, the value itself says best what to expect.
        """
        wide, noise = np.square(std), self.variance(mean)
        expected = mean + (y - mean) * wide / (wide + noise)
        return np.asarray(stated_std * np.sqrt(self.variance(expected) / self.variance(y)))

    def plain(self) -> dict[str, JsonValue]:
        """Return the law as JSON data from which `from_plain` makes an equal one."""
        return dict(asdict(self))

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> NoiseLaw:
        """Return the law written by `plain`."""
        return cls(**{name: float(value) for name, value in data.items()})


def told_by_the_rest(y: Array, stated_std: Array) -> tuple[float, float]:
    """Return mean and std of a further true value, foretold by nothing but the mean and spread of values (n,).

    Examples
    --------
    >>> told_by_the_rest(np.array([1.0, 3.0]), np.array([0.0, 0.0]))
    (2.0, 1.0)
    """
    spread = max(float(np.var(y) - np.mean(np.square(stated_std))), 0.0)
    return float(np.mean(y)), math.sqrt(spread)
