"""The spectrum of a particle: what is expected of it, why it is taken, and what came of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoscope.records import Candidate, Decision, Measure, Result
from policies.survey.catalogue import Catalogue
from policies.survey.config import SurveyConfig
from policies.survey.ranking import Ranking

COUNTS = "counts"
"""Unit of scalars that grow with the dwell time."""
CONFIRM = "the short look leaves doubt: a spectrum of full dwell decides"
SHOWN = 4
"""Particles told in a decision: the one measured, and the next in line."""

Column = list[float] | list[None]


@dataclass(frozen=True)
class Forecast:
    """For each of some particles the chance to be interesting, and mean and standard deviation of the target.

    All None while there is no model.
    """

    chance: Column
    mean: Column
    std: Column

    @classmethod
    def of(cls, ranking: Ranking, catalogue: Catalogue, particles: list[int], share: float) -> Forecast:
        """Return what the ranking expects of particles that are looked at for a share of the full dwell."""
        if not ranking.ready:
            nothing: list[None] = [None] * len(particles)
            return cls(nothing, nothing, nothing)
        chance, mean, std = ranking.expected(catalogue, particles, share)
        return cls(chance.tolist(), mean.tolist(), std.tolist())


def why_measured(chance: float | None, rate: float, target: str, *, visiting: bool) -> str:
    """Return why a particle is measured, as a sentence with its numbers."""
    if chance is None:
        return "a particle unlike the others of this tile: teaches the model what to look for"
    if not visiting:
        return f"unlike the others of this tile; a chance of {chance:.1%} to stand out in {target}"
    usual = f"{rate:.1%} of those measured did"
    return f"a chance of {chance:.1%} to stand out in {target} ({usual}): highest of those left here"


def spectrum_decision(
    queue: list[int], probes: list[Measure], forecast: Forecast, reason: str, ranking: Ranking, beta: float
) -> Decision:
    """Return the decision to measure the first particle of a queue, with the next in line as runners-up."""
    chance, mean, std = forecast.chance, forecast.mean, forecast.std
    runners_up = tuple(
        Candidate(action=probe, mean=mean[k], std=std[k], value=chance[k]) for k, probe in enumerate(probes) if k > 0
    )
    return Decision(
        action=probes[0],
        purpose="spectrum",
        reason=reason,
        target=f"particle {queue[0]}",
        predicted_mean=mean[0],
        predicted_std=std[0],
        acquisition="probability_of_interest" if ranking.ready else "diversity",
        acquisition_value=chance[0],
        acquisition_parameters={"beta": beta},
        runners_up=runners_up,
        candidates=len(queue),
        candidates_sha256=digest(np.asarray(queue, dtype="<i8")),
        fit=ranking.summary,
        data_sha256=ranking.data_sha256,
    )


def digest(candidates: np.ndarray[Any, np.dtype[Any]]) -> str:
    """Return the hash of a list of candidates."""
    return hashlib.sha256(candidates.tobytes()).hexdigest()


@dataclass(frozen=True)
class Reading:
    """What a spectrum says of its particle, scaled to the full dwell.

    Attributes
    ----------
    hit : bool
        Whether the particle was hit.
    value, std : float
        The target; absent where it could not be had.
    counts : bool
        Whether the target grows with the dwell.
    """

    hit: bool
    value: float | None = None
    std: float = 0.0
    counts: bool = False


def read(result: Result, config: SurveyConfig, dwell_s: float) -> Reading:
    """Return what a spectrum of a dwell time says."""
    scalar = result.value(config.target)
    if not _is_hit(result, config, dwell_s) or scalar is None:
        return Reading(hit=False)
    counts = scalar.unit == COUNTS
    scale = config.dwell_s / dwell_s if counts else 1.0
    return Reading(True, scale * scalar.value, scale * scalar.std, counts)


def _is_hit(result: Result, config: SurveyConfig, dwell_s: float) -> bool:
    if config.presence is None:
        return True
    shown = result.value(config.presence.target)
    if shown is None:
        return False
    share = dwell_s / config.dwell_s if shown.unit == COUNTS else 1.0
    return shown.value >= config.presence.at_least * share
