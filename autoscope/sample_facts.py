"""What people know of a sample beforehand, as types of a configuration."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from pydantic import BeforeValidator, Field


def iso_text(value: object) -> str:
    """Return a date, or a date with time and zone, as text; YAML has made a date of what looks like one.

    Raises
    ------
    ValueError
        It is none, or a time without its zone.

    Examples
    --------
    >>> iso_text(date(2026, 3, 1)), iso_text("2026-03-01T10:00:00+01:00")
    ('2026-03-01', '2026-03-01T10:00:00+01:00')
    """
    text = value.isoformat() if isinstance(value, date) else str(value)
    if text and datetime.fromisoformat(text).tzinfo is None and not is_day(text):
        raise ValueError(f"a time needs its zone, e.g. {text}+01:00, or give the day alone")
    return text


def is_day(text: str) -> bool:
    """Return whether a text is a date without a time.

    Examples
    --------
    >>> is_day("2026-03-01"), is_day("2026-03-01T10:00:00+01:00")
    (True, False)
    """
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


IsoTime = Annotated[str, BeforeValidator(iso_text)]
"""ISO 8601; empty where it is not known."""
ChemicalSymbol = Annotated[str, Field(pattern=r"^[A-Z][a-z]?$")]
