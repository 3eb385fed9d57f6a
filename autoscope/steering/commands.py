"""The commands of people and everything around them, in one place for dashboards and scripts.

Examples
--------
>>> command = COMMANDS.validate_json('{"command": "exclude", "place": {"shape": "disc", "x_m": 1e-8, "y_m": 0.0}}')
>>> command.place.words()
'(10, 0) nm'
"""

from __future__ import annotations

from autoscope.interventions import (
    COMMANDS,
    FREE,
    UNDOABLE,
    URGENT,
    Abort,
    Approve,
    Command,
    Dequeue,
    EmergencyStop,
    Enqueue,
    Exclude,
    GiveWheel,
    Level,
    Mark,
    Note,
    OnTimeout,
    Order,
    Pause,
    Pin,
    Receipt,
    Resume,
    Retract,
    SendTo,
    SetAcquisition,
    SetAutonomy,
    SetBudget,
    SetDwell,
    SetScalarizer,
    Stop,
    TakeWheel,
    Undo,
    Veto,
)
from autoscope.wishes import AcquisitionWish, Disc, Marked, Rectangle, Region, Wishes

__all__ = [
    "COMMANDS",
    "FREE",
    "UNDOABLE",
    "URGENT",
    "Abort",
    "AcquisitionWish",
    "Approve",
    "Command",
    "Dequeue",
    "Disc",
    "EmergencyStop",
    "Enqueue",
    "Exclude",
    "GiveWheel",
    "Level",
    "Mark",
    "Marked",
    "Note",
    "OnTimeout",
    "Order",
    "Pause",
    "Pin",
    "Receipt",
    "Rectangle",
    "Region",
    "Resume",
    "Retract",
    "SendTo",
    "SetAcquisition",
    "SetAutonomy",
    "SetBudget",
    "SetDwell",
    "SetScalarizer",
    "Stop",
    "TakeWheel",
    "Undo",
    "Veto",
    "Wishes",
]
