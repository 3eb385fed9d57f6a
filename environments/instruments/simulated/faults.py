"""Faults on purpose: the beam fails, the vacuum rises, the sample jumps, a detector misbehaves, the driver hangs.

All are functions of time alone, so that a run with faults repeats like any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import InstrumentError
from environments.instruments.simulated.config import DetectorConfig, FaultConfig, FaultsConfig

Array = NDArray[np.float64]

BLINDING_GAIN = 1e5
"""Gain of a saturated detector: nearly every pixel reads full scale."""
STEPS = 33
"""The share of an exposure that a failing beam leaves is averaged over this many instants."""


class Faults:
    """What goes wrong and when, on the instrument's own time.

    Parameters
    ----------
    config : FaultsConfig
        Faults at given times, and how many more at random.
    rng : numpy.random.Generator
        Source of the random ones.
    """

    def __init__(self, config: FaultsConfig, rng: np.random.Generator) -> None:
        self._config = config
        self.planned: tuple[FaultConfig, ...] = tuple(
            sorted((*config.events, *_drawn(config, rng)), key=lambda fault: fault.at_s)
        )
        """All faults, the earliest first."""
        self._jumps = [(f.at_s, f.jump_m * _direction(f.direction_rad)) for f in self._of("drift_jump")]

    def _of(self, kind: str) -> list[FaultConfig]:
        return [fault for fault in self.planned if fault.kind == kind]

    def _active(self, kind: str, time_s: float) -> FaultConfig | None:
        return next((f for f in self._of(kind) if f.at_s <= time_s < f.at_s + f.lasts_s), None)

    def beam_share(self, begin_s: float, end_s: float | None = None) -> float:
        """Return the part of the beam current that reaches the sample at an instant, or on average over a span."""
        losses = self._of("beam_loss")
        if not losses:
            return 1.0
        times = np.array([begin_s]) if end_s is None else np.linspace(begin_s, end_s, STEPS)
        share = np.ones(len(times))
        for loss in losses:
            share[(times >= loss.at_s) & (times < loss.at_s + loss.lasts_s)] *= loss.remaining
        return float(share.mean())

    def blanker_sticks(self, time_s: float) -> bool:
        """Return whether the blanker stays open at an instant, whatever it was told."""
        return self._active("blanker", time_s) is not None

    def pressure_pa(self, time_s: float) -> float | None:
        """Return what the gauge reads, or None where there is no gauge."""
        if self._config.base_pressure_pa is None and not self._of("vacuum"):
            return None
        leak = self._active("vacuum", time_s)
        return leak.pressure_pa if leak else self._config.base_pressure_pa or 2e-5

    def jump_m(self, time_s: Array) -> Array:
        """Return by how much the sample has jumped by the given times, (n,) -> (n, 2), metres."""
        total = np.zeros((len(time_s), 2))
        for at_s, jump_m in self._jumps:
            total += np.where(np.asarray(time_s)[:, None] >= at_s, jump_m, 0.0)
        return total

    def detectors(self, detectors: Sequence[DetectorConfig], time_s: float) -> tuple[DetectorConfig, ...]:
        """Return the image detectors as they behave at an instant."""
        gain = 1.0
        if (dim := self._active("dim", time_s)) is not None:
            gain *= dim.remaining
        if self._active("saturated", time_s) is not None:
            gain *= BLINDING_GAIN
        return tuple(d if gain == 1.0 else d.replace(gain=d.gain * gain) for d in detectors)

    def hangs_until_s(self, time_s: float) -> float | None:
        """Return until when the driver hangs, or None where it answers."""
        hang = self._active("hang", time_s)
        return hang.at_s + hang.lasts_s if hang else None


def hung(act_id: str, waited_s: float) -> InstrumentError:
    """Return the error with which an act ends that the driver did not answer."""
    return InstrumentError(
        "the driver did not answer; the act was not done",
        where=act_id,
        value=waited_s,
        limit="s waited",
        remedy="Ask again: it answers when it has recovered",
    )


def _direction(angle_rad: float) -> Array:
    return np.array([math.cos(angle_rad), math.sin(angle_rad)])


def _drawn(config: FaultsConfig, rng: np.random.Generator) -> list[FaultConfig]:
    drawn = config.random
    if drawn is None:
        return []
    times = np.sort(rng.uniform(0.0, drawn.within_s, drawn.count))
    order = rng.permutation(drawn.count) % len(drawn.kinds)
    angles = rng.uniform(0.0, 2.0 * math.pi, drawn.count)
    return [
        FaultConfig(kind=drawn.kinds[k], at_s=float(t), direction_rad=float(angle))
        for t, k, angle in zip(times, order, angles, strict=True)
    ]
