"""What looks are worth, by what is wanted: a map, or the best place with its value; and when enough is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autoscope.acquisition.exposure_choice import CountingNoise, variance_reduction
from policies.imaging_belief import Belief
from policies.imaging_model import Indices

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Goal = Literal["maximise", "minimise", "map"]

HARDLY = 0.01
"""Where the best look would lower a variance by less than this share, nothing can be known better."""
FAINT = 0.05
"""No look is believed to hold less than this share of the mean rate, when its noise is foreseen."""


@dataclass(frozen=True)
class Wanted:
    """What a run is for: the goal, how precisely, and how far from the best place is as good as best."""

    goal: Goal
    precision: float | None
    indifference: float
    certainty: float
    """In standard deviations: how surely no other place is better."""
    per: str
    """What is paid, in words."""


@dataclass(frozen=True)
class Worth:
    """Worth of every look, (m, k), by what name, why in words, and, if nothing more is to be done, why not."""

    values: Array
    name: str
    reason: str
    done: str | None = None


class Foreseen:
    """What every look (place, exposure) would measure, and with what noise.

    Parameters
    ----------
    belief : Belief
    noise : CountingNoise
    useful_e : array
        Electrons of each look that meet intact material, (m, k).
    blurs : array of int
        Which defocus each exposure has, (k,); 0 is in focus.
    typical : float
        The mean rate of all looks.
    """

    def __init__(
        self, belief: Belief, noise: CountingNoise, useful_e: Array, blurs: tuple[int, ...], typical: float
    ) -> None:
        self.belief, self._blurs = belief, blurs
        through = {blur: belief.seen_through(blur) for blur in set(blurs)}
        self.mean: Array = np.stack([through[blur][0] for blur in blurs], axis=1)
        """(m, k), of what the probe averages."""
        self.std: Array = np.stack([through[blur][1] for blur in blurs], axis=1)
        self.noise: Array = noise.variance(np.maximum(self.mean, FAINT * max(typical, 0.0)), useful_e)
        """Variance, (m, k)."""

    def squared_covariance(self, contrast: Array) -> Array:
        """Return the squared covariance (m, k) of what looks measure with quantities, averaged over those.

        ``contrast`` (s, r) is the covariance of the rate of all the belief's support with each of r quantities.
        """
        squares = {b: np.square(self.belief.averaged(contrast, b)).mean(axis=1) for b in set(self._blurs)}
        return np.stack([squares[blur] for blur in self._blurs], axis=1)

    def reduction(self, contrast: Array) -> Array:
        """Return by how much each look lowers the mean variance of those quantities, (m, k)."""
        return variance_reduction(self.squared_covariance(contrast), self.std, self.noise)


def worth(foreseen: Foreseen, wanted: Wanted, allowed: Mask, references: Indices) -> Worth:
    """Return what looks are worth: of the map at the reference places, or of the best place among all."""
    if wanted.goal == "map":
        return _map(foreseen, wanted, references)
    sign = 1.0 if wanted.goal == "maximise" else -1.0
    return _best(foreseen, wanted, allowed, sign)


def _map(foreseen: Foreseen, wanted: Wanted, references: Indices) -> Worth:
    belief = foreseen.belief
    error, span = float(np.sqrt(np.mean(belief.std**2))), float(np.ptp(belief.mean))
    known = error / span if span > 0.0 else math.inf
    done = None
    if wanted.precision is not None and known <= wanted.precision:
        done = f"The map is known to {known:.1%} of its range."
    reason = f"lowers the error of the map most per {wanted.per}; it is now {known:.1%} of its range"
    return Worth(foreseen.reduction(belief.covariance(references)), "map_error", reason, done)


def _best(foreseen: Foreseen, wanted: Wanted, allowed: Mask, sign: float) -> Worth:
    """Settle who is best first, then how good it is.

    The strongest rival is the place most likely better than the leader by more than does not matter, as upper bounds
    say (Kalyanakrishnan et al., ICML 2012, compare one upper with one lower bound so; here the two are correlated).
    Looks are worth what they take from the variance of the difference of the two, wherever they are taken.
    """
    belief = foreseen.belief
    leader = int(np.argmax(sign * belief.mean))
    height = _height(belief, leader, sign)
    rival, excess = _rival(belief, wanted, leader, sign, wanted.indifference * height)
    if wanted.precision is None or excess > 0.0:
        pair = belief.covariance(np.array([rival, leader], dtype=np.int64))
        contrast = pair[:, :1] - pair[:, 1:]
        values = foreseen.reduction(contrast)
        doubt = float(contrast[rival, 0] - contrast[leader, 0])
        if np.where(allowed, values, 0.0).max() > HARDLY * doubt or wanted.precision is None:
            reason = f"tells most per {wanted.per} whether another place is better than the best known"
            return Worth(values, "settling", reason)
    return _confirmation(foreseen, wanted, allowed, leader, height, excess > 0.0)


def _height(belief: Belief, leader: int, sign: float) -> float:
    """Return what precision is relative to: the highest value; for the lowest, which may be zero, the range."""
    return max(float(belief.mean[leader]), 0.0) if sign > 0.0 else float(np.ptp(belief.mean))


def _rival(belief: Belief, wanted: Wanted, leader: int, sign: float, slack: float) -> tuple[int, float]:
    """Return the strongest rival, and by how much it may exceed the leader beyond the slack."""
    shared = belief.covariance(np.array([leader], dtype=np.int64))[: len(belief.mean), 0]
    apart = np.sqrt(np.maximum(belief.std**2 + belief.std[leader] ** 2 - 2.0 * shared, 0.0))
    excess = sign * (belief.mean - belief.mean[leader]) - slack + wanted.certainty * apart
    excess[leader] = -math.inf
    rival = int(np.argmax(excess))
    return rival, float(excess[rival])


def _confirmation(
    foreseen: Foreseen, wanted: Wanted, allowed: Mask, leader: int, height: float, open_question: bool
) -> Worth:
    belief, precision = foreseen.belief, wanted.precision or 0.0
    word = "highest" if wanted.goal == "maximise" else "lowest"
    known = float(belief.std[leader]) / height if height > 0.0 else math.inf
    values = foreseen.reduction(belief.covariance(np.array([leader], dtype=np.int64)))
    reason = f"tells most per {wanted.per} about the {word} place, now known to {known:.1%}"
    rest = "no other is likely better" if not open_question else "no look allowed tells whether another is better"
    done = None
    if known <= precision:
        done = f"The {word} value is known to {known:.1%}, and {rest}."
    elif np.where(allowed, values, 0.0).max() < HARDLY * float(belief.std[leader]) ** 2:
        done = f"The {word} value is known to {known:.1%}, and no look allowed tells more about it."
    return Worth(values, "confirmation", reason, done)
