"""How busy the beam is: 100 ms acquisitions on a real clock, decided by the Gaussian process, recorded on disk."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from autoscope.chance import stream
from autoscope.clock import SystemClock
from autoscope.config import ConfigModel, RunConfig
from autoscope.engine.assemble import Choice, Job, Resolved
from autoscope.engine.events import RunEnd, StepEvent
from autoscope.engine.loop import Engine
from autoscope.journal import Journal, verify
from autoscope.protocols import Clock
from autoscope.records import (
    Act,
    Axis,
    Capabilities,
    Frame,
    FrameMeta,
    Measure,
    MicroscopeState,
    Observation,
    Range,
    Scalar,
    Scan,
    SpectrumSignal,
    Timing,
)
from autoscope.registry import load
from tests.figures.figure import Figure

STEPS = 500
DWELL_S = 0.1
GOAL = 0.99
SIDES = (64, 200)
FOV_M = 200e-9
NOTICED_S = 0.005
"""A gap between two acts longer than this counts as waiting."""
WAYS: dict[str, dict[str, Any]] = {
    "overlapped": {"lookahead": 1},
    "overlapped_with_deadline": {"lookahead": 1, "decision_deadline": "0.5 ms"},
    "one_after_the_other": {"lookahead": 0},
}
AXIS = Axis(name="energy", unit="eV", size=64, scale=10.0)


def figures(slow: bool) -> Iterator[Figure]:
    """Yield duty, decision latency and waits; the larger field only with ``slow``."""
    for side in SIDES if slow else SIDES[:1]:
        for way, engine in WAYS.items():
            yield from _figures_of(measure(side, engine, STEPS), side, way)


@dataclass
class Timed:
    """What was seen of one run."""

    begun_s: list[float] = field(default_factory=list)
    ended_s: list[float] = field(default_factory=list)
    latency_s: list[float] = field(default_factory=list)
    """Of the policy's own decisions."""
    stand_ins: int = 0
    end: RunEnd | None = None
    verified: bool = False

    def on_step(self, event: StepEvent) -> None:
        """Note the latency of a spectrum's decision."""
        self.stand_ins += event.decision.decided_by != "policy"
        if isinstance(event.decision.action, Measure) and event.decision.decided_by == "policy":
            self.latency_s.append(event.latency_s)

    @property
    def span_s(self) -> float:
        """Time from the start of the first acquisition to the end of the last."""
        return self.ended_s[-1] - self.begun_s[0]

    @property
    def duty(self) -> float:
        """Part of the span in which the instrument was busy with an acquisition."""
        return float(np.sum(np.array(self.ended_s) - np.array(self.begun_s))) / self.span_s

    @property
    def exposed(self) -> float:
        """The same, counting only the dwell asked for: what a stand-in wakes up late counts as idle."""
        return len(self.begun_s) * DWELL_S / self.span_s

    @property
    def gaps_s(self) -> NDArray[np.float64]:
        """Time between the end of an acquisition and the start of the next."""
        return np.array(self.begun_s[1:]) - np.array(self.ended_s[:-1])


class StandIn:
    """An environment whose spectra really take their dwell; what it shows is drawn from a seed."""

    def __init__(self, side: int, clock: Clock, timed: Timed) -> None:
        self._clock, self._timed, self._side, self._dose_e = clock, timed, side, 0.0
        field_ = gaussian_filter(stream(1, "specimen").normal(size=(side, side)), side / 20)
        self._map = np.exp(field_ / field_.std())
        self._noise = stream(1, "noise")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Do nothing."""
        return None, {}

    def describe(self) -> Capabilities:
        """Return what it can do."""
        return Capabilities(
            instrument="stand-in",
            serial="0",
            simulated=True,
            voltage_v=2e5,
            actions=("scan", "measure", "wait"),
            detectors=("HAADF",),
            signals=(SpectrumSignal(name="EDS", axis=AXIS),),
            ranges={"fov_m": Range(low=1e-9, high=1e-6)},
            timing=Timing(),
        )

    def read_state(self) -> MicroscopeState:
        """Return time and dose."""
        return MicroscopeState(time_s=self._clock.now_s(), dose_e=self._dose_e, beam_current_a=1e-10, blanked=True)

    def step(self, act: Act) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take an image at once, or a spectrum in its dwell."""
        before = self.read_state()
        frame = self._image(act.action) if isinstance(act.action, Scan) else self._spectrum(act.action)
        return None, 0.0, False, False, {"observation": Observation(act.act_id, before, self.read_state(), (frame,))}

    def _image(self, scan: Scan) -> Frame:
        pixel_m = FOV_M / self._side
        axes = tuple(Axis(name=n, unit="m", size=self._side, scale=pixel_m) for n in ("y", "x"))
        meta = FrameMeta(signal="HAADF", axes=axes, time_s=0.0, dwell_s=scan.dwell_s, x_m=0.0, y_m=0.0)
        return Frame(meta, self._noise.poisson(200 * self._map).astype(np.uint16))

    def _spectrum(self, action: Any) -> Frame:
        self._timed.begun_s.append(self._clock.now_s())
        threading.Event().wait(action.dwell_s)
        self._timed.ended_s.append(self._clock.now_s())
        j, i = (int((v / FOV_M + 0.5) * self._side) for v in (action.x_m, action.y_m))
        meta = FrameMeta(signal="EDS", axes=(AXIS,), time_s=0.0, dwell_s=action.dwell_s, x_m=action.x_m, y_m=action.y_m)
        return Frame(meta, self._noise.poisson(np.full(AXIS.size, 5.0 * self._map[i, j])).astype(np.uint32))

    def make_safe(self) -> None:
        """Do nothing: there is no beam."""

    def close(self) -> None:
        """Do nothing."""


class Counts:
    """All counts of a spectrum, with their Poisson uncertainty."""

    identity = "counts/1/0"

    def fits(self, frame: Frame) -> bool:
        """Return whether this is a spectrum."""
        return frame.data.ndim == 1

    def scalarize(self, frame: Frame, name: str) -> Scalar:
        """Return the sum."""
        total = float(frame.data.sum())
        return Scalar(name=name, value=total, std=max(total, 1.0) ** 0.5, unit="counts", scalarizer=self.identity)


class _NoOptions(ConfigModel):
    pass


def measure(side: int, engine: dict[str, Any], steps: int) -> Timed:
    """Run the policy on a square field of ``side`` pixels for so many spectra, and return what was seen."""
    timed, clock = Timed(), SystemClock()
    plugin = load("policies", "gp")
    overview = {"fov_m": FOV_M, "width_px": side, "height_px": side}
    options = plugin.Config(target="counts", points=steps, dwell_s=DWELL_S, overview=overview)
    config = RunConfig.model_validate(
        {"name": "duty", "clock": "system", "environment": {"name": "stand-in"}, "policy": {"name": "gp"}}
        | {"engine": engine, "budget": {"steps": steps + 1}}  # the overview is a step
    )
    resolved = Resolved(config, Choice("stand-in", None, _NoOptions()), Choice("gp", plugin, options), {})
    policy = plugin(options, rng=stream(0, "policy"))
    job = Job(resolved, StandIn(side, clock, timed), policy, {"counts": Counts()}, clock)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        timed.end = Engine(job, Journal.create(run, clock=clock), listener=timed).run()
        timed.verified = verify(run).ok
    return timed


def _figures_of(timed: Timed, side: int, way: str) -> Iterator[Figure]:
    name, n, has_goal = f"{side * side}_{way}", len(timed.begun_s), way.startswith("overlapped")
    complete = timed.verified and n >= STEPS
    how = (
        f"gp, {side} x {side} candidates, {n} acquisitions of {DWELL_S * 1e3:g} ms on a real clock, journal on disk "
        f"({'verifies' if timed.verified else 'DOES NOT VERIFY'}); dwell alone, without the stand-in's late wake-ups, "
        f"{timed.exposed:.4f}; {timed.stand_ins} decided by runners-up; ended: {timed.end.reason if timed.end else ''}"
    )
    goal = f">= {GOAL}" if has_goal else ""
    ok = complete and timed.duty >= GOAL if has_goal else None
    yield Figure(f"beam_duty_{name}", round(timed.duty, 4), "fraction", goal, ok, n, how)
    median, p95, most = np.percentile(timed.latency_s, (50, 95, 100)) * 1e3
    how = f"median; 95 % within {p95:.1f} ms, longest {most:.1f} ms; refits included"
    yield Figure(f"decision_latency_{name}", round(float(median), 2), "ms", "", None, n, how)
    waits, (typical, longest) = int((timed.gaps_s > NOTICED_S).sum()), np.percentile(timed.gaps_s, (50, 100)) * 1e3
    how = (
        f"gaps between acquisitions over {NOTICED_S * 1e3:g} ms; median gap {typical:.2f} ms, longest {longest:.1f} ms"
    )
    yield Figure(f"beam_waits_{name}", waits, "times", "", None, n, how)
