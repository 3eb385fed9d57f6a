"""The few numbers a picture of a whole run needs, out of the canonical text of a record, without reading all of it.

Canonical JSON (docs/journal.md) has sorted keys and no spaces, and a quotation mark inside a text is always preceded by
a backslash, so ``"key":`` can only be a key. Where something is not found that way, the whole body is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

_ACTION = re.compile(rb'"action":(\{[^{}]*\})')
_PREDICTED = re.compile(rb'"predicted_mean":([^,]*),"predicted_std":([^,]*),"purpose":("(?:[^"\\]|\\.)*")')
_ORDER = re.compile(rb'"order":"([0-9a-f]{32})"')
_STATE = re.compile(
    rb'"state":(\{[^{}]*?"dose_e":([^,{}]+),[^{}]*?"sample_slot":(\d+),[^{}]*?"x_m":([^,{}]+),"y_m":([^,{}]+)[^{}]*\})'
)
_MEAN, _STATE_KEY = b'"predicted_mean":', b'"state":{'
"""Looked for first, and the whole pattern tried there alone: looking for the pattern takes longer."""
_ONE_VALUE = re.compile(
    rb'\[\{"name":"([^"\\]*)","scalarizer":"[^"\\]*","std":([^,{}]+),"unit":"([^"\\]*)","value":([^,{}]+)\}\]'
)
_NO_FRAMES = b'"frames":[],'
_STATUS = re.compile(rb'"status":"(\w+)"')
_OVERRULED = b'"fault":{"error":"Overruled",'
_VALUES = b'"values":['
_SHAPES = re.compile(rb'"dtype":"[^"]*?(\d+)"|"shape":\[([\d,]*)\]')


class Intended(NamedTuple):
    """What an intent says, as far as a picture of the run needs it; NaN where it says nothing."""

    action: Mapping[str, Any]
    purpose: str
    mean: float
    std: float
    order: str
    """The order of a person that the act carries out; mostly empty."""


class Concluded(NamedTuple):
    """What an outcome says, as far as a picture of the run needs it."""

    status: str
    state: bytes
    """The instrument's state afterwards, as JSON."""
    x_m: float
    y_m: float
    dose_e: float
    slot: int
    """Of the sample holder."""
    values: tuple[tuple[str, float, float, str], ...]
    """Name, value, standard uncertainty and unit of each."""
    bytes: int
    """Of the frames."""
    images: int
    """How many of the frames have two axes."""
    spectra: int
    """How many of the frames have one axis."""


def skim_intent(body: bytes) -> Intended:
    """Return what the body of an intent says.

    Raises
    ------
    ValueError
        It is no JSON, or no intent.
    """
    found = _skimmed_intent(body)
    return _read_intent(from_json(body)) if found is None else found


def _skimmed_intent(text: bytes) -> Intended | None:
    action = _ACTION.search(text)
    predicted = _PREDICTED.match(text, text.find(_MEAN, action.end())) if action else None
    if action is None or predicted is None:
        return None
    mean, std, purpose = predicted.groups()
    order = _ORDER.search(text, action.end(), predicted.start())
    word = str(from_json(purpose)) if b"\\" in purpose else purpose[1:-1].decode("utf-8")
    expected, spread = (math.nan if number == b"null" else float(number) for number in (mean, std))
    return Intended(from_json(action[1]), word, expected, spread, order[1].decode("ascii") if order else "")


def skim_outcome(body: bytes) -> Concluded:
    """Return what the body of an outcome says.

    Raises
    ------
    ValueError
        It is no JSON, or no outcome.
    """
    state, at = _STATE.match(body, body.find(_STATE_KEY)), body.rfind(_VALUES)
    status = _STATUS.search(body, state.end()) if state else None
    if state is None or status is None or at < 0:
        return _read_outcome(from_json(body))
    text, dose_e, slot, x_m, y_m = state.groups()
    word = "overruled" if _OVERRULED in body else status[1].decode("ascii")
    counted = (0, 0, 0) if _NO_FRAMES in body else _counted(_shapes(body))
    values = _skimmed_values(body, at + len(_VALUES) - 1)
    return Concluded(word, text, float(x_m), float(y_m), float(dose_e), int(slot), values, *counted)


def _skimmed_values(body: bytes, at: int) -> tuple[tuple[str, float, float, str], ...]:
    """Return the values of an outcome whose list begins at a place and ends with the body."""
    one = _ONE_VALUE.fullmatch(body, at, len(body) - 1)
    if one is None:
        return _values(from_json(body[at:-1]))
    name, std, unit, value = one.groups()
    return ((name.decode("utf-8"), float(value), float(std), unit.decode("utf-8")),)


def _read_intent(body: Any) -> Intended:
    try:
        decision = body["decision"]
        mean, std = _number(decision.get("predicted_mean")), _number(decision.get("predicted_std"))
        order = str(decision.get("order") or "")
        return Intended(decision["action"], str(decision.get("purpose") or ""), mean, std, order)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"is no intent: {error!r}") from error


def _read_outcome(body: Any) -> Concluded:
    try:
        frames = body.get("frames") or ()
        shapes = [(int(re.sub(r"\D", "", f["dtype"]) or 1), tuple(f["shape"])) for f in frames]
        state = body["state"]
        x_m, y_m, dose_e = (float(state.get(name) or 0.0) for name in ("x_m", "y_m", "dose_e"))
        overruled = (body.get("fault") or {}).get("error") == "Overruled"
        return Concluded(
            "overruled" if overruled else str(body["status"]),
            to_json(state),
            x_m,
            y_m,
            dose_e,
            int(state.get("sample_slot") or 0),
            _values(body.get("values") or ()),
            *_counted(shapes),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"is no outcome: {error!r}") from error


def _values(found: Any) -> tuple[tuple[str, float, float, str], ...]:
    try:
        return tuple((str(v["name"]), float(v["value"]), float(v["std"]), str(v["unit"])) for v in found)
    except (KeyError, TypeError) as error:
        raise ValueError(f"holds no values: {error!r}") from error


def _shapes(body: bytes) -> list[tuple[int, tuple[int, ...]]]:
    """Return bytes per element and shape of each frame an outcome refers to."""
    found, width = [], 1
    for size, shape in _SHAPES.findall(body):
        if size:
            width = int(size)
        else:
            found.append((width, tuple(int(n) for n in shape.split(b",") if n)))
    return found


def _counted(shapes: list[tuple[int, tuple[int, ...]]]) -> tuple[int, int, int]:
    """Return bytes, number of images and number of spectra."""
    size = sum(width * math.prod(shape) for width, shape in shapes)
    axes = [len(shape) for _, shape in shapes]
    return size, axes.count(2), axes.count(1)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
