"""What can be asked of an export."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from pydantic import Field

from autoscope.records import Value

Progress = Callable[[str, int, int], None]
"""Told what is counted, how many are done and how many there are."""

Part = Literal["frames", "decisions", "records", "config", "report"]
PARTS: tuple[str, ...] = get_args(Part)


class Options(Value):
    """How a run is exported; every format uses what concerns it."""

    include: tuple[Part, ...] = ("frames", "decisions", "records", "config", "report")
    """Arrays; the decision table; each act's records as they were written; the configuration; the morning report."""
    skip_damaged: bool = False
    """Leave out what does not verify, and say so, instead of refusing."""
    compression: Literal["gzip", "none"] = "gzip"
    level: int = Field(default=4, ge=1, le=9)
    licence: str = ""
    """URL or SPDX identifier of the licence of the data."""
    author: str = ""
    orcid: str = Field(default="", pattern=r"^(\d{4}-\d{4}-\d{4}-\d{3}[\dX])?$")
    affiliation: str = ""
    affiliation_id: str = ""
    """ROR URL of the affiliation."""
    elements: tuple[str, ...] = ()
    """Chemical elements in the sample."""
    prepared: str = ""
    """When the sample was prepared, ISO 8601."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""
