"""How two decisions differ: which fields, by how much, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from autoscope.records import Decision, Finish

NUMERICS = 1e-6
"""Relative differences up to this are what another processor or library may make of the same arithmetic."""


@dataclass(frozen=True)
class Difference:
    """A field that differs; ``relative`` is the size of the difference where both are numbers."""

    field: str
    recorded: Any
    now: Any
    relative: float | None = None

    def __str__(self) -> str:
        text = f"{self.field}: {_short(self.recorded)} recorded, {_short(self.now)} now"
        return text if self.relative is None else f"{text} (relative difference {self.relative:.2g})"


def compare(recorded: Decision, now: Decision | Finish, tolerance: float = 0.0) -> tuple[Difference, ...]:
    """Return the fields in which two decisions differ by more than a relative tolerance.

    With a tolerance the sentence of reason, which quotes numbers, is not compared.

    Examples
    --------
    >>> from autoscope.records import Wait
    >>> one = Decision(action=Wait(duration_s=1.0), purpose="wait", reason="", predicted_mean=2.0)
    >>> [str(d) for d in compare(one, one.replace(predicted_mean=2.5))]
    ['predicted_mean: 2.0 recorded, 2.5 now (relative difference 0.2)']
    >>> compare(one, one.replace(predicted_mean=2.0 + 1e-12), tolerance=1e-9)
    ()
    """
    if recorded == now:
        return ()
    if isinstance(now, Finish):
        return (Difference("action", recorded.action.kind, f"finish: {now.reason}"),)
    old, new = (dict(_leaves(d.model_dump(mode="json"))) for d in (recorded, now))
    if tolerance:
        old.pop("reason", None)
        new.pop("reason", None)
    found = (_difference(name, old.get(name), new.get(name)) for name in {**old, **new})
    return tuple(d for d in found if d is not None and not (d.relative is not None and d.relative <= tolerance))


def cause(differences: tuple[Difference, ...], *, same_evidence: bool, made_differently: list[str]) -> str:
    """Return why a decision differs, as a sentence for people."""
    fields = {d.field for d in differences}
    if not same_evidence:
        return "data: the policy was told something else than at that time"
    if made_differently:
        return f"version: the run was made otherwise ({'; '.join(made_differently)})"
    if "data_sha256" in fields:
        return "data: the model was trained on something else"
    if "random_state_sha256" in fields:
        return "chance: the random state was another"
    if all(d.relative is not None and d.relative <= NUMERICS for d in differences if d.field != "reason"):
        return f"numerics: no number differs by more than {NUMERICS:g} of it, the action is the same"
    if any(d.field.startswith("action") for d in differences):
        return "the policy decides otherwise on the same evidence: its code, the record or the arithmetic has changed"
    return "the policy says otherwise why it decides the same: its code, the record or the arithmetic has changed"


def _difference(name: str, old: Any, new: Any) -> Difference | None:
    if type(old) is type(new) and old == new:
        return None
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (old, new))
    if not numbers:
        return Difference(name, old, new)
    if old == new:
        return None
    scale = max(abs(old), abs(new))
    return Difference(name, old, new, abs(old - new) / scale if math.isfinite(scale) else math.inf)


def _leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{at}.{key}" if at else str(key))
    elif isinstance(value, list):
        yield f"{at} (number)", len(value)
        for k, inner in enumerate(value):
            yield from _leaves(inner, f"{at}[{k}]")
    else:
        yield at, value


def _short(value: Any) -> str:
    text = str(value) if isinstance(value, str) else repr(value)
    return f"{text[:57]}..." if len(text) > 60 else text
