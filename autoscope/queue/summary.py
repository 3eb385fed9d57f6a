"""The night across experiments: one page that says what was done, what not and why, with links to each report."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from autoscope.engine.events import RunEnd
from autoscope.engine.history import History, incumbents_of, read_history
from autoscope.engine.incumbent import Best
from autoscope.errors import AutoscopeError
from autoscope.journal import Journal, JournalReader
from autoscope.journal.disk import LocalDisk, write_durably
from autoscope.queue.entry import Entry, EntryStatus

PAGE = "queue_report.html"


@dataclass(frozen=True)
class Line:
    """One experiment as the page shows it."""

    entry: Entry
    sample: str
    run: str
    """Link to the run's folder, relative to the page; empty where there is none."""
    report: str
    """Link to its report."""
    time_h: float | None
    acts: int | None
    dose_e: float | None
    data_bytes: int | None
    faults: int | None
    best: tuple[Best, ...]
    left: str
    """How the instrument was left."""


def summarize(entries: list[Entry], page: Path) -> list[Line]:
    """Return one line for each experiment, as its record tells; ``page`` is where links are relative to."""
    return [_line(entry, page.parent) for entry in entries]


def render(entries: list[Entry], page: Path) -> str:
    """Return the page as one HTML text that needs nothing else."""
    lines = summarize(entries, page)
    template = _templates().get_template("night.html.j2")
    style = Markup((resources.files("autoscope.queue") / "night.css").read_text(encoding="utf-8"))  # noqa: S704 - ours
    return template.render(lines=lines, headline=headline(entries), style=style, Status=EntryStatus)


def write(entries: list[Entry], page: Path) -> Path:
    """Write the page, whole or not at all, and return where it is."""
    write_durably(LocalDisk(), page, render(entries, page).encode("utf-8"))
    return page


def headline(entries: list[Entry]) -> str:
    """Return what became of the experiments as a sentence."""
    counts = {status: sum(e.status is status for e in entries) for status in EntryStatus}
    total = len(entries)
    parts = [f"{counts[EntryStatus.DONE]} of {total} experiment{'s' * (total != 1)} done"]
    words = {
        EntryStatus.FAILED: "failed and skipped",
        EntryStatus.STOPPED: "stopped",
        EntryStatus.RUNNING: "running or cut off",
        EntryStatus.WAITING: "waiting",
    }
    parts += [f"{counts[status]} {word}" for status, word in words.items() if counts[status]]
    return ", ".join(parts)


def _line(entry: Entry, base: Path) -> Line:
    folder = Path(entry.folder) if entry.folder else None
    history = _history(folder)
    end = entry.end or _end(history)
    report = folder / "report" / "index.html" if folder else None
    return Line(
        entry=entry,
        sample=str(history.config.get("sample", "")) if history else "",
        run=_link(folder, base),
        report=_link(report, base),
        time_h=end.time_s / 3600 if end else None,
        acts=len(history.told) if history else None,
        dose_e=end.dose_e if end else None,
        data_bytes=end.bytes if end else None,
        faults=end.faults if end else None,
        best=incumbents_of(history) if history else (),
        left=_left(end, history),
    )


def _left(end: RunEnd | None, history: History | None) -> str:
    if end is None:
        return ""
    beam = "beam blanked" if end.safe else "BEAM STATE UNKNOWN"
    if "; at the end " in end.reason:
        return f"{beam}; end actions failed, see the reason"
    return f"{beam}, parked" if history is not None and history.left else beam


def _history(folder: Path | None) -> History | None:
    if folder is None or not (folder / "journal.sqlite").is_file() or Journal.is_blank(folder):
        return None
    try:
        return read_history(JournalReader.open(folder))
    except AutoscopeError:
        return None  # the page says what the queue knows; 'autoscope verify' says the rest


def _end(history: History | None) -> RunEnd | None:
    return None if history is None or history.ended is None else RunEnd.model_validate_json(json.dumps(history.ended))


def _link(target: Path | None, base: Path) -> str:
    if target is None or not target.exists():
        return ""
    return Path(os.path.relpath(target, base)).as_posix()


def _templates() -> Environment:
    def source(name: str) -> str:
        return (resources.files("autoscope.queue") / name).read_text(encoding="utf-8")

    return Environment(loader=FunctionLoader(source), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
