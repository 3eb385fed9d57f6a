"""How far a run that was killed while its folder was being made had come."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from autoscope.journal.layout import CONFIG, DATABASE, FRAMES, LOCK

BEFORE_CONFIG = frozenset({FRAMES, LOCK, DATABASE, f".{CONFIG}.partial"})
"""All that a run folder can hold before its ``config.yaml`` is there."""


def is_vacant(folder: Path) -> bool:
    """Return whether a run can begin in a folder: it is not there, is empty, or holds what another never got beyond.

    A process killed between making its folder and writing ``config.yaml`` into it has recorded nothing and moved
    nothing; its leavings are in nobody's way.
    """
    if not folder.exists():
        return True
    if not folder.is_dir() or {path.name for path in folder.iterdir()} - BEFORE_CONFIG:
        return False
    database = folder / DATABASE
    return _no_frames(folder) and not (database.exists() and database.stat().st_size)


def is_blank(folder: Path) -> bool:
    """Return whether a run folder has its configuration and no record yet: its process was killed before the first.

    Frames without a record are no beginning: somebody took the record away.
    """
    if not (folder / CONFIG).is_file() or not _no_frames(folder):
        return False
    try:
        return not _has_records(folder / DATABASE)
    except sqlite3.Error:
        return False  # whatever it is, it is not blank


def _no_frames(folder: Path) -> bool:
    frames = folder / FRAMES
    return not frames.exists() or (frames.is_dir() and not any(frames.iterdir()))


def _has_records(path: Path) -> bool:
    if not path.is_file():
        return False
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'records'").fetchone()[0]
        return bool(tables and connection.execute("SELECT count(*) FROM records").fetchone()[0])
