"""Simulated nights with their hidden truth: which rare particles were really measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from autoscope.config import Document
from autoscope.engine.assemble import Job, assemble, resolve
from autoscope.engine.events import RunEnd, StepEvent
from autoscope.engine.loop import Engine
from autoscope.journal import MemoryJournal
from autoscope.records import Measure
from environments.instruments.simulated.scan import coil_matrix

ROOT = Path(__file__).resolve().parents[2]
SIGNIFICANT = 3.0
"""A rare particle counts as measured when its spectrum shows the rare element at this many standard deviations."""


@dataclass(frozen=True)
class Night:
    """What a night brought."""

    end: RunEnd
    rare_total: int
    rare_measured: int
    particles: int
    spectra: int
    ideal_raster: float
    """Expected fraction of the rare particles that a raster of the best possible pitch and dwell could show."""

    @property
    def fraction(self) -> float:
        """Return the fraction of the rare particles in the area that were measured."""
        return self.rare_measured / self.rare_total


class _Probes:
    """Notes where each spectrum was really taken: the true point under the axis plus the true deflection."""

    def __init__(self, job: Job) -> None:
        self._environment = job.environment
        self._coils = coil_matrix(job.resolved.environment.options.microscope.scan)
        self.places: list[tuple[float, float, bool, float, float]] = []

    def on_step(self, event: StepEvent) -> None:
        action = event.decision.action
        if not isinstance(action, Measure) or event.outcome.status != "done":
            return
        shown = next(v for v in event.outcome.values if v.name == "co_k")
        place = np.asarray(self._environment.truth()["view_m"]) + self._coils @ np.array([action.x_m, action.y_m])
        significant = shown.value >= SIGNIFICANT * max(shown.std, 1.0)
        rate = shown.value / action.dwell_s, shown.std**2 / action.dwell_s
        self.places.append((float(place[0]), float(place[1]), significant, *rate))


def night(config: str, seed: int, *overrides: str) -> Night:
    """Run a night of a configuration with a seed, in memory, and compare it with the truth."""
    document = Document.read(ROOT / "configs" / config)
    for assignment in (f"seed={seed}", *overrides):
        document.override(assignment)
    job = assemble(resolve(document))
    probes = _Probes(job)
    end = Engine(job, MemoryJournal(clock=job.clock, keep_frames=False), listener=probes).run()
    return _compared(end, job, probes)


def _compared(end: RunEnd, job: Job, probes: _Probes) -> Night:
    truth = job.environment.truth()["specimen"]
    centres = np.column_stack([truth["x_m"], truth["y_m"]])
    (west, east), (south, north) = (-11e-6, 11e-6), (-11e-6, 11e-6)  # the area of all three configurations
    inside = (centres[:, 0] > west) & (centres[:, 0] < east) & (centres[:, 1] > south) & (centres[:, 1] < north)
    rare = inside & truth["is_rare"]
    hit: set[int] = set()
    ideal = 0.0
    if probes.places:
        places = np.array(probes.places)
        distance, nearest = cKDTree(centres).query(places[:, :2])
        good = (distance < truth["radius_m"][nearest]) & (places[:, 2] > 0)
        hit = set(nearest[good].tolist()) & set(np.flatnonzero(rare).tolist())
        on_rare = good & rare[nearest]
        if on_rare.any():
            area_m2 = (east - west) * (north - south)
            ideal = _ideal_raster(places[on_rare, 3:].mean(axis=0), truth["radius_m"][rare], end.time_s, area_m2)
    return Night(end, int(rare.sum()), len(hit), int(inside.sum()), len(probes.places), ideal)


def _ideal_raster(rates: NDArray[np.float64], radius_m: NDArray[np.float64], time_s: float, area_m2: float) -> float:
    """Return the fraction of the area that a raster can cover at the dose which shows a rare particle.

    A raster puts ``time * pi r^2 / area`` on each particle whatever its pitch; a particle is shown after
    ``SIGNIFICANT^2 * variance rate / rate^2``. Overheads, holes and travel are forgiven.
    """
    rate, variance = rates
    needed_s = SIGNIFICANT**2 * variance / rate**2
    return float(min(1.0, time_s * np.pi * np.mean(radius_m**2) / area_m2 / needed_s))
