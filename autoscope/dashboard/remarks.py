"""What people and the engine wrote between the acts, as lines of a log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONGEST = 400
"""Characters of a line."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A record that is no act: an intervention, a fault, a note, a beginning or an end."""

    seq: int
    kind: str
    step: int | None
    time_s: float
    wall: str
    who: str
    text: str
    body: Mapping[str, Any]

    def __contains__(self, word: str) -> bool:
        return word.lower() in f"{self.kind} {self.who} {self.text}".lower()


def remark(seq: int, kind: str, step: int | None, time_s: float, wall: str, body: Mapping[str, Any]) -> Remark:
    """Return a record as a line of the log."""
    return Remark(seq, kind, step, time_s, wall, str(body.get("who") or ""), _told(kind, body)[:LONGEST], body)


def _told(kind: str, body: Mapping[str, Any]) -> str:
    match kind:
        case "run_started":
            return f"began: {body.get('name', '')}, sample {body.get('sample') or 'not named'}"
        case "run_resumed":
            return f"taken up again: {body.get('because', '')}"
        case "run_ended":
            return f"{body.get('status', 'ended')}: {body.get('reason', '')}"
        case "intervention":
            return _commanded(body)
        case "fault":
            return f"{body.get('error', '')}: {body.get('message', '')}"
        case "note" if body.get("event") == "awaiting":
            return f"an act waits for a person's word: {body.get('because', '')}"
        case "note" if body.get("event") == "went_on":
            return f"nobody answered within {body.get('after_s')} s: {body.get('then')}"
        case "annotation" | "note" if body.get("note"):
            return str(body["note"])
        case _:
            return json.dumps(body, ensure_ascii=False)


def _commanded(body: Mapping[str, Any]) -> str:
    arguments = body.get("arguments")
    given = arguments.items() if isinstance(arguments, Mapping) else ()
    told = ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in given)
    why = f" ({body['why']})" if body.get("why") else ""
    return f"{body.get('command', '')} {told}".strip() + why
