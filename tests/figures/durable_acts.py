"""Acts as full as those of a night, to measure what recording them costs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from autoscope.clock import SimClock
from autoscope.records import (
    Axis,
    Candidate,
    Decision,
    FitSummary,
    Frame,
    FrameMeta,
    Measure,
    MicroscopeState,
    Outcome,
    Scalar,
)

SEED = 20260501
QUICK = bool(os.environ.get("AUTOSCOPE_FIGURES_QUICK"))

FrameOf = Callable[[int], Frame]


def _frame(signal: str, data: np.ndarray[Any, Any], axes: tuple[Axis, ...], step: int) -> Frame:
    meta = FrameMeta(signal=signal, axes=axes, time_s=float(step), dwell_s=1e-3, x_m=1e-9 * step, y_m=0.0)
    return Frame(meta, data)


def spectrum(step: int) -> Frame:
    data = np.random.default_rng(step).poisson(5.0, 512).astype(np.uint16)
    return _frame("EELS", data, (Axis(name="energy", unit="eV", size=512),), step)


_NOISE = np.random.default_rng(SEED).integers(0, 65536, (4096, 4096), dtype=np.uint16)


def image(step: int) -> Frame:
    axes = (Axis(name="y", unit="m", size=4096), Axis(name="x", unit="m", size=4096))
    return _frame("HAADF", np.roll(_NOISE, step, axis=0), axes, step)


def _decision(step: int, rng: np.random.Generator) -> Decision:
    """Return a decision as full as those of a model with eight runners-up."""
    spots = [Measure(x_m=x, y_m=y, dwell_s=1e-3) for x, y in rng.normal(0.0, 1e-8, (9, 2))]
    others = tuple(
        Candidate(action=spot, mean=float(m), std=float(abs(s)), value=float(v))
        for spot, (m, s, v) in zip(spots[1:], rng.normal(size=(8, 3)), strict=True)
    )
    fit = FitSummary(
        model="additive_gp", n=step, iterations=40, log_evidence=float(rng.normal()),
        hyperparameters={f"lengthscale_{k}": float(rng.normal()) for k in range(12)},
    )  # fmt: skip
    return Decision(
        action=spots[0], purpose="spectrum", reason=f"expected improvement {rng.normal():.3f} is the largest",
        target=f"point {step}", predicted_mean=float(rng.normal()), predicted_std=1.0,
        acquisition="expected_improvement",
        acquisition_value=float(rng.normal()), runners_up=others, candidates=4096, fit=fit,
        candidates_sha256=f"{step:064x}", data_sha256=f"{step + 1:064x}", random_state_sha256=f"{step + 2:064x}",
    )  # fmt: skip


class Writer:
    """Writes acts as the engine does, to whatever keeps to `Recorder`."""

    def __init__(self, recorder: Any, clock: SimClock) -> None:
        self._recorder, self._clock, self._dose_e = recorder, clock, 0.0
        self._rng = np.random.default_rng(SEED)
        recorder.append("run_started", {"config": {}, "state": self._state()})

    def _state(self) -> MicroscopeState:
        return MicroscopeState(time_s=self._clock.now_s(), dose_e=self._dose_e, beam_current_a=5e-11, voltage_v=2e5)

    def prepared(self, step: int, frame: Frame) -> tuple[dict[str, Any], Callable[[Any], Outcome]]:
        """Return the intent, and what makes the outcome of a reference."""
        decision, before = _decision(step, self._rng), self._state()
        view = {"step": step, "time_s": self._clock.now_s(), "state": before.model_dump(mode="json")}
        asked = {"view": view, "told": step, "evidence_sha256": f"{step + 3:064x}"}
        intent = {"act_id": f"night-{step:06d}", "decision": decision.model_dump(mode="json"), "cost": {"bytes": 1024}}
        self._clock.wait(1.0)
        self._dose_e += 1e5
        after = self._state()
        value = Scalar(name="fe", value=float(self._rng.normal()), std=0.1, unit="counts", scalarizer="edge/1/ab12cd34")
        quality = {f"{frame.meta.signal}.{name}": float(self._rng.normal()) for name in ("mean", "std", "snr")}
        return intent | {"latency_s": 0.01, "asked": asked}, lambda ref: Outcome(
            act_id=f"night-{step:06d}", status="done", state_before=before, state=after,
            dose_e=after.dose_e - before.dose_e, frames=(ref,), values=(value,), quality=quality,
        )  # fmt: skip

    def act(self, step: int, frame: Frame) -> None:
        """Write one act."""
        intent, outcome = self.prepared(step, frame)
        self._recorder.append("intent", intent, step=step)
        ref = self._recorder.write_frame(frame, step=step, index=0)
        self._recorder.append("outcome", outcome(ref), step=step)
