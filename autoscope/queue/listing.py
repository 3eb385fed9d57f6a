"""A file that names the experiments of a night, each with its own configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, NonNegativeInt

from autoscope.config import ConfigModel, Document, EndConfig


class ExperimentConfig(ConfigModel):
    """One experiment of the night."""

    config: str
    """File of its configuration, relative to this one."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_. -]{0,79}$")
    """Absent: the configuration's own."""
    slot: NonNegativeInt | None = None
    """Of the carousel; absent: the configuration's own ``sample_slot``, or whatever is loaded."""
    set: dict[str, Any] = {}
    """Settings that differ from the file: dotted name -> value, as with ``--set``."""


class QueueConfig(ConfigModel):
    """The experiments of a night, in their order."""

    job: Literal["queue"]
    experiments: tuple[ExperimentConfig, ...] = Field(min_length=1)
    end: EndConfig = EndConfig()
    """How the instrument is left after each of them, unless its own configuration says otherwise."""


class Wanted(ConfigModel):
    """What is to be added to a queue."""

    path: Path
    overrides: tuple[str, ...] = ()


def is_listing(document: Document) -> bool:
    """Return whether a document names experiments rather than being one."""
    return document.data.get("job") == "queue"


def wanted(document: Document, path: Path) -> list[Wanted]:
    """Return the experiments that a document names, with their overrides.

    Raises
    ------
    ConfigError
        With line and field of everything that is wrong.
    """
    config = document.validate(QueueConfig)
    end = (f"end={_flow(config.end.plain())}",)
    found = []
    for one in config.experiments:
        slot = () if one.slot is None else (f"sample_slot={one.slot}",)
        name = () if one.name is None else (f"name={_flow(one.name)}",)
        settings = tuple(f"{key}={_flow(value)}" for key, value in one.set.items())
        found.append(Wanted(path=path.parent / one.config, overrides=(*end, *name, *slot, *settings)))
    return found


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...").removesuffix("...").strip()
