"""From a journal to a `RunStory`, in one pass; holds references to frames, never frames."""

from __future__ import annotations

import json
import math
from collections import Counter, deque
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from autoscope.errors import JournalCorrupt
from autoscope.journal import JournalReader, Record, corrected
from autoscope.perception.point_readings import is_reading
from autoscope.purposes import DRIFT_LIMIT_PX, INSIDE, UNFIT, UPKEEP
from autoscope.records import (
    Action,
    Candidate,
    Decision,
    FrameRef,
    Measure,
    MicroscopeState,
    MoveStage,
    Outcome,
    Scan,
    SpectrumImage,
    dark_frames,
)
from autoscope.report.story import (
    Act,
    Ending,
    Fit,
    Measurement,
    Picture,
    Proposal,
    Reading,
    Remark,
    RunClock,
    RunStory,
)

Model = TypeVar("Model", bound=BaseModel)

REMEMBERED_DECISIONS = 400
"""Runners-up are kept of this many last decisions; earlier ones were weighed by older models."""


def read(folder: Path) -> RunStory:
    """Return the story of a run: finished, stopped, failed, cut off or still going.

    A record that cannot be trusted ends the story there; ``damage`` says why.

    Raises
    ------
    JournalError
        No journal in the folder, or one this version cannot read.
    """
    reader, fold = JournalReader.open(folder), _Fold()
    damage = ""
    try:
        for record in reader.records():
            fold.take(record)
    except JournalCorrupt as error:
        damage = str(error)
    return fold.story(folder.resolve().name, damage)


class _Fold:
    def __init__(self) -> None:
        self.header: dict[str, Any] = {}
        self.ending: Ending | None = None
        self.last: Record | None = None
        self.records = 0
        self.annotations: list[Record] = []
        self.stamps: list[tuple[float, str]] = []
        self.acts: dict[str, Act] = {}
        self.open: dict[str, tuple[Decision, Record]] = {}
        self.state = MicroscopeState(time_s=0.0)
        self.measurements: list[Measurement] = []
        self.pictures: list[Picture] = []
        self.proposals: deque[list[Proposal]] = deque(maxlen=REMEMBERED_DECISIONS)
        self.visited: list[tuple[int, float, float]] = []
        self.fits: list[Fit] = []
        self.rungs: Counter[tuple[str, str]] = Counter()
        self.remarks: list[Remark] = []
        self.darks: list[tuple[Action, Outcome]] = []
        self.less: dict[str, tuple[str, ...]] = {}
        self.levels: dict[tuple[str, float], float] = {}

    def take(self, record: Record) -> None:
        """Take in the next record."""
        self.last, self.records = record, self.records + 1
        if record.kind == "annotation":  # written when the run was over, on another clock
            self.annotations.append(record)
            self.remarks.append(_remark(record))
            return
        self.ending = None
        self.stamps.append((record.time_s, record.wall))
        match record.kind:
            case "run_started":
                self.header = self.header or record.body
            case "intent":
                self._intend(record)
            case "outcome":
                self._conclude(record)
            case "question":
                pass
            case "run_ended":
                self.ending = _ending(record.body)
            case _:
                self.remarks.append(_remark(record))

    def _intend(self, record: Record) -> None:
        body, decision = record.body, _understood(Decision, record, record.body.get("decision"))
        act_id, latency_s = str(body.get("act_id")), body.get("latency_s")
        self.open[act_id] = (decision, record)
        self.acts[act_id] = Act(
            step=record.step if record.step is not None else len(self.acts),
            begun_s=record.time_s,
            ended_s=None,
            purpose=decision.purpose or decision.action.kind,
            target=decision.target,
            kind=decision.action.kind,
            status="open",
            dose_e=0.0,
            frames=0,
            bytes=0,
            latency_s=float(latency_s) if isinstance(latency_s, (int, float)) else None,
        )
        self._weigh(decision, self.acts[act_id])

    def _weigh(self, decision: Decision, act: Act) -> None:
        """Note the model's health and the places that were considered."""
        found = (self._proposal(candidate, act.step) for candidate in decision.runners_up)
        self.proposals.append([p for p in found if p is not None])
        fit = decision.fit
        if fit is None:
            return
        self.rungs[fit.model, fit.rung] += 1
        now = Fit(act.step, act.begun_s, fit.model, fit.rung, fit.n, fit.log_evidence)
        if not self.fits or _health(self.fits[-1]) != _health(now):
            self.fits.append(now)

    def _proposal(self, candidate: Candidate, step: int) -> Proposal | None:
        place = _place_m(candidate.action, self.state)
        if place is None:
            return None
        kind = "go" if isinstance(candidate.action, MoveStage) else "measure"
        return Proposal(step, self.state.sample_slot, kind, *place, candidate.mean, candidate.std, candidate.value)

    def _conclude(self, record: Record) -> None:
        outcome = _understood(Outcome, record, record.body)
        decision, intent = self.open.pop(outcome.act_id, (None, None))
        if decision is None or intent is None:
            return
        begun, state = self.acts[outcome.act_id], outcome.state
        self.acts[outcome.act_id] = Act(
            step=begun.step,
            begun_s=begun.begun_s,
            ended_s=record.time_s,
            purpose=begun.purpose,
            target=begun.target,
            kind=begun.kind,
            status=outcome.status,
            dose_e=outcome.dose_e,
            frames=len(outcome.frames),
            bytes=sum(_bytes(ref) for ref in outcome.frames),
            latency_s=begun.latency_s,
            error=outcome.fault.error if outcome.fault else "",
            message=outcome.fault.message if outcome.fault else "",
        )
        self.state = state
        if outcome.status == "done":
            self._learn(decision, outcome, begun.step, record.time_s)

    def _learn(self, decision: Decision, outcome: Outcome, step: int, time_s: float) -> None:
        action, state = decision.action, outcome.state
        if dark_frames(action):
            self.darks.append((action, outcome))
            self.remarks.append(Remark(step, time_s, "upkeep", "", self._without_beam(action, outcome), ""))
            return
        if decision.purpose in UPKEEP and not outcome.frames:
            self.remarks.append(Remark(step, time_s, "upkeep", "", decision.reason, ""))
        if DRIFT_LIMIT_PX in decision.acquisition_parameters:
            self.remarks.append(Remark(step, time_s, "moved", "", decision.reason, ""))
        if UNFIT in decision.acquisition_parameters:
            self.remarks.append(Remark(step, time_s, "unfit", "", decision.reason, ""))
        if outcome.dark:
            self.less |= {r.file: outcome.dark[r.meta.signal] for r in outcome.frames if r.meta.signal in outcome.dark}
        if isinstance(action, MoveStage):
            self.visited.append((state.sample_slot, state.x_m, state.y_m))
        images = [ref for ref in outcome.frames if is_image(ref)]
        if images:
            self.pictures.append(Picture(step, time_s, state.sample_slot, decision.purpose, decision.target, images[0]))
        place = _place_m(action, state)
        if outcome.values and place is not None and decision.purpose != INSIDE:
            self.measurements.append(
                Measurement(
                    step=step,
                    time_s=time_s,
                    slot=state.sample_slot,
                    x_m=place[0],
                    y_m=place[1],
                    target=decision.target,
                    reason=decision.reason,
                    readings=tuple(Reading(v.name, v.value, v.std, v.unit) for v in outcome.values),
                    predicted_mean=decision.predicted_mean,
                    predicted_std=decision.predicted_std,
                    spectra=tuple(ref for ref in outcome.frames if len(ref.shape) == 1 and not is_reading(ref)),
                    defocus_m=state.defocus_m,
                    beside=tuple(ref for ref in outcome.frames if is_reading(ref)),
                )
            )

    def _without_beam(self, action: Action, outcome: Outcome) -> str:
        """Return what a dark reference has read, and how much that is from the one before it, as a sentence."""
        said = []
        for signal in dict.fromkeys(ref.meta.signal for ref in outcome.frames):
            dwell_s = outcome.frames[0].meta.dwell_s
            level, before = outcome.quality.get(f"{signal}.mean", 0.0), self.levels.get((signal, dwell_s))
            self.levels[signal, dwell_s] = level
            since = "" if before is None else f" ({level - before:+.2g} since the last)"
            said.append(f"{signal} {level:.4g}{since}")
        dwell = f"{outcome.frames[0].meta.dwell_s:g} s" if outcome.frames else ""
        frames = f"{dark_frames(action)} frames of {dwell}"
        return f"dark reference, {frames}: mean counts without beam {', '.join(said)}; subtracted from all that follows"

    def story(self, folder: str, damage: str) -> RunStory:
        """Return what the records taken in so far tell."""
        return RunStory(
            folder=folder,
            header=corrected(self.header, (record.body for record in self.annotations)) if self.header else {},
            clock=RunClock.of(self.stamps),
            first_s=self.stamps[0][0] if self.stamps else 0.0,
            last_s=self.stamps[-1][0] if self.stamps else 0.0,
            records=self.records,
            head=self.last.hash if self.last else "",
            ending=self.ending,
            acts=tuple(self.acts.values()),
            measurements=tuple(self.measurements),
            pictures=tuple(self.pictures),
            proposals=tuple(p for considered in self.proposals for p in considered),
            visited=tuple(self.visited),
            fits=tuple(self.fits),
            rungs=dict(self.rungs),
            remarks=tuple(self.remarks),
            darks=tuple(self.darks),
            less=self.less,
            damage=damage,
        )


def is_image(ref: FrameRef) -> bool:
    """Return whether a frame is a picture of a place: two axes, y and x."""
    return tuple(axis.name for axis in ref.meta.axes) == ("y", "x") and len(ref.shape) == 2


def _bytes(ref: FrameRef) -> int:
    return math.prod(ref.shape) * np.dtype(ref.dtype).itemsize


def _health(fit: Fit) -> tuple[str, str, int]:
    return fit.model, fit.rung, fit.n


def _place_m(action: Action, state: MicroscopeState) -> tuple[float, float] | None:
    """Return the stage-frame point an action is about when the stage stands as in ``state``."""
    match action:
        case Measure():
            return state.x_m + action.x_m, state.y_m + action.y_m
        case Scan() | SpectrumImage():
            return state.x_m + action.centre_x_m, state.y_m + action.centre_y_m
        case MoveStage():
            return (
                state.x_m if action.x_m is None else action.x_m,
                state.y_m if action.y_m is None else action.y_m,
            )
        case _:
            return None


def _ending(body: dict[str, Any]) -> Ending:
    return Ending(
        status=str(body.get("status", "ended")),
        reason=str(body.get("reason", "")),
        steps=int(body.get("steps", 0)),
        time_s=float(body.get("time_s", 0.0)),
        dose_e=float(body.get("dose_e", 0.0)),
        faults=int(body.get("faults", 0)),
        safe=bool(body.get("safe", False)),
    )


def _remark(record: Record) -> Remark:
    body = record.body
    match record.kind:
        case "intervention":
            arguments = ", ".join(f"{k} = {v}" for k, v in (body.get("arguments") or {}).items())
            what = f"{body.get('command', '')} {arguments}".strip()
            return Remark(
                record.step, record.time_s, record.kind, str(body.get("who", "")), what, str(body.get("why", ""))
            )
        case "annotation":
            changes = (f"{name}: {text}" for name, text in (body.get("corrections") or {}).items())
            what = "; ".join([*changes, *(f"tag {tag}" for tag in body.get("tags") or ())])
            who, note = str(body.get("who", "")), str(body.get("note", ""))
            return Remark(record.step, record.time_s, record.kind, who, f"{what or note} ({who})", note if what else "")
        case "run_resumed":
            return Remark(record.step, record.time_s, "resumed", "", *_resumption(body))
        case "fault":
            what, why = str(body.get("error", "")), str(body.get("message", ""))
            return Remark(record.step, record.time_s, record.kind, "", what, why)
        case "note" if isinstance(body.get("event"), str):
            what = str(body.get("reason") or body.get("because") or body["event"])
            return Remark(record.step, record.time_s, str(body["event"]), "", what, "")
        case _:
            text = json.dumps(body, ensure_ascii=False)
            return Remark(record.step, record.time_s, record.kind, str(body.get("who", "")), text[:400], "")


def _resumption(body: dict[str, Any]) -> tuple[str, str]:
    """Return how a run was taken up again, and what was found out then."""
    spent_h = float((body.get("spent") or {}).get("time_s") or 0.0) / 3600
    what = f"interrupted after {spent_h:.2f} h ({body.get('because', '')}), instrument {body.get('instrument', '')}"
    found = [f"{act_id}: {came}" for act_id, came in (body.get("open") or {}).items()]
    return what, "; ".join([*found, *map(str, body.get("differences") or ())])


def _understood(model: type[Model], record: Record, data: object) -> Model:
    try:
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise JournalCorrupt(
            f"is not a {record.kind} as this version of autoscope knows it: {error.errors()[0]['msg']}",
            where=f"record {record.seq}",
            remedy="Read it with the version that wrote it",
        ) from error
