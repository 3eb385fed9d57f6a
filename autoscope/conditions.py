"""What an instrument reads back of itself, under the names and units people type: ``beam_current``, ``vacuum``."""

from __future__ import annotations

from autoscope.quantities import parse, without_unit
from autoscope.records import MicroscopeState

UNITS = {"_a": "A", "_pa": "Pa", "_k": "K", "_m": "m", "_rad": "rad", "_v": "V"}
"""Endings of fields, and the units they stand for."""
READINGS = {
    without_unit(name): (name, unit)
    for name in MicroscopeState.model_fields
    for ending, unit in UNITS.items()
    if name.endswith(ending)
}
"""Name as typed -> field of the state, and its unit."""


def threshold(reading: str, text: str) -> float:
    """Return a typed limit of a reading in SI.

    Raises
    ------
    ValueError
        There is no such reading, or the text is no quantity of its unit.

    Examples
    --------
    >>> threshold("beam_current", "20 pA")
    2e-11
    """
    if reading not in READINGS:
        raise ValueError(f"no such reading: {reading!r}. Known: {', '.join(sorted(READINGS))}")
    return parse(text, READINGS[reading][1])


def value_of(reading: str, state: MicroscopeState) -> float | None:
    """Return what a state says of a reading, SI; None where the instrument does not read it back."""
    value = getattr(state, READINGS[reading][0])
    return None if value is None else float(value)
