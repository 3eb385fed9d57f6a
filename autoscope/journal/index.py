"""The index of a folder of runs: a cache of their summaries, which may be deleted or damaged at any time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from pydantic import ValidationError

from autoscope.journal.layout import DATABASE, LOCK
from autoscope.journal.lock import is_held
from autoscope.journal.summary import EMPTY, INTERRUPTED, RunSummary, summarize

INDEX = ".index.sqlite"
"""Name of the index, in the folder of the runs."""

VERSION = 1
"""``PRAGMA user_version`` of an index; any other is thrown away."""

RUNNING = "running"
"""Status of a run that a process writes to now."""

Progress = Callable[[Path], None]


def runs(folder: Path, *, rebuild: bool = False, progress: Progress | None = None) -> list[RunSummary]:
    """Return the summaries of all runs in a folder, by name of folder; reads only what changed since the last time.

    Where the index cannot be written, runs are read without one.

    Parameters
    ----------
    folder : Path
        Holds the run folders.
    rebuild : bool
        Read every run again.
    progress : callable, optional
        Told each run folder that is read.
    """
    found = [path for path in sorted(folder.iterdir()) if (path / DATABASE).is_file()]
    with closing(_opened(folder / INDEX, rebuild)) as connection:
        known = _known(connection)
        summaries = {}
        for path in found:
            stamp = _stamp(path)
            if path.name not in known or known[path.name][0] != stamp:
                if progress:
                    progress(path)
                known[path.name] = (stamp, summarize(path))
                _store(connection, path.name, *known[path.name])
            summaries[path.name] = _now(path, known[path.name][1])
        _forget(connection, known.keys() - summaries.keys())
    return list(summaries.values())


def _opened(path: Path, rebuild: bool) -> sqlite3.Connection:
    """Return the index, emptied if it is to be rebuilt or is none; one in memory where the folder takes none."""
    for attempt in range(2):
        if rebuild or attempt:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        with suppress(sqlite3.Error):
            return _prepared(sqlite3.connect(path, isolation_level=None))
    return _prepared(sqlite3.connect(":memory:", isolation_level=None))


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            connection.execute("DROP TABLE IF EXISTS runs")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("CREATE TABLE IF NOT EXISTS runs (name TEXT PRIMARY KEY, stamp TEXT, summary TEXT)")
        connection.execute("SELECT name, stamp, summary FROM runs LIMIT 1").fetchall()
        if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("damaged")
    except BaseException:
        connection.close()
        raise
    return connection


def _known(connection: sqlite3.Connection) -> dict[str, tuple[str, RunSummary]]:
    return {name: (stamp, summary) for name, stamp, summary in _entries(connection)}


def _entries(connection: sqlite3.Connection) -> Iterator[tuple[str, str, RunSummary]]:
    for name, stamp, text in connection.execute("SELECT name, stamp, summary FROM runs").fetchall():
        with suppress(ValidationError):  # of an older version, or altered: read again
            yield str(name), str(stamp), RunSummary.model_validate_json(text)


def _store(connection: sqlite3.Connection, name: str, stamp: str, summary: RunSummary) -> None:
    with suppress(sqlite3.Error):  # a cache: what cannot be kept is read again next time
        connection.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", (name, stamp, summary.model_dump_json()))


def _forget(connection: sqlite3.Connection, names: set[str]) -> None:
    with suppress(sqlite3.Error):
        connection.executemany("DELETE FROM runs WHERE name = ?", [(name,) for name in names])


def _stamp(folder: Path) -> str:
    """Return what changes whenever a journal does: time and size of the database and of its log."""
    parts = []
    for name in (DATABASE, f"{DATABASE}-wal"):
        with suppress(OSError):
            status = (folder / name).stat()
            parts.append(f"{status.st_mtime_ns}/{status.st_size}/{status.st_ino}")
    return " ".join(parts)


def _now(folder: Path, summary: RunSummary) -> RunSummary:
    going = summary.status in {INTERRUPTED, EMPTY} and is_held(folder / LOCK)
    return summary.replace(status=RUNNING) if going else summary
