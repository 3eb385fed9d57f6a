"""What people write about a run afterwards: corrections and notes, appended and never put in place of anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import model_validator

from autoscope.records import Value

CORRECTABLE = ("name", "operator", "sample", "instrument")
"""What an annotation can correct about the beginning of a run."""


class Annotation(Value):
    """The body of a record of kind ``annotation``."""

    who: str
    note: str = ""
    corrections: dict[str, str] = {}
    """New texts by the names in `CORRECTABLE`."""
    tags: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Annotation:
        if not self.who.strip():
            raise ValueError("an annotation says who made it")
        if unknown := sorted(set(self.corrections) - set(CORRECTABLE)):
            raise ValueError(f"{', '.join(unknown)} cannot be corrected, only {', '.join(CORRECTABLE)}")
        if not (self.note.strip() or self.corrections or self.tags):
            raise ValueError("an annotation holds a note, a correction or a tag")
        return self


def corrected(header: Mapping[str, Any], annotations: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the beginning of a run with corrections made, later ones over earlier ones.

    What a correction replaced stays readable under ``original``.

    Examples
    --------
    >>> corrected({"sample": "Au"}, [{"corrections": {"sample": "Pt"}}])
    {'sample': 'Pt', 'original': {'sample': 'Au'}}
    """
    found = dict(header)
    for body in annotations:
        changes = body.get("corrections")
        for name, text in changes.items() if isinstance(changes, Mapping) else ():
            if name in CORRECTABLE and isinstance(text, str):
                found.setdefault("original", {}).setdefault(name, recorded(header, name))
                found[name] = text
    return found


def recorded(header: Mapping[str, Any], name: str) -> Any:
    """Return what the first record says of one of `CORRECTABLE`; the instrument is named by its capabilities.

    Examples
    --------
    >>> recorded({"capabilities": {"instrument": "ARM200F"}}, "instrument")
    'ARM200F'
    """
    if name == "instrument":
        return (header.get("capabilities") or {}).get("instrument")
    return header.get(name)
