"""Which acts a careful operator wants to be asked about."""

from __future__ import annotations

import math

from autoscope.exposure import Cost
from autoscope.records import (
    Action,
    Blank,
    Budget,
    LoadSample,
    Measure,
    MicroscopeState,
    MoveStage,
    Scan,
    SetOptics,
    SetStimulus,
    SetValves,
    SpectrumImage,
    Wait,
)

FAR_M = 100e-6
"""A longer way of the stage may leave the grid square, and drifts long afterwards."""
READ_BACK = 1e-9
"""A read-back differs by this (m or rad) from what was set before."""
LARGE_SHARE = 0.1
"""More of the electrons left than this, in one act, is not taken back."""


def hazard(action: Action, state: MicroscopeState, cost: Cost, left: Budget) -> str:
    """Return why an action is hazardous, as a phrase; empty where it is not.

    Hazardous is what may touch the pole piece (height, tilt, long ways, sample exchange), what heats or biases the
    sample, more current in the beam, a beam that stays on, and an act that takes much of the dose left.

    Examples
    --------
    >>> hazard(MoveStage(z_m=1e-6), MicroscopeState(time_s=0.0), Cost(), Budget())
    'it changes height or tilt of the stage'
    """
    match action:
        case MoveStage():
            return _move(action, state)
        case LoadSample():
            return "it exchanges the sample"
        case SetStimulus():
            return "it heats or biases the sample"
        case SetOptics() if action.beam_current_a is not None and action.beam_current_a > state.beam_current_a:
            return "it raises the beam current"
        case Blank() if not action.blanked:
            return "it leaves the beam on"
        case Scan() | SpectrumImage() | Measure() if (
            left.dose_e is not None and cost.dose_e > LARGE_SHARE * left.dose_e
        ):
            return f"it takes {cost.dose_e / left.dose_e:.0%} of the dose that is left"
        case SetOptics() | Blank() | SetValves() | Scan() | SpectrumImage() | Measure() | Wait():
            return ""


def _move(move: MoveStage, state: MicroscopeState) -> str:
    for name in ("z_m", "alpha_rad", "beta_rad"):
        asked = getattr(move, name)
        if asked is not None and abs(asked - getattr(state, name)) > READ_BACK:
            return "it changes height or tilt of the stage"
    x_m, y_m = (getattr(state, n) if getattr(move, n) is None else getattr(move, n) for n in ("x_m", "y_m"))
    way_m = math.hypot(x_m - state.x_m, y_m - state.y_m)
    return f"the stage travels {way_m * 1e6:.3g} um" if way_m > FAR_M else ""
