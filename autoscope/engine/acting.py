"""Doing one act, and making of what came back a result that can be written down and learnt from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from autoscope.engine.assemble import Job
from autoscope.engine.dark import measured_again
from autoscope.engine.intent import Intent
from autoscope.engine.suspenders import doubt
from autoscope.errors import AutoscopeError, FrameRejected, PluginError
from autoscope.guard import Guard
from autoscope.journal import Recorder
from autoscope.perception.quality import assess, require
from autoscope.protocols import Scalarizer
from autoscope.purposes import DARK_REFERENCE, UPKEEP
from autoscope.records import (
    Act,
    Decision,
    Fault,
    Frame,
    MicroscopeState,
    Observation,
    Outcome,
    Result,
    Scalar,
    dark_frames,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Span:
    """When an act was sent and when it was answered, on the clock of the run; None: never, or nobody knows."""

    begun_s: float | None = None
    ended_s: float | None = None

    def until(self, ended_s: float) -> Span:
        """Return the span with its end."""
        return Span(self.begun_s, ended_s)

    def plain(self) -> dict[str, float | None]:
        """Return the span as fields of an outcome."""
        return {"begun_s": self.begun_s, "ended_s": self.ended_s}


NEVER = Span()
"""Of an act that was not sent."""


def guarded(where: str, call: Callable[[], T]) -> T:
    """Call a plug-in.

    Raises
    ------
    PluginError
        The plug-in raised something that is no error of ours: its bug must end in a safe, recorded stop, not in a
        traceback with the beam on.
    """
    try:
        return call()
    except AutoscopeError:
        raise
    except Exception as error:
        raise PluginError(f"the plug-in raised {type(error).__name__}: {error}", where=where) from error


def execute(job: Job, act: Act) -> Observation:
    """Have the environment do an act.

    Raises
    ------
    AutoscopeError
        Whatever the instrument says, or `PluginError` where the environment does not keep its protocol.
    """
    *_, info = guarded("environment.step", lambda: job.environment.step(act))
    observation = info.get("observation")
    if not isinstance(observation, Observation):
        raise PluginError("an environment must put the Observation into info", where="environment.step")
    return observation


def take_in(
    job: Job, guard: Guard, recorder: Recorder, intent: Intent, observation: Observation, span: Span = NEVER
) -> Result:
    """Check the frames of an act, keep them all as they are, and turn the good ones, less their dark, into values.

    Raises
    ------
    JournalError
        A frame could not be kept.
    """
    act, refs, fault = intent.act, [], None
    quality: dict[str, float] = {}
    used: dict[str, tuple[str, ...]] = {}
    told: list[Frame] = []
    for index, frame in enumerate(observation.frames):
        told.append(frame)
        try:
            metrics = guard.check(frame, act.action)
            if not dark_frames(act.action):
                told[-1], ids = _less_dark(job, frame)
                used |= {frame.meta.signal: ids} if ids else {}
                metrics = (measured_again(metrics, told[-1]) if ids else metrics) | _image_metrics(job, told[-1])
            quality |= {f"{frame.meta.signal}.{name}": value for name, value in metrics.items()}
            if job.config.engine.quality is not None:
                require(told[-1], metrics, job.config.engine.quality)
        except FrameRejected as error:
            fault = fault_of(error)
        refs.append(recorder.write_frame(frame, step=intent.step, index=index))
    frames = tuple(told)
    if fault is None and dark_frames(act.action):
        fault = _taken(job, act, observation)
    values: tuple[Scalar, ...] = ()
    if (lost := doubt(job.config.engine.suspenders, observation.state)) is not None and frames:
        fault = fault_of(lost)
    if fault is None:
        values, fault = scalarize(job.scalarizers, frames, about(intent.decision))
    outcome = Outcome(
        act_id=act.act_id,
        status="done" if fault is None else "rejected",
        state_before=observation.state_before,
        state=observation.state,
        begun_s=span.begun_s,
        ended_s=span.ended_s,
        dose_e=observation.dose_e,
        frames=tuple(refs),
        dark=used,
        values=values,
        quality=quality,
        fault=fault,
    )
    return Result(outcome, frames)


def _less_dark(job: Job, frame: Frame) -> tuple[Frame, tuple[str, ...]]:
    ids = job.darks.ids(frame)
    return job.darks.less(frame, ids), ids


def _taken(job: Job, act: Act, observation: Observation) -> Fault | None:
    try:
        job.darks.take(act, observation)
    except FrameRejected as error:
        return fault_of(error)
    return None


def about(decision: Decision) -> str:
    """Return the purpose of a decision; of dark frames that is their own, whatever they were decided for."""
    return DARK_REFERENCE if dark_frames(decision.action) else decision.purpose


def _image_metrics(job: Job, frame: Frame) -> dict[str, float]:
    return {} if job.config.engine.quality is None else assess(frame)


def scalarize(
    scalarizers: Mapping[str, Scalarizer], frames: tuple[Frame, ...], purpose: str
) -> tuple[tuple[Scalar, ...], Fault | None]:
    """Return the values of all frames under the names of their scalarizers, or why they cannot be had.

    Of an act for the instrument there are none: what it recorded says nothing of the sample.
    """
    values: list[Scalar] = []
    if purpose in UPKEEP:
        return (), None
    for frame in frames:
        for name, scalarizer in scalarizers.items():
            if scalarizer.fits(frame):
                try:
                    values.append(scalarizer.scalarize(frame, name))
                except FrameRejected as error:
                    return (), fault_of(error)
    return tuple(values), None


def came_to(
    status: str, act: Act, before: MicroscopeState, state: MicroscopeState, error: Exception, span: Span = NEVER
) -> Result:
    """Return the result of an act that was ``refused`` or ``failed``."""
    dose_e = max(0.0, state.dose_e - before.dose_e)
    outcome = Outcome.model_validate(
        {"act_id": act.act_id, "status": status, "state_before": before, "state": state}
        | {"dose_e": dose_e, "fault": fault_of(error)}
        | span.plain()
    )
    return Result(outcome)


def fault_of(error: Exception) -> Fault:
    """Return an error as it is written down."""
    return Fault(error=type(error).__name__, message=str(error))
