"""Strict configuration: YAML in, resolved and hashed values out, errors that name file, line and field."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from autoscope.config_model import ConfigModel as ConfigModel
from autoscope.deadline import time_of_day
from autoscope.errors import ConfigError
from autoscope.fitness import QualityConfig, SuspendersConfig
from autoscope.quantities import (
    FROM_FILE,
    Bytes,
    Duration,
    Electrons,
    Length,
    PositiveCurrent,
    PositiveDuration,
    PositiveFluence,
    PositiveLength,
)
from autoscope.sample_facts import ChemicalSymbol, IsoTime

Model = TypeVar("Model", bound="ConfigModel")
Path_ = tuple[str | int, ...]
ExportFormat = Literal["nexus", "rocrate", "prov", "zarr", "csv", "parquet"]


_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class PluginConfig(ConfigModel):
    """Which plug-in, and its options (validated by the plug-in's own ``Config``)."""

    name: str
    options: dict[str, Any] = {}


class BudgetConfig(ConfigModel):
    """What the run may spend; absent means unlimited."""

    time_s: PositiveDuration | None = None
    """Instrument time, from the first act to the last."""
    dose_e: Electrons | None = None
    """Electrons on the sample in total."""
    steps: PositiveInt | None = None
    """Number of acts."""
    data_bytes: Bytes | None = Field(default=None, alias="data", exclude_if=lambda value: value is None)
    """Volume of the frames, e.g. ``20 GB``."""
    finish_by: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """Time of day by which the run has ended, e.g. ``"07:30"``: the next one after it began, in the computer's time
    zone (UTC on the simulated clock); or a date and time with its zone, e.g. ``2026-01-02T07:30:00+01:00``."""
    area_dose_e_per_m2: PositiveFluence | None = Field(default=None, exclude_if=lambda value: value is None)
    """Fluence that no place of the sample may pass over the whole run, averaged over cells of a map of the stage."""
    area_cell_m: PositiveLength = Field(default=100e-9, exclude_if=lambda value: value == 100e-9)
    """Side of those cells."""

    @field_validator("finish_by", mode="before")
    @classmethod
    def _time_of_day(cls, given: object) -> object:
        return None if given is None else time_of_day(given)


class LimitsConfig(ConfigModel):
    """What the guard permits, inside what the instrument can do; absent means the instrument's own range."""

    x_m: tuple[Length, Length] | None = None
    y_m: tuple[Length, Length] | None = None
    z_m: tuple[Length, Length] | None = None
    max_dwell_s: PositiveDuration | None = None
    max_beam_current_a: PositiveCurrent | None = None
    max_dose_e_per_m2: PositiveFluence | None = None
    """Fluence a place may receive in one act."""


class ParkConfig(ConfigModel):
    """Where the stage is left; what is absent stays."""

    x_m: Length | None = 0.0
    y_m: Length | None = 0.0
    z_m: Length | None = None


class EndConfig(ConfigModel):
    """How the instrument is left at the end of a run, whatever its end: the beam is always blanked first."""

    park: ParkConfig | None = ParkConfig()
    close_valves: bool = True
    """Where the instrument has valves that software closes."""


class EngineConfig(ConfigModel):
    """How the loop behaves."""

    decision_time_s: Duration = 0.05
    """What deciding costs on the simulated clock, so that simulated runs are reproducible."""
    lookahead: int = Field(default=0, ge=0, le=1)
    """0: decide when the last outcome is known; 1: decide while the last act still runs, so that the beam never waits.

    Needs a policy that counts with pending acts."""
    decision_deadline_s: PositiveDuration | None = None
    """With ``lookahead: 1``: how long the beam may wait for a decision before the best runner-up is taken instead."""
    max_consecutive_faults: PositiveInt = 5
    """Stop after this many failed, rejected or refused acts in a row."""
    checkpoint_every: NonNegativeInt = 500
    """After so many outcomes the state of policies and simulated instruments that offer it is kept beside the record,
    so that a long run is resumed quickly. 0: never. Changes no decision, except that models are built anew there."""
    saturated_fraction: float = Field(default=0.05, gt=0, le=1)
    """A frame with more saturated pixels than this is rejected."""

    suspenders: SuspendersConfig | None = Field(default=None, exclude_if=lambda value: value is None)
    """Conditions under which the beam is blanked and the run waits."""
    quality: QualityConfig | None = Field(default=None, exclude_if=lambda value: value is None)
    """Given: sharpness, resolution and signal to noise of every image are recorded, and what is unfit is rejected."""

    @model_validator(mode="after")
    def _deadline_needs_lookahead(self) -> Self:
        if self.decision_deadline_s is not None and not self.lookahead:
            raise ValueError("decision_deadline holds only where deciding overlaps acquiring. Add 'lookahead: 1'")
        return self


class RunConfig(ConfigModel):
    """One run: an environment, a policy, what is measured, and what it may cost."""

    job: Literal["run"] = "run"
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_. -]{0,79}$")
    seed: NonNegativeInt = 0
    clock: Literal["simulated", "system"] = "simulated"
    """"simulated": time jumps to the next event; "system": real time, for real instruments."""
    operator: str = ""
    sample: str = ""
    elements: tuple[ChemicalSymbol, ...] = Field(default=(), exclude_if=lambda known: not known)
    """Chemical elements known to be in the sample; exports say them."""
    prepared: IsoTime = Field(default="", exclude_if=lambda known: not known)
    """When the sample was prepared, ISO 8601, e.g. ``2026-03-01`` or ``2026-03-01T10:00:00+01:00``."""
    notes: str = ""
    environment: PluginConfig
    policy: PluginConfig
    scalarizers: dict[str, PluginConfig] = {}
    """Target name -> scalarizer; policies refer to targets by these names."""
    budget: BudgetConfig = BudgetConfig()
    limits: LimitsConfig = LimitsConfig()
    engine: EngineConfig = EngineConfig()
    sample_slot: NonNegativeInt | None = Field(default=None, exclude_if=lambda value: value is None)
    """Slot of the carousel whose sample is loaded before anything else; absent: whatever is loaded."""
    end: EndConfig | None = Field(default=None, exclude_if=lambda value: value is None)
    """What is done at the end besides blanking the beam; absent: nothing."""
    exports: tuple[ExportFormat, ...] = Field(default=(), exclude_if=lambda formats: not formats)
    """Written into the run folder at the end, after the report; a failure is told and does not fail the run."""


class Document:
    """A YAML file with the line of every value, so that an error can say where.

    Parameters
    ----------
    text : str
        YAML with one mapping at the top.
    source : str
        Name shown in errors, usually the path.

    Raises
    ------
    ConfigError
        Not YAML, not a mapping, or a key given twice.
    """

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self.lines: dict[Path_, int] = {}
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{source}:{mark.line + 1}" if mark else source
            problem = getattr(error, "problem", None) or str(error)
            raise ConfigError(
                f"is not valid YAML: {problem}", where=where, remedy="Check indentation and quotes"
            ) from error
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(
                "needs a mapping of settings at its top level", where=source, remedy="See configs/ for examples"
            )
        self.data: dict[str, Any] = self._build(node, ())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises
        ------
        ConfigError
            The file is absent, unreadable or not UTF-8.
        """
        try:
            return cls(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError as error:
            near = _nearest(path.name, [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else [])
            raise ConfigError("no such configuration file", where=str(path), remedy=near or "Check the path") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot be read: {error}", where=str(path), remedy="Give a UTF-8 YAML file") from error

    @classmethod
    def of(cls, data: Mapping[str, Any], source: str) -> Self:
        """Return a document of data that are there already, as a file would have them; lines are not known."""
        document = cls("{}", source)
        document.data = dict(data)
        return document

    def _build(self, node: yaml.Node, path: Path_) -> Any:
        self.lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.CollectionNode) and node.tag not in _PLAIN_TAGS:
            raise ConfigError(
                "is not a plain YAML value", where=self.where(path), value=node.tag, remedy="Remove the tag"
            )
        if isinstance(node, yaml.MappingNode):
            out: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key = str(key_node.value)
                if key in out:
                    where = f"{self.source}:{key_node.start_mark.line + 1}"
                    raise ConfigError(f"key {key!r} is given twice", where=where, remedy="Keep one of them")
                out[key] = self._build(value_node, (*path, key))
                self.lines[(*path, key)] = key_node.start_mark.line + 1
            return out
        if isinstance(node, yaml.SequenceNode):
            return [self._build(child, (*path, i)) for i, child in enumerate(node.value)]
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_object(node)
        except yaml.YAMLError as error:
            raise ConfigError("is not a plain YAML value", where=self.where(path), remedy="Remove the tag") from error

    def where(self, path: Path_) -> str:
        """Return ``file:line: field`` for a path of keys (of the nearest enclosing value that has a line)."""
        line = next((self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), 1)
        field = ".".join(str(p) for p in path)
        return f"{self.source}:{line}: {field}" if field else f"{self.source}:{line}"

    def override(self, assignment: str) -> None:
        """Apply one ``a.b=value`` of the command line.

        Raises
        ------
        ConfigError
            Not of the form ``key=value``, or the path runs through a value that is not a mapping.
        """
        dotted, equals, text = assignment.partition("=")
        if not equals or not dotted.strip():
            raise ConfigError("an override needs the form a.b=value", where="--set", value=assignment)
        keys = dotted.strip().split(".")
        target = self.data
        for key in keys[:-1]:
            target = target.setdefault(key, {})
            if not isinstance(target, dict):
                raise ConfigError(f"{key!r} is not a group of settings", where="--set", value=assignment)
        target[keys[-1]] = Document(f"value: {text}" if text else "value: ''", "--set").data["value"]

    def validate(self, model: type[Model], at: Path_ = ()) -> Model:
        """Return the part of the document at a path as a configuration value.

        Raises
        ------
        ConfigError
            Every problem found, one a line, each with file, line, field, value and what to do.
        """
        try:
            return model.model_validate(self._part(at), context=FROM_FILE)
        except ValidationError as error:
            problems = list(self._problems(error, model, at))
            raise ConfigError("\n".join(problems)) from error

    def _part(self, path: Path_) -> Any:
        part: Any = self.data
        for key in path:
            if isinstance(part, Mapping):
                part = part.get(key, {})
            elif isinstance(part, list) and isinstance(key, int) and key < len(part):
                part = part[key]
            else:
                return {}
        return part

    def _without_tags(self, loc: Path_, at: Path_) -> Path_:
        """Return a pydantic location without the names of union members that it inserts."""
        path: list[str | int] = []
        for k, part in enumerate(loc):
            within = self._part((*at, *path))
            known = isinstance(within, Mapping) and (part in within or k == len(loc) - 1)
            if known or isinstance(part, int):
                path.append(part)
        return tuple(path)

    def _problems(self, error: ValidationError, model: type[BaseModel], at: Path_) -> Iterator[str]:
        seen: set[str] = set()
        for item in error.errors(include_url=False):
            if item["type"] == "too_short" and item["input"]:
                continue  # pydantic counts only valid members; their own errors are told already
            path = (*at, *self._without_tags(item["loc"], at))
            message = _explain(item, model)
            text = f"{self.where(path)}: {message}"
            if text not in seen:
                seen.add(text)
                yield text


def _explain(item: Any, model: type[BaseModel]) -> str:
    kind, given = item["type"], item["input"]
    if kind == "extra_forbidden":
        known = _fields_at(model, item["loc"][:-1])
        near = _nearest(str(item["loc"][-1]), known)
        return f"no such setting. {near or 'Known here: ' + ', '.join(sorted(known))}"
    if kind == "missing":
        return "is required but absent. Add it"
    text = str(item["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    shown = repr(given)
    return f"{text} (got {shown if len(shown) < 80 else shown[:77] + '...'})"


def _fields_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    current: type[BaseModel] = model
    candidates: list[type[BaseModel]] = []
    for part in loc:
        tagged = next((c for c in candidates if _is_tagged(c, part)), None)
        match = next((f for n, f in current.model_fields.items() if part in (n, f.alias)), None)
        candidates = _models_in(match.annotation) if match and not tagged else candidates
        current = tagged or (candidates[0] if candidates else current)
    return [f.alias or n for n, f in current.model_fields.items()]


def _is_tagged(model: type[BaseModel], tag: str | int) -> bool:
    kind = model.model_fields.get("kind")
    return kind is not None and kind.default == tag


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in getattr(annotation, "__args__", ()) for m in _models_in(a)]


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else ""


def config_hash(plain: Mapping[str, Any]) -> str:
    """Return the sha256 of a plain configuration in canonical JSON."""
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
