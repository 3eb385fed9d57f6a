"""One simulated night of the survey in memory, and where each of its spectra really was taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from autoscope.config import Document
from autoscope.engine.assemble import Job, assemble, resolve
from autoscope.engine.events import RunEnd, StepEvent
from autoscope.engine.loop import Engine
from autoscope.journal import MemoryJournal
from autoscope.records import Measure
from environments.instruments.simulated.scan import coil_matrix

NIGHT = """
name: keeping
environment:
  name: simulated
  options:
    microscope:
      gun: {beam_current: 50 pA}
      lens: {convergence: 10 mrad, hidden_defocus: 350 nm}
      specimens: [{kind: catalyst, extent: [14 um, 14 um], density: 20 um^-2}]
policy:
  name: survey
  options:
    target: co_k
    presence: {target: pt_m, at_least: 1600}
    area: {x: [-5 um, 5 um], y: [-5 um, 5 um]}
    tile: {fov: 2 um, size_px: 512}
    signals: [EDS]
    dwell: 16 s
scalarizers:
  co_k:
    name: band_integral
    options:
      band: [6.80 keV, 7.06 keV]
      background: [[6.40 keV, 6.66 keV], [7.20 keV, 7.40 keV]]
  pt_m: {name: band_integral, options: {band: [1.85 keV, 2.30 keV]}}
budget: {time: 12 h}
limits: {x: [-13 um, 13 um], y: [-13 um, 13 um]}
"""


@dataclass
class Watched:
    """A night with what really was so.

    Attributes
    ----------
    error_m : array
        Distance from where each spectrum was taken, at its end, to the centre of the particle it was meant for.
    nearest_is_meant : array of bool
        Whether the particle nearest to the probe was that particle.
    entered : array of bool
        Whether the spectrum showed the common metal, so that it was entered for that particle.
    """

    end: RunEnd
    error_m: NDArray[np.float64]
    nearest_is_meant: NDArray[np.bool_]
    entered: NDArray[np.bool_]
    time_s: NDArray[np.float64]
    steps: list[StepEvent] = field(default_factory=list)
    truths: list[dict[str, Any]] = field(default_factory=list)


class _Watch:
    def __init__(self, job: Job) -> None:
        self._environment = job.environment
        self.steps: list[StepEvent] = []
        self.truths: list[dict[str, Any]] = []

    def on_step(self, event: StepEvent) -> None:
        truth = self._environment.truth()
        self.steps.append(event)
        self.truths.append({name: truth[name] for name in ("view_m", "true_defocus_m", "drift_m")})


def watched(seed: int, **changes: Any) -> Watched:
    """Run a night with a seed and changed settings (``a__b=value``), and look where its spectra were taken."""
    document = Document(NIGHT, "keeping.yaml")
    document.override(f"seed={seed}")
    for key, value in changes.items():
        document.override(f"{key.replace('__', '.')}={yaml.safe_dump(value, default_flow_style=True).strip()}")
    job = assemble(resolve(document))
    watch = _Watch(job)
    end = Engine(job, MemoryJournal(clock=job.clock, keep_frames=False), listener=watch).run()
    return _compared(end, job, watch)


def _compared(end: RunEnd, job: Job, watch: _Watch) -> Watched:
    truth = job.environment.truth()["specimen"]
    centres = np.column_stack([truth["x_m"], truth["y_m"]])
    tree, coils = cKDTree(centres), coil_matrix(job.resolved.environment.options.microscope.scan)
    catalogue: Any = job.policy._now.catalogue  # the only one who knows which particle a number stands for
    least = job.resolved.policy.options.presence.at_least
    meant: dict[int, int] = {}
    rows = []
    for event, seen in zip(watch.steps, watch.truths, strict=True):
        if event.outcome.status != "done":
            continue
        view, action = np.asarray(seen["view_m"]), event.decision.action
        if event.decision.purpose == "overview":
            for particle in catalogue.in_tile(int(event.decision.target.split()[1])):
                distance, number = tree.query(view + coils @ catalogue.offset_m(particle))
                if distance < truth["radius_m"][number]:  # others are dirt or the rim of a hole
                    meant.setdefault(int(particle), int(number))
        elif isinstance(action, Measure):
            place = view + coils @ np.array([action.x_m, action.y_m])
            aim = meant.get(int(event.decision.target.split()[1]))
            if aim is None:
                continue
            rows.append(
                (
                    np.hypot(*(place - centres[aim])),
                    tree.query(place)[1] == aim,
                    event.outcome.state.time_s,
                    _entered(event, least),
                )
            )
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return Watched(end, table[:, 0], table[:, 1] > 0, table[:, 3] > 0, table[:, 2], watch.steps, watch.truths)


def _entered(event: StepEvent, least: float) -> bool:
    return any(value.name == "pt_m" and value.value >= least for value in event.outcome.values)
