"""The wall clock against the monotonic one: where they part, the journal carries a marker."""

from __future__ import annotations

import datetime
from typing import Any

from autoscope.journal.chain import Row

JUMP_S = 2.0
"""Wall clock and monotonic clock may part by this much between two records, ..."""

SLEW = 1e-3
"""... and by this fraction of the time between them: a clock being corrected gently runs up to 500 ppm off."""

EVENT = "clock_jump"
"""What the marker, a record of kind ``note``, says in ``event``."""

UNCHECKED = frozenset({"annotation"})
"""Kinds written when the run is over, on no clock of the run."""


def parted_s(before: Row, time_s: float, wall: str) -> float | None:
    """Return by how much the wall clock moved more than the monotonic one since a record, in s.

    None where that is within `JUMP_S` and `SLEW`, or where a text is no time.
    """
    earlier, later = _instant(before.wall), _instant(wall)
    if earlier is None or later is None:
        return None
    passed_s = time_s - before.time_s
    jump_s = (later - earlier).total_seconds() - passed_s
    return jump_s if abs(jump_s) > JUMP_S + SLEW * abs(passed_s) else None


def marker(before: Row, jump_s: float, wall: str) -> dict[str, Any]:
    """Return the body of the note that marks a jump, written just before the first record after it."""
    return {"event": EVENT, "jump_s": round(jump_s, 3), "wall_before": before.wall, "wall_after": wall}


def _instant(text: str) -> datetime.datetime | None:
    try:
        instant = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=datetime.UTC)
