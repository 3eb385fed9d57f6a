"""Runs to export, written through the real journal: every kind of frame, act, outcome and remark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from autoscope.clock import SimClock
from autoscope.journal import Journal, LocalDisk
from autoscope.records import (
    Action,
    Axis,
    Blank,
    Calibration,
    Candidate,
    Capabilities,
    Decision,
    Fault,
    FitSummary,
    Frame,
    FrameMeta,
    Intervention,
    Measure,
    MicroscopeState,
    MoveStage,
    Outcome,
    Scalar,
    Scan,
    SpectrumImage,
    SpectrumSignal,
)

ENERGY = Axis(name="energy", unit="eV", size=96, offset=-12.5, scale=0.25)
SCOPE = Capabilities(
    instrument="Test STEM", serial="T-1", simulated=True, voltage_v=2e5, actions=("scan", "measure"),
    detectors=("HAADF",), signals=(SpectrumSignal(name="EELS", axis=ENERGY),),
)  # fmt: skip
CONFIG = {
    "name": "lab",
    "seed": 3,
    "policy": {"name": "gp", "options": {}},
    "budget": {"steps": None},
    "notes": "first try",
}


class QuickDisk(LocalDisk):
    """A disk that does not wait: durability is tested elsewhere."""

    def fsync(self, file):
        """Do not wait."""

    def fsync_folder(self, folder):
        """Do not wait."""

    def execute(self, connection, statement: str, values: Sequence[object]) -> None:
        """Run a statement; the database does not wait either."""
        super().execute(connection, statement.replace("synchronous = FULL", "synchronous = OFF"), values)


def place_axes(size_px: int, pixel_m: float) -> tuple[Axis, Axis]:
    offset = (0.5 - size_px / 2) * pixel_m
    return tuple(Axis(name=n, unit="m", size=size_px, offset=offset, scale=pixel_m) for n in ("y", "x"))


class Lab:
    """Writes a run act by act; all numbers come from the seed."""

    def __init__(self, folder: Path, *, seed: int = 0, begin: bool = True, channels: int = ENERGY.size):
        self.folder, self.rng, self.clock = folder, np.random.default_rng(seed), SimClock("2026-03-14T20:30:00+00:00")
        self.journal = Journal.create(folder, clock=self.clock, disk=QuickDisk(), config=yaml.safe_dump(CONFIG))
        self.energy = Axis(name="energy", unit="eV", size=channels, offset=-12.5, scale=0.25)
        self.step = self.concluded = self.faults = 0
        self.state = MicroscopeState(time_s=0.0, beam_current_a=1e-10, voltage_v=2e5, blanked=False)
        self.frames: dict[str, Frame] = {}
        if begin:
            self.journal.append(
                "run_started",
                {
                    "run_id": f"{folder.name}-0123abcd", "name": "lab", "operator": "Mira Lab",
                    "sample": "Pt/C, batch 7", "config": CONFIG, "config_sha256": "c" * 64, "version": "0.1.0",
                    "capabilities": SCOPE.model_dump(mode="json"),
                },
            )  # fmt: skip

    # --- parts --------------------------------------------------------------------------------------

    def meta(self, signal: str, axes: tuple[Axis, ...], dwell_s: float, unit: str = "counts") -> FrameMeta:
        x_m, y_m = self.rng.uniform(-1e-6, 1e-6, 2)
        return FrameMeta(
            signal=signal, axes=axes, unit=unit, time_s=self.clock.now_s(), dwell_s=dwell_s, x_m=x_m, y_m=y_m,
            rotation_rad=0.1, beam_current_a=1e-10, defocus_m=-4e-8, dose_e_per_m2=3e20,
        )  # fmt: skip

    def image(self, size_px: int = 24, pixel_m: float = 2e-9, signal: str = "HAADF") -> Frame:
        data = self.rng.integers(0, 60_000, (size_px, size_px)).astype(np.uint16)
        return Frame(self.meta(signal, place_axes(size_px, pixel_m), 2e-6), data)

    def spectrum(self, signal: str = "EELS") -> Frame:
        data = self.rng.poisson(40.0, self.energy.size).astype(np.uint32)
        return Frame(self.meta(signal, (self.energy,), 0.1), data)

    def cube(self) -> Frame:
        data = self.rng.normal(size=(5, 5, self.energy.size)).astype(np.float32)
        return Frame(self.meta("EELS", (*place_axes(5, 1e-9), self.energy), 1e-3, unit="A"), data)

    def pattern(self) -> Frame:
        axes = tuple(Axis(name=n, unit="rad", size=6, offset=-3e-3, scale=1e-3) for n in ("ky", "kx"))
        return Frame(self.meta("4D", (*place_axes(3, 1e-9), *axes), 1e-4), self.rng.random((3, 3, 6, 6)))

    def decision(self, action: Action, purpose: str, **more: object) -> Decision:
        given = {"reason": f'because; of, {purpose} "é"\nand more', "target": f"particle {self.step}"} | more
        return Decision(action=action, purpose=purpose, **given)

    def modelled(self, action: Action, **more: object) -> Decision:
        return self.decision(
            action, "spectrum", predicted_mean=float(self.rng.normal()), predicted_std=0.1 + float(self.rng.random()),
            acquisition="ei", acquisition_value=float(self.rng.random()), acquisition_parameters={"xi": 0.01},
            runners_up=(Candidate(action=action, mean=1.0, std=0.5, value=0.2),), candidates=400,
            candidates_sha256="a" * 64, data_sha256=f"{self.step % 7:064x}", random_state_sha256="b" * 64,
            fit=FitSummary(model="gp", n=self.step, log_evidence=-3.5, hyperparameters={"l0": 2.0}),
            calibration=Calibration(n=4, mean_z=0.1, std_z=1.1, coverage_90=0.9, log_score=-1.0), **more,
        )  # fmt: skip

    # --- acts ---------------------------------------------------------------------------------------

    def intend(self, decision: Decision) -> str:
        act_id = f"{self.folder.name}-{self.step:06d}"
        cost = {"time_s": 1.0, "dose_e": 5.0, "bytes": 100, "dose_e_per_m2": 0.0}
        asked = {"evidence_sha256": f"{self.step:064x}", "told": self.step}
        body = {"act_id": act_id, "decision": decision, "cost": cost, "latency_s": 0.0125, "asked": asked}
        self.journal.append("intent", body, step=self.step)
        self.step += 1
        return act_id

    def conclude(
        self, act_id: str, step: int, frames: Sequence[Frame] = (), status: str = "done", **more: object
    ) -> None:
        before, begun_s = self.state, self.clock.now_s()
        self.clock.wait(1.5)
        refs = [self.journal.write_frame(frame, step=step, index=k) for k, frame in enumerate(frames)]
        self.frames |= {ref.file: frame for ref, frame in zip(refs, frames, strict=True)}
        dose_e = 12.5 if frames else 0.0
        self.state = before.replace(time_s=self.clock.now_s(), dose_e=before.dose_e + dose_e, x_m=step * 1e-8)
        outcome = Outcome(
            act_id=act_id, status=status, state_before=before, state=self.state, dose_e=dose_e, frames=tuple(refs),
            begun_s=begun_s, ended_s=self.clock.now_s(), **more,
        )  # fmt: skip
        self.clock.wait(0.25)
        self.concluded, self.faults = self.concluded + 1, self.faults + (status != "done")
        self.journal.append("outcome", outcome, step=step)

    def act(self, decision: Decision, frames: Sequence[Frame] = (), **more: object) -> None:
        step = self.step
        self.conclude(self.intend(decision), step, frames, **more)

    def overview(self, size_px: int = 24, pixel_m: float = 2e-9) -> Lab:
        action = Scan(fov_m=size_px * pixel_m, width_px=size_px, height_px=size_px, dwell_s=2e-6)
        self.act(self.decision(action, "overview"), [self.image(size_px, pixel_m)], quality={"HAADF.saturated": 0.0})
        return self

    def measure(self, count: int = 1) -> Lab:
        for _ in range(count):
            value = Scalar(name="peak", value=float(self.rng.normal()), std=0.1, unit="eV", scalarizer="peak/1/abc")
            other = Scalar(name="ratio", value=float(self.rng.random()), std=0.0, unit="", scalarizer="ratio/1/abc")
            action = Measure(x_m=1e-9 * self.step, y_m=-2e-9, dwell_s=0.1)
            self.act(self.modelled(action), [self.spectrum()], values=(value, other))
        return self

    def trouble(self) -> Lab:
        fault = Fault(error="LimitExceeded", message="x_m out of range")
        self.act(self.decision(MoveStage(x_m=1.0), "travel"), status="refused", fault=fault)
        fault = Fault(error="FrameRejected", message="saturated")
        decision = self.decision(Measure(x_m=0.0, y_m=0.0, dwell_s=1.0), "spectrum")
        self.act(decision, [self.spectrum()], status="rejected", fault=fault)
        self.act(self.decision(Blank(), "safety", decided_by="Jo Example", target=""))
        told = Intervention(who="Jo Example", when="2026-03-14T21:00:00+00:00", why="vibration", command="pause",
                            arguments={"minutes": 2.0})  # fmt: skip
        self.journal.append("intervention", told, step=self.step)
        self.journal.append("note", {"who": "Jo Example", "text": "door was open"})
        self.journal.append("fault", {"error": "Unreachable", "message": "bus"})
        return self

    def cubes(self) -> Lab:
        action = SpectrumImage(fov_m=5e-9, width_px=5, height_px=5, dwell_s=1e-3)
        self.act(self.decision(action, "map"), [self.cube(), self.image(5, 1e-9), self.pattern()])
        return self

    def open(self) -> Lab:
        self.intend(self.decision(Measure(x_m=0.0, y_m=0.0, dwell_s=1.0), "spectrum"))
        return self

    def end(self, status: str = "completed") -> Path:
        done = {"steps": self.concluded, "time_s": self.clock.now_s(), "dose_e": self.state.dose_e}
        counts = done | {"faults": self.faults}
        self.journal.append("run_ended", {"status": status, "reason": "nothing left", "safe": True} | counts)
        return self.close()

    def close(self) -> Path:
        self.journal.close()
        return self.folder


def full_run(folder: Path, measures: int = 12) -> Lab:
    """Write a run with everything in it, ended."""
    lab = Lab(folder).overview().overview(200, 1e-9).measure(measures).trouble().overview().cubes().open().measure(2)
    lab.end()
    return lab
