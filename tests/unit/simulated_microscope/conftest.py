"""Analytic specimens, and a microscope without faults to put them in."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from autoscope.clock import SimClock
from autoscope.records import Act, Axis, Observation, SpectrumSignal
from environments.instruments.simulated import (
    DetectorConfig,
    DriftConfig,
    MicroscopeConfig,
    ScanConfig,
    SimulatedInstrument,
    StageConfig,
)

STILL = DriftConfig(
    ramp_x_m_per_s=0.0, ramp_y_m_per_s=0.0, walk_per_minute_m=0.0, creep_fraction=0.0, creep_max_m=0.0, load_m=0.0
)
EXACT_STAGE = StageConfig(precision_m=0.0, backlash_m=0.0)
SQUARE = ScanConfig(hidden_rotation_rad=0.0, scale_error_x=0.0, scale_error_y=0.0, shear=0.0, flyback_lag=0.0)
COUNTERS = (DetectorConfig(name="HAADF", offset=0.0, readout=0.0), DetectorConfig(name="BF", offset=0.0, readout=0.0))
PERFECT = MicroscopeConfig(drift=STILL, stage=EXACT_STAGE, scan=SQUARE, detectors=COUNTERS)
EELS = SpectrumSignal(name="EELS", axis=Axis(name="energy", unit="eV", size=16, offset=100.0, scale=2.0))


def flat(value: float) -> Callable[..., Any]:
    return lambda x, y, *rest: np.full(np.shape(x), value)


TENTH, LEVEL, THOUSANDTH = flat(0.1), flat(0.0), flat(1e-3)


@dataclass
class AnalyticSpecimen:
    """Yields, spectra and heights as formulae of position; remembers the fluence it was told."""

    yield_at: Callable[..., Any] = TENTH
    height_at: Callable[..., Any] = LEVEL
    spectrum_at: Callable[..., Any] = THOUSANDTH
    extent_m: tuple[float, float] = (4e-6, 4e-6)
    signals: tuple[SpectrumSignal, ...] = (EELS,)
    name: str = "analytic"
    told: list[Any] = field(default_factory=list)

    def height_m(self, x_m, y_m):
        return self.height_at(x_m, y_m)

    def image_yield(self, detector, x_m, y_m, dose_e_per_m2):
        self.told.append((x_m, y_m, dose_e_per_m2))
        return self.yield_at(x_m, y_m) * (1.0 if detector == "HAADF" else 2.0)

    def spectrum(self, signal, x_m, y_m, dose_e_per_m2):
        self.told.append((x_m, y_m, dose_e_per_m2))
        return np.repeat(self.spectrum_at(x_m, y_m)[..., None], self.signals[0].axis.size, axis=-1)

    def truth(self):
        return {"name": self.name}


@dataclass
class Bench:
    """A microscope, its clock, and acts numbered one after the other."""

    microscope: SimulatedInstrument
    clock: SimClock
    numbers: Any = field(default_factory=itertools.count)

    def do(self, action: Any) -> Observation:
        return self.microscope.execute(Act(act_id=f"act-{next(self.numbers)}", action=action))


@pytest.fixture
def bench() -> Callable[..., Bench]:
    """Return a maker of benches: ``bench(specimen, ..., config=PERFECT, seed=0)``."""

    def make(*specimens: AnalyticSpecimen, config: MicroscopeConfig = PERFECT, seed: int = 0) -> Bench:
        clock = SimClock()
        microscope = SimulatedInstrument.holding(
            specimens or (AnalyticSpecimen(),), config, clock=clock, rng=np.random.default_rng(seed)
        )
        return Bench(microscope, clock)

    return make


@pytest.fixture
def perfect() -> MicroscopeConfig:
    """Return the configuration of a microscope without drift, play, scan errors or electronic noise."""
    return PERFECT


@pytest.fixture
def analytic() -> type[AnalyticSpecimen]:
    """Return the class of specimens given by formulae."""
    return AnalyticSpecimen
