"""How the instrument is left at the end of a run, and how it is taken up from there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from autoscope.config import EndConfig
from autoscope.engine.acting import execute, fault_of
from autoscope.engine.assemble import Job
from autoscope.errors import AutoscopeError
from autoscope.guard import Guard
from autoscope.journal import Recorder
from autoscope.records import Act, Action, Budget, Capabilities, MicroscopeState, MoveStage, SetValves

Kind = Literal["closing", "returning"]
PARKED = ("x_m", "y_m", "z_m", "alpha_rad", "beta_rad")


def closing_actions(end: EndConfig, capabilities: Capabilities) -> list[Action]:
    """Return what is to be done at the end of a run besides blanking, of what the instrument can do."""
    actions: list[Action] = []
    if end.park is not None and "move_stage" in capabilities.actions:
        actions.append(MoveStage(x_m=end.park.x_m, y_m=end.park.y_m, z_m=end.park.z_m))
    if end.close_valves and "set_valves" in capabilities.actions:
        actions.append(SetValves(valves_open=False))
    return actions


def returning_actions(last: MicroscopeState, now: MicroscopeState) -> list[Action]:
    """Return what brings an instrument back to where a run had left it before its closing actions."""
    actions: list[Action] = []
    if now.valves_open is False and last.valves_open:
        actions.append(SetValves(valves_open=True))
    away = {axis: getattr(last, axis) for axis in PARKED if getattr(last, axis) != getattr(now, axis)}
    return [*actions, MoveStage(**away)] if away else actions


def do_all(kind: Kind, actions: list[Action], job: Job, guard: Guard, recorder: Recorder, run_id: str) -> list[str]:
    """Do acts outside the loop, each written down before and after, whatever becomes of the others.

    No budget holds them back: leaving an instrument in order is never too expensive. They cost no dose.

    Returns
    -------
    list of str
        What went wrong, for people.
    """
    return list(_troubles(kind, actions, job, guard, recorder, run_id))


def _troubles(
    kind: Kind, actions: list[Action], job: Job, guard: Guard, recorder: Recorder, run_id: str
) -> Iterator[str]:
    for action in actions:
        try:
            number = recorder.append(kind, {"event": "intended", "action": action.model_dump(mode="json")})
            act = Act(act_id=f"{run_id}-{kind}-{number:06d}", action=action)
            guard.permit(action, job.environment.read_state(), Budget())
            seen = execute(job, act)
            recorder.append(kind, {"event": "done", "act_id": act.act_id, "state": seen.state.model_dump(mode="json")})
        except AutoscopeError as error:
            yield f"{action.kind.replace('_', ' ')} failed: {error}"
            _note(recorder, kind, error)


def _note(recorder: Recorder, kind: Kind, error: AutoscopeError) -> None:
    try:
        recorder.append(kind, {"event": "failed", "fault": fault_of(error).model_dump(mode="json")})
    except AutoscopeError:
        return  # the record is full: the end of the run says so
