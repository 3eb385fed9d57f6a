"""The energy-loss spectrometer: where on their axis losses appear as its supplies drift."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from autoscope.records import Axis
from environments.instruments.simulated.config import SpectrometerConfig
from environments.instruments.simulated.drift import RandomWalk

Array = NDArray[np.float64]

LOSS_AXIS = "energy_loss"
"""Name of the axis of spectra that a spectrometer disperses; X-rays do not pass it."""


class Spectrometer:
    """How far the zero-loss peak has wandered: a hidden offset, a ramp and a random walk, functions of time alone.

    Parameters
    ----------
    config : SpectrometerConfig or None
        Sizes; None: it is steady.
    rng : numpy.random.Generator
        Source of the walk.
    """

    def __init__(self, config: SpectrometerConfig | None, rng: np.random.Generator) -> None:
        self._config = config
        walk_per_hour = config.walk_per_hour_ev if config else 0.0
        self._walk = RandomWalk(int(rng.integers(2**63)), walk_per_hour / math.sqrt(3600.0))

    def drift_ev(self, time_s: float) -> float:
        """Return by how much losses appear too high at a time since the start, offset not counted."""
        if self._config is None:
            return 0.0
        walked = float(self._walk.at(np.array([time_s]))[0, 0])
        return self._config.hidden_offset_ev + self._config.ramp_per_hour_ev * time_s / 3600.0 + walked


def shifted(yields: Array, axis: Axis, shift_ev: float) -> Array:
    """Return spectra (..., channel) moved along a loss axis, each channel shared between the two it falls on.

    The centre of every peak moves by exactly the shift; what leaves the axis is lost, and nothing comes in. Spectra
    on other axes are returned as they are.
    """
    if axis.name != LOSS_AXIS or shift_ev == 0.0:
        return yields
    channels = shift_ev / axis.scale
    whole = math.floor(channels)
    part = channels - whole
    return (1.0 - part) * _rolled(yields, whole) + part * _rolled(yields, whole + 1)


def _rolled(yields: Array, by: int) -> Array:
    moved, size = np.zeros_like(yields), yields.shape[-1]
    if abs(by) < size:
        moved[..., max(by, 0) : size + min(by, 0)] = yields[..., max(-by, 0) : size - max(by, 0)]
    return moved
