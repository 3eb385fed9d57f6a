"""Which part of a spectrum a scalarizer reads, from its settings."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from autoscope.quantities import parse
from autoscope.records import Axis

_TYPED = re.compile(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(.*?)\s*")


def windows(scalarizers: Mapping[str, Any], axis: Axis, signal: str) -> Iterator[tuple[str, float, float]]:
    """Yield (name of the setting, begin, end) of every band on an axis, in its unit; the target's name before a dot.

    Settings that are no bands, or of another kind of axis, are left out.
    """
    for target, scalarizer in scalarizers.items():
        options = scalarizer.get("options") if isinstance(scalarizer, Mapping) else None
        if not isinstance(options, Mapping) or options.get("signal") not in (None, signal):
            continue
        for setting, value in options.items():
            for begin, end in _bands(value, axis.unit):
                yield f"{target}.{setting}", begin, end


def _bands(value: Any, unit: str) -> Iterator[tuple[float, float]]:
    if not isinstance(value, (list, tuple)) or not value:
        return
    if all(isinstance(part, (list, tuple)) for part in value):
        for part in value:
            yield from _bands(part, unit)
    elif len(value) == 2:
        begin, end = (_coordinate(part, unit) for part in value)
        if math.isfinite(begin) and math.isfinite(end) and begin < end:
            yield begin, end


def _coordinate(text: object, unit: str) -> float:
    typed = _TYPED.fullmatch(str(text))
    if typed is None:
        return math.nan
    if typed[2] == unit:
        return float(typed[1])
    try:
        return parse(str(text), unit)
    except ValueError:
        return math.nan
