"""A made-up night at the microscope, written through the real journal: particles on carbon, X-ray spectra, faults."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autoscope.clock import SimClock
from autoscope.config import config_hash
from autoscope.journal import Journal, LocalDisk
from autoscope.records import (
    Action,
    Axis,
    Candidate,
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
    SetOptics,
)

ENERGY = Axis(name="energy", unit="eV", size=1000, offset=0.0, scale=10.0)
LINES_EV = {"C": 277.0, "Si": 1740.0, "Pt": 2050.0, "Cu": 8040.0, "Pt L": 9442.0}


class QuickDisk(LocalDisk):
    """A disk that does not wait: durability is tested elsewhere."""

    def fsync(self, file):
        """Do not wait."""

    def fsync_folder(self, folder):
        """Do not wait."""


@dataclass
class Night:
    """Writes a survey step by step; every act takes simulated time and dose.

    ``tiles`` a side, each ``tile_px`` wide; ``scouts`` spectra after each overview, ``visits`` later ones of ``again``.
    """

    folder: Path
    tiles: int = 3
    tile_px: int = 96
    scouts: int = 3
    visits: int = 2
    again: int = 3
    particles: int = 12
    name: str = "night"
    sample: str = "Pt/C, batch 7"
    seed: int = 0
    fov_m: float = 1.5e-6
    detectors: tuple[str, ...] = ("HAADF", "BF")
    predicting: bool = True
    state: MicroscopeState = field(
        default_factory=lambda: MicroscopeState(time_s=0.0, beam_current_a=1e-10, blanked=False)
    )

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.clock = SimClock("2026-03-14T20:30:00+00:00")
        self.journal = Journal.create(self.folder, clock=self.clock, disk=QuickDisk())
        self.step = self.faults = 0
        self.number = 0
        self.catalogue: dict[int, tuple[int, float, float, float]] = {}
        self.queue: list[int] = []

    def start(self, **changes) -> Night:
        """Write the first record."""
        config = {
            "job": "run",
            "name": self.name,
            "seed": self.seed,
            "sample": self.sample,
            "environment": {"name": "simulated", "options": {}},
            "policy": {"name": "survey", "options": {"target": "Pt"}},
            "scalarizers": {
                "C": {"name": "band_integral", "options": {"band": ["0.2 keV", "0.35 keV"]}},
                "Pt": {
                    "name": "band_integral",
                    "options": {
                        "signal": "EDS",
                        "band": ["1.95 keV", "2.15 keV"],
                        "background": [["2.3 keV", "2.5 keV"]],
                    },
                },
            },
        }
        body = {
            "name": self.name,
            "operator": "Ada",
            "sample": self.sample,
            "config": config,
            "config_sha256": config_hash(config),
            "version": "0.1.0",
            "scalarizers": {"Pt": "band_integral/1/ab12cd34", "C": "band_integral/1/99ffee11"},
            "capabilities": {"instrument": "simulated STEM", "serial": "1", "simulated": True},
        }
        self.journal.append("run_started", body | changes)
        return self

    # --- acts ---

    def act(
        self,
        action: Action,
        purpose: str,
        target: str = "",
        *,
        time_s: float = 1.0,
        frames=(),
        values=(),
        fault=None,
        status="done",
        outcome=True,
        reason="because",
        **decision,
    ) -> None:
        """Write one act: intent, and after ``time_s`` its outcome."""
        made = Decision(action=action, purpose=purpose, reason=reason, target=target, **decision)
        body = {
            "act_id": f"{self.name}-{self.step:06d}",
            "decision": made.model_dump(mode="json"),
            "cost": {"time_s": time_s, "bytes": 0},
            "latency_s": float(0.002 * self.rng.lognormal(0.0, 1.0)),
        }
        self.clock.wait(0.05)
        self.journal.append("intent", body, step=self.step)
        if outcome:
            self.clock.wait(time_s)
            self._conclude(action, time_s, frames, values, fault, status)
        self.step += 1

    def _conclude(self, action, time_s, frames, values, fault, status) -> None:
        before = self.state
        dose_e = 6.2e8 * time_s if frames else 0.0
        changes = {"time_s": self.clock.now_s(), "dose_e": before.dose_e + dose_e}
        if isinstance(action, MoveStage) and status == "done":
            changes |= {"x_m": action.x_m, "y_m": action.y_m}
        self.state = before.replace(**changes)
        refs = tuple(self.journal.write_frame(f, step=self.step, index=k) for k, f in enumerate(frames))
        outcome = Outcome(
            act_id=f"{self.name}-{self.step:06d}",
            status=status,
            state_before=before,
            state=self.state,
            dose_e=dose_e,
            frames=refs,
            values=tuple(values),
            fault=fault,
        )
        self.faults += status != "done"
        self.journal.append("outcome", outcome, step=self.step)

    def go(self, tile: int, **decision) -> None:
        """Move to a tile."""
        i, j = divmod(tile, self.tiles)
        pitch = 0.95 * self.fov_m
        x_m, y_m = ((k - (self.tiles - 1) / 2) * pitch for k in (j, i))
        self.act(MoveStage(x_m=x_m, y_m=y_m), "travel", f"tile {tile}", time_s=4.0, **decision)

    def focus(self, tile: int) -> None:
        """Take a short focus series."""
        for k in range(3):
            self.act(SetOptics(defocus_m=(k - 1) * 3e-7), "focus", f"tile {tile}", time_s=0.3)
            frame = self.image(24, 4e-7, np.zeros((0, 4)))
            self.act(
                Scan(fov_m=4e-7, width_px=24, height_px=24, dwell_s=2e-6),
                "focus",
                f"tile {tile}",
                time_s=1.0,
                frames=(frame,),
            )

    def overview(self, tile: int, purpose: str = "overview") -> None:
        """Image a tile, and find its particles the first time."""
        if purpose == "overview":
            for _ in range(self.particles):
                dx, dy = self.rng.uniform(-0.46, 0.46, 2) * self.fov_m
                richness = float(np.exp(1.2 * self.rng.normal()))
                self.catalogue[self.number] = (tile, dx, dy, richness)
                self.number += 1
        here = np.array([(dx, dy, 8e-9 + 6e-9 * min(r, 4), r) for t, dx, dy, r in self.catalogue.values() if t == tile])
        frames = tuple(self.image(self.tile_px, self.fov_m, here, detector=d) for d in self.detectors)
        scan = Scan(
            fov_m=self.fov_m, width_px=self.tile_px, height_px=self.tile_px, dwell_s=2e-6, detectors=self.detectors
        )
        self.act(scan, purpose, f"tile {tile}", time_s=2.0, frames=frames)

    def spectrum(self, number: int, *, known: bool, **more) -> None:
        """Measure a particle; ``known``: with a prediction."""
        _, dx, dy, richness = self.catalogue[number]
        counts = self.rng.poisson(self.eds(richness)).astype(np.uint32)
        frame = Frame(self.meta("EDS", (ENERGY,), 5.0, dx, dy), counts)
        net, std = self.net(counts)
        carbon = float(counts[20:35].sum())
        values = (
            Scalar(name="C", value=carbon, std=math.sqrt(carbon), unit="counts", scalarizer="band_integral/1/99ffee11"),
            Scalar(name="Pt", value=net, std=std, unit="counts", scalarizer="band_integral/1/ab12cd34"),
        )
        mean = 200.0 * richness
        decision = {}
        if known and self.predicting:
            spread = 0.15 * mean + 10
            decision = {
                "predicted_mean": float(self.rng.normal(mean, spread)),
                "predicted_std": float(spread),
                "fit": FitSummary(
                    model="gp matern52", n=10 * (self.step // 10), rung="ok" if self.step % 17 else "prior"
                ),
                "runners_up": tuple(self.candidate(n) for n in self.queue[:3]),
            }
        action = Measure(x_m=dx, y_m=dy, dwell_s=5.0, signals=("EDS",))
        reason = f"Pt expected {mean:.3g}, rank 3 of 40" if known else "a particle unlike the others of this tile"
        self.act(
            action,
            "spectrum",
            f"particle {number}",
            time_s=5.5,
            frames=(frame,),
            values=values,
            reason=reason,
            **decision,
            **more,
        )

    def candidate(self, number: int) -> Candidate:
        """Return a runner-up."""
        _, dx, dy, richness = self.catalogue[number]
        action = Measure(x_m=dx, y_m=dy, dwell_s=5.0, signals=("EDS",))
        return Candidate(action=action, mean=200.0 * richness, std=30.0, value=200.0 * richness + 30.0)

    # --- what is recorded ---

    def meta(self, signal, axes, dwell_s, dx=0.0, dy=0.0) -> FrameMeta:
        """Return where and how a frame was recorded."""
        return FrameMeta(
            signal=signal,
            axes=axes,
            time_s=self.clock.now_s(),
            dwell_s=dwell_s,
            x_m=self.state.x_m + dx,
            y_m=self.state.y_m + dy,
            beam_current_a=1e-10,
        )

    def image(self, size: int, fov_m: float, particles, detector: str = "HAADF") -> Frame:
        """Return an image of round particles (x, y, radius, brightness) on carbon, (size, size) uint16."""
        pixel = fov_m / size
        places = (np.arange(size) - (size - 1) / 2) * pixel
        mean = np.full((size, size), 60.0)
        mean += 12 * np.sin(places[None, :] / 2.5e-7) * np.cos(places[:, None] / 3.1e-7)
        for x, y, radius, bright in particles:
            d2 = (places[None, :] - x) ** 2 + (places[:, None] - y) ** 2
            mean += 90 * (1 + bright) * np.exp(-d2 / radius**2)
        axes = tuple(Axis(name=n, unit="m", size=size, offset=(0.5 - size / 2) * pixel, scale=pixel) for n in "yx")
        data = self.rng.poisson(mean if detector == "HAADF" else np.maximum(300 - mean, 5)).astype(np.uint16)
        return Frame(self.meta(detector, axes, 2e-6), data)

    def eds(self, richness: float) -> np.ndarray:
        """Return expected counts in each channel."""
        energy = ENERGY.values()
        heights = {"C": 60.0, "Si": 6.0, "Pt": 14.0 * richness, "Cu": 25.0, "Pt L": 5.0 * richness}
        counts = 3.0 * np.exp(-energy / 3500.0) * (1 - np.exp(-energy / 300.0))
        for line, height in heights.items():
            width = 30.0 + LINES_EV[line] * 0.006
            counts += height * np.exp(-0.5 * ((energy - LINES_EV[line]) / width) ** 2)
        return counts

    def net(self, counts) -> tuple[float, float]:
        """Return the counts of the Pt line above its background, and their standard uncertainty."""
        line, beside = float(counts[195:215].sum()), float(counts[230:250].sum())
        return line - beside, math.sqrt(max(line + beside, 1.0))

    # --- whole nights ---

    def survey(self) -> Night:
        """Image all tiles with scouts, then go back to the best."""
        for tile in range(self.tiles**2):
            self.go(tile)
            self.focus(tile)
            self.overview(tile)
            mine = [n for n, row in self.catalogue.items() if row[0] == tile]
            for number in mine[: self.scouts]:
                self.spectrum(number, known=tile > 1)
        for visit in range(self.visits):
            tile = visit % self.tiles**2
            rest = [n for n, row in self.catalogue.items() if row[0] == tile]
            later = rest[self.scouts + self.again * (visit // self.tiles**2) :][: self.again]
            self.go(tile, runners_up=(Candidate(action=MoveStage(x_m=9e-6, y_m=1e-6), value=2.5),))
            self.overview(tile, purpose="align")
            for k, number in enumerate(later):
                self.queue = later[k + 1 :]
                self.spectrum(number, known=True)
        return self

    def trouble(self) -> Night:
        """Let some acts come to nothing, and a person step in."""
        far = Measure(x_m=1.0, y_m=0.0, dwell_s=5.0, signals=("EDS",))
        for k in range(3):
            fault = Fault(error="LimitExceeded", message=f"measure.x_m: outside the range (got 1.0, limit {k} mm)")
            self.act(far, "spectrum", "particle 9999", time_s=0.0, fault=fault, status="refused")
        fault = Fault(error="FrameRejected", message="HAADF: 31 % of the pixels are saturated. Reduce the dwell time")
        self.act(
            Scan(fov_m=1e-6, width_px=8, height_px=8, dwell_s=1e-6),
            "overview",
            "tile 1",
            fault=fault,
            status="rejected",
            frames=(self.image(8, 1e-6, np.zeros((0, 4))),),
        )
        why = Intervention(
            who="Grace", when="03:12", why="drift looked high", command="pause", arguments={"minutes": 5}
        )
        self.journal.append("intervention", why, step=self.step)
        self.journal.append("note", {"resumed": True, "lost_s": 12.5})
        return self

    def end(self, status: str = "completed", reason: str = "all done: 9 of 9 tiles seen", *, safe: bool = True) -> Path:
        """Write the last record and close."""
        body = {
            "status": status,
            "reason": reason,
            "steps": self.step,
            "time_s": self.clock.now_s(),
            "dose_e": self.state.dose_e,
            "faults": self.faults,
            "safe": safe,
        }
        self.journal.append("run_ended", body)
        return self.close()

    def close(self) -> Path:
        """Close without a last record, as a run that is cut off."""
        self.journal.close()
        return self.folder
