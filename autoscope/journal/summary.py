"""What one line of a list of runs says, read from a journal without going through all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from autoscope.actions import Value
from autoscope.errors import JournalError
from autoscope.journal.annotation import CORRECTABLE, corrected
from autoscope.journal.chain import Record, parse
from autoscope.journal.layout import DATABASE
from autoscope.journal.store import UNREADABLE, connect, decode, unreadable

INTERRUPTED, UNFIT, EMPTY = "interrupted", "unreadable", "empty"
"""States of runs without an end: cut off (or still going), not to be read, never begun."""


class RunSummary(Value):
    """One run as a list shows it; corrections of annotations are made, ``original`` keeps what they replaced."""

    folder: str
    """Name of the run's folder."""
    status: str
    """How it ended (completed, stopped, failed), or interrupted, empty, unreadable."""
    name: str = ""
    sample: str = ""
    operator: str = ""
    instrument: str = ""
    policy: str = ""
    environment: str = ""
    targets: tuple[str, ...] = ()
    """Names of the scalarizers."""
    elements: tuple[str, ...] = ()
    """Words of the scalarizers' names and settings, in small letters: ``pt``, ``fe``, ``eels``."""
    started: str = ""
    """Wall-clock time, ISO 8601."""
    time_s: float = 0.0
    steps: int = 0
    dose_e: float = 0.0
    records: int = 0
    reason: str = ""
    notes: tuple[str, ...] = ()
    """From the configuration and from annotations."""
    tags: tuple[str, ...] = ()
    original: dict[str, str | None] = {}
    problem: str = ""
    """Why it cannot be read."""


def summarize(folder: Path) -> RunSummary:
    """Return the summary of a run; one that cannot be read is summed up as such."""
    try:
        with closing(connect(folder)) as connection:
            counts = {
                bytes(kind).decode("utf-8", "replace"): (count, last)
                for kind, count, last in connection.execute(
                    "SELECT kind, count(*), max(seq) FROM records GROUP BY kind"
                )
            }
            wanted = [1, *(counts[kind][1] for kind in ("run_ended",) if kind in counts)]
            last = max((seq for _, seq in counts.values()), default=0)
            records = {record.seq: record for record in _read(connection, folder, [*wanted, last])}
            notes = list(_read_kind(connection, folder, "annotation")) if "annotation" in counts else []
    except JournalError as error:
        return RunSummary(folder=folder.name, status=UNFIT, problem=str(error))
    except UNREADABLE as error:
        return RunSummary(folder=folder.name, status=UNFIT, problem=str(unreadable(folder / DATABASE, error)))
    return _told(folder.name, records, notes, {kind: count for kind, (count, _) in counts.items()})


_COLUMNS = "SELECT seq, kind, step, time_s, wall, body, previous, hash FROM records"


def _read(connection: Any, folder: Path, seqs: list[int]) -> Iterator[Record]:
    where = str(folder / DATABASE)
    for seq in dict.fromkeys(seqs):
        for raw in connection.execute(f"{_COLUMNS} WHERE seq = ?", (seq,)).fetchall():
            yield parse(decode(raw, where), where)


def _read_kind(connection: Any, folder: Path, kind: str) -> Iterator[Record]:
    where = str(folder / DATABASE)
    for raw in connection.execute(f"{_COLUMNS} WHERE kind = ? ORDER BY seq", (kind,)).fetchall():
        yield parse(decode(raw, where), where)


def _told(folder: str, records: Mapping[int, Record], notes: list[Record], counts: Mapping[str, int]) -> RunSummary:
    first = records.get(1)
    if first is None or first.kind != "run_started":
        return RunSummary(folder=folder, status=EMPTY, records=sum(counts.values()))
    header = corrected(first.body, (note.body for note in notes))
    config = header["config"] if isinstance(header.get("config"), Mapping) else {}
    scalarizers = config["scalarizers"] if isinstance(config.get("scalarizers"), Mapping) else {}
    instrument = header.get("instrument") or (header.get("capabilities") or {}).get("instrument") or ""
    said = [str(config.get("notes") or ""), *(str(note.body.get("note") or "") for note in notes)]
    return RunSummary(
        folder=folder,
        name=str(header.get("name") or ""),
        sample=str(header.get("sample") or ""),
        operator=str(header.get("operator") or ""),
        instrument=str(instrument),
        policy=_name(config.get("policy")),
        environment=_name(config.get("environment")),
        targets=tuple(scalarizers),
        elements=_words(scalarizers),
        started=first.wall,
        notes=tuple(text for text in said if text),
        tags=tuple(dict.fromkeys(str(tag) for note in notes for tag in note.body.get("tags") or ())),
        original={name: header["original"].get(name) for name in CORRECTABLE if name in header.get("original", {})},
        records=sum(counts.values()),
        **_end(records, first, counts),
    )


def _end(records: Mapping[int, Record], first: Record, counts: Mapping[str, int]) -> dict[str, Any]:
    last = records[max(records)]
    end = next((record for record in records.values() if record.kind == "run_ended"), None)
    over = end is not None and (end is last or last.kind == "annotation")
    body = end.body if over and end is not None else {}
    steps, dose_e, time_s = body.get("steps"), body.get("dose_e"), body.get("time_s")
    return {
        "status": str(body.get("status", "ended")) if over else INTERRUPTED,
        "reason": str(body.get("reason", "")),
        "steps": steps if isinstance(steps, int) else counts.get("outcome", 0),
        "time_s": float(time_s) if isinstance(time_s, (int, float)) else last.time_s - first.time_s,
        "dose_e": float(dose_e) if isinstance(dose_e, (int, float)) else _dose_e(last),
    }


def _dose_e(last: Record) -> float:
    """Return what the instrument had counted by the last record, where it is an outcome."""
    state = last.body.get("state")
    dose_e = state.get("dose_e") if isinstance(state, Mapping) else None
    return float(dose_e) if isinstance(dose_e, (int, float)) else 0.0


def _name(part: object) -> str:
    return str(part.get("name") or "") if isinstance(part, Mapping) else ""


def _words(scalarizers: Mapping[str, Any]) -> tuple[str, ...]:
    text = json.dumps(scalarizers, ensure_ascii=False)
    return tuple(sorted({word.lower() for word in re.findall(r"[A-Za-z][A-Za-z0-9]*", text)}))
