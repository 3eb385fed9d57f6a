"""How near the plan of ``autoscope check`` comes to what a run then takes: time, electrons, data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autoscope.cli.planning import first_view, planned, summed
from autoscope.config import Document
from autoscope.engine.assemble import Resolved, assemble, resolve
from autoscope.engine.loop import Engine
from autoscope.journal import MemoryJournal
from tests.figures.figure import Figure

SEEDS = range(500, 510)
TOLERANCE = 0.1

MICROSCOPE = """
environment:
  name: simulated
  options:
    microscope:
      lens: {convergence: 10 mrad, hidden_defocus: 350 nm}
      stage: {x_range: [-1.6 mm, 1.6 mm], y_range: [-1.6 mm, 1.6 mm], speed: 100 um/s}
      scan: {fov_range: [1 nm, 500 um]}
      specimens: [SPECIMEN]
scalarizers:
  co_k: {name: band_integral, options: {band: [6.80 keV, 7.06 keV]}}
  pt_m: {name: band_integral, options: {band: [1.85 keV, 2.30 keV]}}
"""
CATALYST = "{kind: catalyst, extent: [8 um, 8 um]}"
GRID = "{kind: grid, diameter: 400 um, content: {density: 5 um^-2}}"
CASES = {
    "raster": (CATALYST, """
policy: {name: raster, options: {x: [-1 um, 1 um], y: [-1 um, 1 um], pitch: 200 nm, dwell: 500 ms, signals: [EDS]}}
"""),
    "field": (CATALYST, """
policy:
  name: sobol
  options: {target: co_k, overview: {fov: 1 um, width_px: 64, height_px: 64}, dwell: 500 ms, signals: [EDS], points: 60}
"""),
    "survey": (CATALYST, """
policy:
  name: survey
  options:
    target: co_k
    presence: {target: pt_m, at_least: 100}
    area: {x: [-3 um, 3 um], y: [-3 um, 3 um]}
    tile: {fov: 2 um, size_px: 512, dwell: 2 us}
    signals: [EDS]
    dwell: 2 s
    visit: 12
budget: {time: 12 min}
"""),
    "levels": (GRID, """
policy:
  name: levels
  options:
    area: {x: [-140 um, 140 um], y: [-140 um, 140 um]}
    levels:
      - {name: atlas, look: {fov: 320 um, size_px: 384, dwell: 1 us}, find: {kind: squares, size: 50 um}}
      - {name: square, keep: 3, look: {fov: 40 um, size_px: 256, dwell: 1 us}, find: {kind: fields, fov: 2 um}}
      - {name: field, keep: 2, focus: true, look: {fov: 1 um, size_px: 384, dwell: 4 us}, find: {kind: particles}}
      - {name: particle, keep: 2, by: beam, measure: {dwell: 2 s, signals: [EDS]}}
    focus: {first_span: 8 um, span: 2 um, map_length: 60 um, map_amplitude: 1 um, tolerance: 300 nm}
"""),
}  # fmt: skip


def resolved(case: str, seed: int) -> Resolved:
    """Return the configuration of a case."""
    specimen, policy = CASES[case]
    text = f"name: plan\nseed: {seed}\n{MICROSCOPE.replace('SPECIMEN', specimen)}{policy}"
    return resolve(Document(text, case))


def ratios(case: str, seed: int) -> tuple[float, float, float]:
    """Return what a run took over what was predicted: time, electrons, data."""
    job = assemble(resolved(case, seed))
    job.environment.reset(seed=seed, options={"bare": True})
    plan = summed(case, planned(job, first_view(job)))
    job = assemble(resolved(case, seed))
    end = Engine(job, MemoryJournal(clock=job.clock)).run()
    return end.time_s / plan.time_s, end.dose_e / plan.dose_e, end.bytes / plan.bytes


def figures(slow: bool) -> Iterator[Figure]:
    """Yield one figure for each case and quantity: the median ratio and its range over the seeds."""
    for case in CASES:
        taken = np.array([ratios(case, seed) for seed in SEEDS])
        for name, column in zip(("time", "dose", "data"), taken.T):
            median, low, high = (float(v) for v in (np.median(column), column.min(), column.max()))
            yield Figure(
                name=f"survey_plan_{case}_{name}",
                value=round(median, 3),
                unit="taken / predicted",
                goal=f"median within {TOLERANCE:.0%} of 1",
                ok=abs(median - 1.0) <= TOLERANCE,
                n=len(column),
                how=f"seeds {SEEDS.start}-{SEEDS.stop - 1}, simulated clock; range {low:.3f} to {high:.3f}",
            )
