"""What detectors give without beam: a pedestal that wanders over hours, dark current, and a few hot channels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.chance import stream
from autoscope.errors import ConfigError
from environments.instruments.simulated.config import DarkSignalConfig, DetectorConfig
from environments.instruments.simulated.detectors import count_spectrum
from environments.instruments.simulated.drift import RandomWalk

Array = NDArray[np.float64]


class DarkSignals:
    """The dark signals of all detectors that have one; functions of time alone, so that a run repeats.

    Parameters
    ----------
    configs : sequence of DarkSignalConfig
        One for each detector or signal that has one.
    sizes : mapping of str to int
        Values that each signal or detector has: channels of a spectrometer, 1 for an image detector.
    seed : int
        Fixes pattern, hot channels and walks.

    Raises
    ------
    ConfigError
        A name is of no detector or signal, or given twice.
    """

    def __init__(self, configs: Sequence[DarkSignalConfig], sizes: Mapping[str, int], seed: int) -> None:
        self._configs: dict[str, DarkSignalConfig] = {}
        for config in configs:
            if config.name not in sizes or config.name in self._configs:
                what = (
                    "is given twice" if config.name in self._configs else "is no detector or signal of this microscope"
                )
                raise ConfigError(f"the name {what}", where="dark_signals", value=config.name, limit=", ".join(sizes))
            self._configs[config.name] = config
        self._fixed = {name: _pattern(c, sizes[name], seed) for name, c in self._configs.items()}
        self._walks = {
            name: RandomWalk(
                int(stream(seed, f"dark walk/{name}").integers(2**63)), c.walk_per_hour / math.sqrt(3600.0), step_s=60.0
            )
            for name, c in self._configs.items()
        }

    def pedestal(self, name: str, time_s: float) -> Array:
        """Return the mean reading of each channel for no dwell, at a time since the start; 0 without a dark signal."""
        config = self._configs.get(name)
        if config is None:
            return np.zeros(1)
        walked = float(self._walks[name].at(np.array([time_s]))[0, 0])
        return np.asarray(config.pedestal + config.ramp_per_hour * time_s / 3600.0 + walked + self._fixed[name][0])

    def dark_events(self, name: str, dwell_s: float) -> Array:
        """Return how many events each channel counts on average without beam; 0 without a dark signal."""
        return self._fixed[name][1] * dwell_s if name in self._configs else np.zeros(1)

    def detector(self, detector: DetectorConfig, time_s: float) -> DetectorConfig:
        """Return an image detector with its offset as it is at a time since the start; never below zero."""
        if detector.name not in self._configs:
            return detector
        return detector.replace(offset=max(0.0, detector.offset + float(self.pedestal(detector.name, time_s)[0])))

    def spectra(
        self,
        name: str,
        mean: Array,
        dwell_s: float,
        time_s: float,
        rng: np.random.Generator,
        dtype: type[np.unsignedinteger[Any]],
    ) -> NDArray[Any]:
        """Return what a spectrometer reads, shape (..., channel), where ``mean`` events of the beam are expected.

        Without a dark signal these are exact Poisson counts; with one, the events of both, the pedestal and normal
        read-out noise, rounded and cut off at the ends of the converter.
        """
        config = self._configs.get(name)
        if config is None:
            return count_spectrum(mean, rng, dtype)
        events = rng.poisson(mean + self.dark_events(name, dwell_s)).astype(np.float64)
        events += self.pedestal(name, time_s) + config.readout * rng.standard_normal(mean.shape)
        return np.clip(np.rint(events), 0, np.iinfo(dtype).max).astype(dtype)


def _pattern(config: DarkSignalConfig, size: int, seed: int) -> tuple[Array, Array]:
    """Return by how much each channel's pedestal differs from the mean, and its dark events per second."""
    rng = stream(seed, f"dark pattern/{config.name}")
    pedestal = config.pattern * rng.standard_normal(size)
    rate = np.full(size, config.current_per_second)
    rate[rng.permutation(size)[: config.hot_channels]] += config.hot_per_second
    return pedestal, rate
