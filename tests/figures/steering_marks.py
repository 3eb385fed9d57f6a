"""An operator who marks two regions interesting after twenty steps, against the agent alone, on simulated specimens.

The agent looks for plasmonic particles wherever they shine most. The operator sees in the overview the two faintest of
the particles and wants spectra of those: something that the target does not tell.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from autoscope.clock import SimClock
from autoscope.config import Document
from autoscope.engine.assemble import assemble, resolve
from autoscope.engine.events import StepEvent
from autoscope.engine.loop import Engine
from autoscope.engine.steering import QueueInbox
from autoscope.identity import Identity, load_or_make
from autoscope.interventions import Mark
from autoscope.journal import MemoryJournal
from autoscope.perception.regions import ParticleConfig, find_particles
from autoscope.records import Intervention, Measure
from autoscope.steering.helm import InboxHelm, Writer
from autoscope.wishes import Disc
from tests.figures.figure import Figure

AFTER, EACH, MOST, SEEDS = 20, 6, 120, 20
"""Spectra before the marks; wanted of each of the two particles; and after which a run is given up."""


def figures(slow: bool) -> Iterator[Figure]:
    """Yield the ratio of the spectra needed with and without the operator's marks."""
    with tempfile.TemporaryDirectory() as name:
        identity = load_or_make(Path(name))
        pairs = [(_needed(seed, None), _needed(seed, identity)) for seed in range(SEEDS)]
    alone, aided = (np.array(column) for column in zip(*pairs, strict=True))
    ratios = aided / alone
    low, high = np.quantile(ratios, [0.25, 0.75])
    how = (
        f"gp policy, upper confidence bound; the two faintest particles marked after {AFTER} spectra, until "
        f"{EACH} of each are taken; alone: median {np.median(alone):g}, not reached within {MOST} and counted so in "
        f"{int((alone >= MOST).sum())} of {SEEDS}; marked: median {np.median(aided):g}; median of the ratio, quartiles "
        f"{low:.2f} and {high:.2f}; at most half in {int((ratios <= 0.5).sum())} of {SEEDS} seeds"
    )
    value = round(float(np.median(ratios)), 3)
    yield Figure("steering_marks_ratio_of_measurements", value, "", "<= 0.5", value <= 0.5, SEEDS, how)


def _needed(seed: int, identity: Identity | None) -> int:
    """Return the spectra that were needed; without an identity nobody marks anything."""
    resolved = resolve(Document(yaml.safe_dump(_config(seed)), "marks"))
    job = assemble(resolved)
    inbox = QueueInbox(SimClock())
    helm = InboxHelm(inbox, Writer("marks", "operator", identity, inbox.clock)) if identity else None
    journal = MemoryJournal(clock=job.clock)
    operator = _Operator(helm, inbox, journal)
    Engine(job, journal, run_id="marks", inbox=inbox, listener=operator).run()
    return operator.spectra


def _config(seed: int) -> dict[str, Any]:
    specimen = {"kind": "nanoparticles", "extent": ["400 nm", "400 nm"], "count": 10, "size": "40 nm"}
    overview = {"fov": "300 nm", "width_px": 48, "height_px": 48, "dwell": "20 us"}
    policy = {"target": "plasmon", "overview": overview, "dwell": "20 ms", "signals": ["EELS"], "points": MOST}
    return {
        "name": "marks",
        "seed": seed,
        "environment": {"name": "simulated", "options": {"microscope": {"specimens": [specimen]}}},
        "policy": {"name": "gp", "options": policy},
        "scalarizers": {"plasmon": {"name": "band_integral", "options": {"band": ["1.6 eV", "3.6 eV"]}}},
    }


class _Operator:
    """Sees the overview, counts spectra of the two faintest particles, marks them once, and stops when it is enough."""

    def __init__(self, helm: InboxHelm | None, inbox: QueueInbox, journal: MemoryJournal) -> None:
        self._helm, self._inbox, self._journal = helm, inbox, journal
        self._sites: tuple[Disc, ...] = ()
        self._counts = [0, 0]
        self.spectra = 0

    def on_step(self, event: StepEvent) -> None:
        """Take note of a step."""
        action = event.decision.action
        if not isinstance(action, Measure):
            self._sites = self._sites or self._faintest(event)
            return
        self.spectra += 1
        x_m, y_m = (np.asarray(v) for v in (event.outcome.state.x_m + action.x_m, event.outcome.state.y_m + action.y_m))
        for k, site in enumerate(self._sites):
            self._counts[k] += bool(site.contains(x_m, y_m))
        if self._helm is not None and self.spectra == AFTER:
            for site in self._sites:
                self._helm.post(Mark(place=site), why="fainter than the others")
        if min(self._counts) >= EACH:
            self._inbox.post(Intervention(who="figure", when="", why="enough", command="stop"))

    def _faintest(self, event: StepEvent) -> tuple[Disc, ...]:
        frame = self._journal.load_frame(event.outcome.frames[0])
        found = sorted(find_particles(frame, ParticleConfig()), key=lambda region: region.mean_contrast)[:2]
        if len(found) < 2:
            raise RuntimeError("fewer than two particles in the overview")
        x_m, y_m = event.outcome.state.x_m, event.outcome.state.y_m
        return tuple(Disc(x_m=x_m + r.x_m, y_m=y_m + r.y_m, radius_m=r.radius_m) for r in found)
