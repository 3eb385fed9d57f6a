"""What the instrument and the budget are expected to be when an act that has only begun is done."""

from __future__ import annotations

from autoscope.exposure import Cost
from autoscope.records import (
    Action,
    Blank,
    LoadSample,
    MicroscopeState,
    MoveStage,
    SetOptics,
    SetStimulus,
    SetValves,
)


def expected_state(action: Action, state: MicroscopeState, cost: Cost) -> MicroscopeState:
    """Return the state in which an action should leave the instrument, if it does exactly what it is asked.

    Examples
    --------
    >>> before = MicroscopeState(time_s=10.0, y_m=2e-6)
    >>> after = expected_state(MoveStage(x_m=1e-6), before, Cost(time_s=3.0))
    >>> after.x_m, after.y_m, after.time_s
    (1e-06, 2e-06, 13.0)
    """
    changes: dict[str, float | bool | None] = {}
    match action:
        case MoveStage() | SetOptics() | SetStimulus() | Blank():
            fields = action.model_dump(exclude={"kind"}, exclude_none=True)
            changes = {name: value for name, value in fields.items() if name in type(state).model_fields}
        case LoadSample():
            changes = {"sample_slot": action.slot}
        case SetValves():
            changes = {"valves_open": action.valves_open, "blanked": state.blanked or not action.valves_open}
    return state.replace(**changes, time_s=state.time_s + cost.time_s, dose_e=state.dose_e + cost.dose_e)
