"""The decision table: one row an act, the unit in the name of every column that has one. See docs/exports.md."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from autoscope.actions import (
    Blank,
    LoadSample,
    Measure,
    MoveStage,
    Scan,
    SetOptics,
    SetStimulus,
    SetValves,
    SpectrumImage,
    Wait,
)
from autoscope.exports.snapshot import Act
from autoscope.records import MicroscopeState, Scalar

Kind = Literal["int", "float", "bool", "text", "texts"]
Cell = int | float | bool | str | list[str] | None
ACTIONS = (MoveStage, SetOptics, Scan, Measure, SpectrumImage, SetStimulus, LoadSample, Blank, SetValves, Wait)

UNITS = {
    "m": "m",
    "s": "s",
    "rad": "rad",
    "a": "A",
    "v": "V",
    "k": "K",
    "pa": "Pa",
    "e": "e",
    "ev": "eV",
    "px": "px",
    "utc": "ISO 8601",
}
"""What the last part of a name says about its unit."""


@dataclass(frozen=True)
class Column:
    """One column: its name, kind, unit ("" for none), meaning, and how it follows from an act."""

    name: str
    kind: Kind
    unit: str
    doc: str
    of: Callable[[Act], Cell]


def columns(values: tuple[tuple[str, str], ...], quality: tuple[str, ...]) -> tuple[Column, ...]:
    """Return the columns of a run's table.

    Parameters
    ----------
    values : tuple of (str, str)
        Names and units of the target values in the run; each gives a column and one for its standard uncertainty.
    quality : tuple of str
        Names of the quality metrics in the run.
    """
    named = [*FIXED_FIRST, *_action_columns(), *_value_columns(values), *_quality_columns(quality)]
    return tuple(_unique([*named, *_state_columns("before"), *_state_columns("after"), *FIXED_LAST]))


def _unique(given: list[Column]) -> Iterator[Column]:
    """Yield the columns with a number behind any name that is taken, e.g. of targets ``a-b`` and ``a.b``."""
    taken: Counter[str] = Counter()
    for column in given:
        taken[column.name] += 1
        yield column if taken[column.name] == 1 else replace(column, name=f"{column.name}_{taken[column.name]}")


def _c(name: str, kind: Kind, doc: str, of: Callable[[Act], Cell]) -> Column:
    return Column(name, kind, unit_of(name) if kind == "float" or name.endswith("_utc") else "", doc, of)


def unit_of(name: str) -> str:
    """Return the unit that a name in the style of this project ends with; "" where it has none.

    Examples
    --------
    >>> unit_of("action_dwell_s"), unit_of("action_fov_m"), unit_of("status")
    ('s', 'm', '')
    """
    return UNITS.get(name.rsplit("_", 1)[-1], "") if "_" in name else ""


def as_json(value: object) -> str | None:
    """Return plain data as JSON; None for nothing."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True) if value else None


def _fit(name: str) -> Callable[[Act], Any]:
    return lambda act: getattr(act.decision.fit, name) if act.decision.fit else None


def _number(act: Act, *path: str) -> float | None:
    found: Any = act.intent
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return float(found) if isinstance(found, (int, float)) else None


def _fault(act: Act) -> Any:
    return act.outcome.fault if act.outcome else None


def _evidence(act: Act) -> str | None:
    asked = act.intent.get("asked")
    return asked.get("evidence_sha256") if isinstance(asked, dict) else None


FIXED_FIRST: tuple[Column, ...] = (
    _c("step", "int", "Number of the act in the run, counted from 0", lambda act: act.step),
    _c("act_id", "text", "Identity of the act; an instrument does each at most once", lambda act: act.act_id),
    _c("decided_s", "float", "When the intent was durable, on the clock of the run", lambda act: act.decided_s),
    _c("decided_utc", "text", "The same as a date", lambda act: act.decided_utc),
    _c("begun_s", "float", "When the act was sent to the instrument", lambda act: act.begun_s),
    _c("ended_s", "float", "When the instrument had answered", lambda act: act.ended_s),
    _c("recorded_s", "float", "When the outcome was durable", lambda act: act.recorded_s),
    _c("recorded_utc", "text", "The same as a date", lambda act: act.recorded_utc or None),
    _c("latency_s", "float", "Real time the decision took", lambda act: _number(act, "latency_s")),
    _c("purpose", "text", "What the act is for: overview, focus, spectrum, ...", lambda act: act.decision.purpose),
    _c("target", "text", "What the act is about", lambda act: act.decision.target or None),
    _c("reason", "text", "Why this and not something else", lambda act: act.decision.reason),
    _c("decided_by", "text", "policy, runner_up (one stood in), or the person", lambda act: act.decision.decided_by),
    _c(
        "predicted_mean", "float", "Value the model foretold, in the target's unit", lambda a: a.decision.predicted_mean
    ),
    _c("predicted_std", "float", "Its standard deviation", lambda act: act.decision.predicted_std),
    _c("acquisition", "text", "Name of the acquisition function", lambda act: act.decision.acquisition or None),
    _c("acquisition_value", "float", "What it gave the chosen act", lambda act: act.decision.acquisition_value),
    _c("acquisition_parameters", "text", "Its parameters, JSON", lambda a: as_json(a.decision.acquisition_parameters)),
    _c("candidates", "int", "Number of candidates that were considered", lambda act: act.decision.candidates),
    _c("candidates_sha256", "text", "Digest of all of them", lambda act: act.decision.candidates_sha256 or None),
    _c(
        "runners_up",
        "text",
        "The best that were not chosen, with mean, std and value, JSON",
        lambda act: as_json([c.model_dump(mode="json", exclude_none=True) for c in act.decision.runners_up]),
    ),
    _c("model", "text", "Model behind the decision", _fit("model")),
    _c("model_n", "int", "Measurements it was fitted to", _fit("n")),
    _c("model_iterations", "int", "Iterations of the fit", _fit("iterations")),
    _c("model_log_evidence", "float", "Log evidence of the fit", _fit("log_evidence")),
    _c("model_rung", "text", "Rung of the health ladder", _fit("rung")),
    _c("model_hyperparameters", "text", "JSON", lambda act: as_json(_fit("hyperparameters")(act))),
    _c(
        "calibration",
        "text",
        "How honest the earlier predictions were, JSON",
        lambda act: as_json(act.decision.calibration.model_dump(mode="json") if act.decision.calibration else None),
    ),
    _c("data_sha256", "text", "Digest of the data the model saw", lambda act: act.decision.data_sha256 or None),
    _c("evidence_sha256", "text", "Digest of all outcomes the policy had been told", _evidence),
    _c("random_state_sha256", "text", "Digest of the random state", lambda a: a.decision.random_state_sha256 or None),
    _c("cost_time_s", "float", "Time the act was predicted to take", lambda act: _number(act, "cost", "time_s")),
    _c("cost_dose_e", "float", "Electrons it was predicted to cost", lambda act: _number(act, "cost", "dose_e")),
    _c("action", "text", "Kind of action; its settings follow", lambda act: act.decision.action.kind),
)

FIXED_LAST: tuple[Column, ...] = (
    _c(
        "status",
        "text",
        "done, refused (by the guard), rejected (frame unfit), failed, or open (nobody knows)",
        lambda act: act.status,
    ),
    _c("error", "text", "Class of the error", lambda act: _fault(act).error if _fault(act) else None),
    _c("message", "text", "What it said", lambda act: _fault(act).message if _fault(act) else None),
    _c("dose_e", "float", "Electrons the act put on the sample", lambda a: a.outcome.dose_e if a.outcome else None),
    _c(
        "values",
        "text",
        "All target values with unit, std and identity of the scalarizer, JSON",
        lambda act: as_json([v.model_dump(mode="json") for v in _values(act)]),
    ),
    _c(
        "frame_files",
        "texts",
        "Names of the frames",
        lambda act: [ref.file for ref in act.frames],
    ),
    _c("frame_sha256", "texts", "sha256 of the bytes of each as .npy", lambda act: [ref.sha256 for ref in act.frames]),
    _c(
        "dark_references",
        "text",
        "Acts whose dark frames were subtracted before anybody learnt from these frames, by signal, JSON",
        lambda act: as_json({signal: list(ids) for signal, ids in act.outcome.dark.items()} if act.outcome else None),
    ),
    _c("intent_seq", "int", "Number of the intent's record in the journal", lambda act: act.seqs[0]),
    _c("outcome_seq", "int", "Number of the outcome's record in the journal", lambda act: act.seqs[1]),
)


def _values(act: Act) -> tuple[Scalar, ...]:
    return act.outcome.values if act.outcome else ()


def _action_columns() -> list[Column]:
    found: dict[str, Kind] = {}
    for model in ACTIONS:
        for name, field in model.model_fields.items():
            if name != "kind":
                found.setdefault(name, _kind(str(field.annotation)))
    return [_action_column(name, kind) for name, kind in found.items()]


def _kind(annotation: str) -> Kind:
    for sign, kind in (("tuple", "texts"), ("float", "float"), ("int", "int"), ("bool", "bool")):
        if sign in annotation:
            return kind  # type: ignore[return-value]
    return "text"


def _action_column(name: str, kind: Kind) -> Column:
    def of(act: Act) -> Cell:
        value = getattr(act.decision.action, name, None)
        return list(value) if isinstance(value, tuple) else value

    return _c(f"action_{name}", kind, f"{name} that was asked for", of)


def _state_columns(when: Literal["before", "after"]) -> list[Column]:
    return [_state_column(when, name, str(field.annotation)) for name, field in MicroscopeState.model_fields.items()]


def _state_column(when: Literal["before", "after"], name: str, annotation: str) -> Column:
    def of(act: Act) -> Cell:
        if act.outcome is None:
            return None
        state = act.outcome.state_before if when == "before" else act.outcome.state
        value: Cell = getattr(state, name)
        return value

    return _c(f"{when}_{name}", _kind(annotation), f"{name} read back {when} the act", of)


def _value_columns(values: tuple[tuple[str, str], ...]) -> list[Column]:
    made: list[Column] = []
    for name, unit in values:
        end = f"_{_word(unit)}" if _word(unit) else ""
        value, std = _scalar(name, unit, "value"), _scalar(name, unit, "std")
        made.append(Column(f"value_{_word(name)}{end}", "float", unit, f"Target {name}, the first of the act", value))
        made.append(Column(f"value_{_word(name)}_std{end}", "float", unit, f"Standard uncertainty of {name}", std))
    return made


def _scalar(name: str, unit: str, field: str) -> Callable[[Act], Cell]:
    def of(act: Act) -> Cell:
        found = (v for v in _values(act) if v.name == name and v.unit == unit)
        value = next(found, None)
        return None if value is None else float(getattr(value, field))

    return of


def _quality_columns(names: tuple[str, ...]) -> list[Column]:
    return [Column(f"quality_{_word(name)}", "float", "", f"Quality metric {name}", _metric(name)) for name in names]


def _metric(name: str) -> Callable[[Act], Cell]:
    return lambda act: act.outcome.quality.get(name) if act.outcome else None


def _word(text: str) -> str:
    """Return a text as part of a column's name.

    Examples
    --------
    >>> _word("HAADF.saturated"), _word("1/nm")
    ('HAADF_saturated', '1_per_nm')
    """
    return re.sub(r"[^A-Za-z0-9]+", "_", text.replace("/", " per ")).strip("_")
