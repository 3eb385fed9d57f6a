"""Runs for the dashboard to look at: journals of any length written through the real writer, in no time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autoscope.clock import SimClock
from autoscope.config import config_hash
from autoscope.journal import Journal, LocalDisk
from autoscope.records import (
    Axis,
    Calibration,
    Candidate,
    Decision,
    Fault,
    FitSummary,
    Frame,
    FrameMeta,
    Intervention,
    Measure,
    MicroscopeState,
    Outcome,
    Scalar,
    Scan,
)

ENERGY = Axis(name="energy_loss", unit="eV", size=256, offset=-2.0, scale=0.05)
FOV_M = 400e-9
SIDE_PX = 64
CONFIG = {
    "job": "run",
    "name": "particles",
    "seed": 3,
    "sample": "silver on nitride",
    "clock": "simulated",
    "budget": {"time": "3600.0 s", "dose": "2e10 e", "steps": 400},
    "engine": {"max_consecutive_faults": 5, "lookahead": 0},
    "environment": {"name": "simulated", "options": {}},
    "policy": {
        "name": "gp",
        "options": {"target": "plasmon", "acquisition": {"name": "upper_confidence_bound", "kappa": 2.0}},
    },
    "scalarizers": {
        "plasmon": {
            "name": "band_integral",
            "options": {"band": ["1.6 eV", "2.2 eV"], "background": [["0.8 eV", "1.2 eV"]], "signal": "EELS"},
        }
    },
}


class QuickDisk(LocalDisk):
    """A disk that does not wait: durability is tested elsewhere."""

    def fsync(self, file):
        """Do not wait."""

    def fsync_folder(self, folder):
        """Do not wait."""


def brightness(x_m, y_m):
    """Return what the specimen gives at a place: two bright particles on a slope."""
    a = np.exp(-(((x_m + 80e-9) ** 2 + (y_m - 60e-9) ** 2) / (45e-9) ** 2))
    b = 0.6 * np.exp(-(((x_m - 110e-9) ** 2 + (y_m + 90e-9) ** 2) / (60e-9) ** 2))
    return a + b + 0.1 * (x_m / FOV_M)


@dataclass
class Lab:
    """Writes a run act by act: one overview, then spectra of a model that learns."""

    folder: Path
    candidates: int = SIDE_PX * SIDE_PX
    seed: int = 0
    spectra: bool = True
    changes: dict = field(default_factory=dict)

    def __post_init__(self):
        self.rng = np.random.default_rng(self.seed)
        self.clock = SimClock("2026-03-14T20:30:00+00:00")
        self.journal = Journal.create(self.folder, clock=self.clock, disk=QuickDisk())
        self.state = MicroscopeState(time_s=0.0, beam_current_a=5e-11, voltage_v=2e5, convergence_rad=0.025)
        self.step = self.faults = 0

    def start(self):
        """Write the first record."""
        config = CONFIG | self.changes
        self.journal.append(
            "run_started",
            {
                "run_id": "particles-0badcafe",
                "name": config["name"],
                "operator": "Ada",
                "sample": config["sample"],
                "config": config,
                "config_sha256": config_hash(config),
                "version": "0.1.0",
                "made_by": {},
                "scalarizers": {"plasmon": "band_integral/1/847a8202"},
                "capabilities": {
                    "instrument": "simulated STEM",
                    "serial": "SIM-200",
                    "simulated": True,
                    "voltage_v": 2e5,
                    "actions": ["scan", "measure"],
                    "detectors": ["HAADF"],
                },
                "state": self.state.model_dump(mode="json"),
            },
        )
        return self

    def overview(self):
        """Take the image."""
        scan = Scan(fov_m=FOV_M, width_px=SIDE_PX, height_px=SIDE_PX, dwell_s=1e-5)
        at = (np.arange(SIDE_PX) + 0.5) / SIDE_PX * FOV_M - FOV_M / 2
        x_m, y_m = np.meshgrid(at, at)
        image = (200 + 3000 * brightness(x_m, y_m) + self.rng.normal(0, 60, x_m.shape)).astype(np.float32)
        axes = tuple(Axis(name=n, unit="m", size=SIDE_PX, offset=at[0], scale=at[1] - at[0]) for n in "yx")
        meta = FrameMeta(signal="HAADF", axes=axes, time_s=self.clock.now_s(), dwell_s=1e-5, x_m=0.0, y_m=0.0)
        decision = Decision(
            action=scan,
            purpose="overview",
            target="field of view",
            reason="An overview comes first: it shows where spectra can be taken.",
        )
        self.act(decision, [Frame(meta, image)], ())
        return self

    def measure(self, times=1, **changes):
        """Take some spectra."""
        for _ in range(times):
            self._measure(**changes)
        return self

    def _measure(self, fault=None, **changes):
        x_m, y_m = (float(v) for v in self.rng.uniform(-FOV_M / 2.1, FOV_M / 2.1, 2))
        truth = float(brightness(x_m, y_m))
        learnt = 1.0 / (1.0 + 0.05 * self.step)
        mean, std = 2e4 * truth + float(self.rng.normal(0, 900 * learnt)), 900 * learnt + 150
        others = tuple(
            Candidate(
                action=Measure(
                    x_m=float(np.clip(x_m + dx, -FOV_M / 2, FOV_M / 2)), y_m=float(y_m / 2 + dy), dwell_s=0.05
                ),
                mean=mean - 300 * (k + 1),
                std=std,
                value=mean + 2 * std - 300 * (k + 1),
            )
            for k, (dx, dy) in enumerate(self.rng.normal(0, 40e-9, (5, 2)).tolist())
        )
        decision = Decision(
            action=Measure(x_m=x_m, y_m=y_m, dwell_s=0.05),
            purpose="spectrum",
            target=f"pixel {self.step},{self.step % SIDE_PX}",
            reason=f"Best upper confidence bound of {self.candidates} open pixels: plasmon is expected at {mean:.4g}.",
            predicted_mean=mean,
            predicted_std=std,
            acquisition="upper_confidence_bound",
            acquisition_value=mean + 2 * std,
            acquisition_parameters={"kappa": 2.0},
            runners_up=others,
            candidates=self.candidates,
            candidates_sha256="52d6d67b" * 8,
            fit=FitSummary(
                model="gp",
                n=self.step,
                iterations=7,
                log_evidence=-7.4 * self.step,
                hyperparameters={f"lengthscale_{k}": 1.0 + 0.1 * k for k in range(30)},
            ),
            calibration=Calibration(
                n=max(1, self.step - 5),
                mean_z=0.1,
                std_z=1.05,
                coverage_90=0.9,
                log_score=-8.4,
                sharpness=std,
            ),
            data_sha256="3e6c26c9" * 8,
            random_state_sha256="5734020b" * 8,
        ).replace(**changes)
        value = 2e4 * truth + float(self.rng.normal(0, 150))
        energy = ENERGY.values()
        counts = (
            4e4 * np.exp(-((energy / 0.15) ** 2)) + 40 + max(value, 0) / 40 * np.exp(-(((energy - 1.9) / 0.2) ** 2))
        )
        meta = FrameMeta(
            signal="EELS",
            axes=(ENERGY,),
            time_s=self.clock.now_s(),
            dwell_s=0.05,
            x_m=x_m,
            y_m=y_m,
            beam_current_a=5e-11,
        )
        frames = [Frame(meta, self.rng.poisson(counts).astype(np.uint32))] if self.spectra else []
        scalar = Scalar(name="plasmon", value=value, std=150.0, unit="counts", scalarizer="band_integral/1/847a8202")
        self.act(decision, [] if fault else frames, () if fault else (scalar,), fault=fault)

    def fail(self, message="the detector did not answer"):
        """Take a spectrum that comes to nothing."""
        self._measure(fault=Fault(error="InstrumentError", message=message))
        return self

    def overrule(self):
        """Propose a spectrum that a person does not want."""
        self._measure(fault=Fault(error="Overruled", message="vetoed by anna: ice"))
        return self

    def act(self, decision, frames, values, fault=None, time_s=0.07):
        """Write an act: intent, and its outcome later."""
        act_id = self.intend(decision)
        self.clock.wait(time_s)
        dose_e = 1.56e7
        before, self.state = (
            self.state,
            self.state.replace(time_s=self.clock.now_s(), dose_e=self.state.dose_e + dose_e),
        )
        refs = [self.journal.write_frame(frame, step=self.step, index=i) for i, frame in enumerate(frames)]
        outcome = Outcome(
            act_id=act_id,
            status="failed" if fault else "done",
            state_before=before,
            state=self.state,
            begun_s=before.time_s,
            ended_s=self.state.time_s,
            dose_e=dose_e,
            frames=tuple(refs),
            values=tuple(values),
            quality={"EELS.mean": 14374.3, "EELS.saturated_fraction": 0.0},
            fault=fault,
        )
        self.journal.append("outcome", outcome, step=self.step)
        self.step += 1
        self.faults += fault is not None

    def intend_next(self):
        """Write what will be done next, and not do it; return the id of the act."""
        action = Measure(x_m=1e-8, y_m=-2e-8, dwell_s=0.05)
        return self.intend(Decision(action=action, purpose="spectrum", target="pixel 1,1", reason="It looks odd."))

    def intend(self, decision):
        """Write what will be done next."""
        act_id = f"particles-0badcafe-{self.step:06d}"
        self.clock.wait(0.05)
        seen = {"step": self.step, "time_s": self.clock.now_s(), "budget": {"time_s": 3600.0 - self.clock.now_s()}}
        body = {
            "act_id": act_id,
            "asked": {"told": self.step, "evidence_sha256": "78e1570e" * 8, "view": seen},
            "cost": {"bytes": 1024, "dose_e": 1.5e7, "dose_e_per_m2": 0.0, "time_s": 0.07},
            "decision": decision.model_dump(mode="json"),
            "latency_s": 0.0017,
        }
        self.journal.append("intent", body, step=self.step)
        return act_id

    def say(self, command, who="anna", why="", **arguments):
        """Write what a person commanded."""
        when = self.clock.wall()
        told = Intervention(who=who, when=when, why=why, command=command, arguments=arguments)
        self.journal.append("intervention", told, step=self.step)
        return self

    def end(self, status="completed", reason="All spectra asked for are measured.", safe=True):
        """Write the last record."""
        self.journal.append(
            "run_ended",
            {
                "status": status,
                "reason": reason,
                "steps": self.step,
                "time_s": self.clock.now_s(),
                "dose_e": self.state.dose_e,
                "faults": self.faults,
                "safe": safe,
            },
        )
        self.journal.close()
        return self.folder


def finished(folder: Path, steps: int = 40, **given) -> Path:
    """Write a whole run and return its folder."""
    return Lab(folder, **given).start().overview().measure(steps).end()


def roughly(value: float) -> float:
    """Return a number to two digits, for comparing what is drawn."""
    return 0.0 if value == 0 else round(value, 1 - math.floor(math.log10(abs(value))))
