"""Going on after damage: the damaged end is set aside whole, never deleted, and what is proven is kept."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from autoscope.errors import JournalCorrupt
from autoscope.journal import wal
from autoscope.journal.audit import Audit
from autoscope.journal.chain import ZLIB, Row, corrupt, digest
from autoscope.journal.disk import Disk
from autoscope.journal.layout import (
    ADDITIONS,
    APPLICATION_ID,
    DATABASE,
    INSERT,
    INSERT_FRAME,
    INSERT_SIGNATURE,
    RECORDS,
    VERSION,
)
from autoscope.journal.store import UNREADABLE, RawRow, decode
from autoscope.journal.verification import intact_head

DAMAGED = "damaged"
"""Folder, inside that of the run, of what was set aside."""

REBUILT = f"{DATABASE}.rebuilt"
"""A whole new database that waits to take the place of the damaged one."""

Salvaged = dict[str, Any] | None
"""Body of the ``fault`` to record, None if nothing was wrong."""


def recover(folder: Path, disk: Disk) -> tuple[Row | None, Salvaged]:
    """Return the last proven record of a journal nobody writes to, after cutting off an end that is damaged.

    Raises
    ------
    JournalCorrupt
        The damage is not at the end; nothing was changed.
    """
    _finish(folder, disk)
    torn = wal.damage(folder / f"{DATABASE}-wal")
    if torn is not None and not torn.tail:
        raise corrupt(str(torn), str(folder / f"{DATABASE}-wal"), None)
    try:
        head = intact_head(folder)
    except JournalCorrupt as error:
        return _cut(folder, disk, error)
    if torn is None:
        return head, None
    place = _set_aside(folder, disk)
    return head, _fault(str(torn), head.seq if head else 0, place)


def _cut(folder: Path, disk: Disk, error: JournalCorrupt) -> tuple[Row | None, Salvaged]:
    with closing(_tolerant(folder / DATABASE)) as connection:
        head = _last_proven(folder, connection)
        last = head.seq if head else 0
        try:
            at_the_end = _cut_short(folder, connection) or _ends_badly(connection, last)
        except UNREADABLE:
            at_the_end = False
        if not last or not at_the_end:
            raise error
        partial = folder / f"{REBUILT}.partial"
        try:
            _rebuild(partial, connection, last)
        except UNREADABLE:
            partial.unlink(missing_ok=True)
            raise error from None
        place = _set_aside(folder, disk)
        partial.replace(folder / REBUILT)  # the name says that it is whole
    _finish(folder, disk)
    return head, _fault(str(error), last, place)


def _fault(message: str, last: int, place: Path) -> dict[str, Any]:
    kept = f"{place.parent.name}/{place.name}"
    text = f"{message}. Records after {last} were cut off; what was there is kept in {kept}"
    return {"error": "JournalCorrupt", "message": text, "last_intact": last, "set_aside": kept}


def _tolerant(path: Path) -> sqlite3.Connection:
    """Return a connection that reads what is there of a file that is shorter than its header says."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    connection.text_factory = bytes
    connection.execute("PRAGMA writable_schema = ON")
    return connection


def _rows(connection: sqlite3.Connection, order: str) -> Iterator[RawRow]:
    columns = "seq, kind, step, time_s, wall, body, previous, hash"
    return iter(connection.execute(f"SELECT {columns} FROM records ORDER BY seq {order}"))  # noqa: S608


def _last_proven(folder: Path, connection: sqlite3.Connection) -> Row | None:
    """Return the last row of the unbroken chain from the first record on."""
    audit, head = Audit(folder), None
    with suppress(*UNREADABLE):
        for raw in _rows(connection, "ASC"):
            if audit.take(raw) is None or audit.broken:
                break
            head = audit.last
    return head


def _cut_short(folder: Path, connection: sqlite3.Connection) -> bool:
    """Return whether the file ends before its last page and no log could hold the rest."""
    with (folder / DATABASE).open("rb") as file:
        head = file.read(32)
    pages, size = int.from_bytes(head[28:32], "big"), (folder / DATABASE).stat().st_size
    return size < pages * int(connection.execute("PRAGMA page_size").fetchone()[0])


def _ends_badly(connection: sqlite3.Connection, last: int) -> bool:
    """Return whether there is something after the last proven record, and none of it verifies."""
    found = False
    try:
        for raw in _rows(connection, "DESC"):
            if isinstance(raw[0], int) and raw[0] <= last:
                return found
            found = True
            if _sound(raw):
                return False  # records before it are altered or gone, so this is not the end
    except UNREADABLE:
        return True
    return found


def _sound(raw: RawRow) -> bool:
    try:
        row = decode(raw, "")
    except JournalCorrupt:
        return False
    return digest(row) == row.hash


def _set_aside(folder: Path, disk: Disk) -> Path:
    """Copy database and log, durably, into a new folder and return that."""
    number = 1 + sum(1 for path in (folder / DAMAGED).glob("*"))
    place = folder / DAMAGED / f"{number:03d}"
    place.mkdir(parents=True)
    for name in (DATABASE, f"{DATABASE}-wal"):
        if (folder / name).is_file():
            shutil.copy2(folder / name, place / name)
            with (place / name).open("rb+") as file:
                disk.fsync(file)
    for made in (place, place.parent, folder):
        disk.fsync_folder(made)
    return place


def _rebuild(partial: Path, source: sqlite3.Connection, last: int) -> None:
    """Write the proven records, their frames and signed heads into a new database beside the damaged one."""
    partial.unlink(missing_ok=True)
    with closing(sqlite3.connect(partial, isolation_level=None)) as target:
        target.execute("PRAGMA synchronous = FULL")
        target.execute("BEGIN")
        for statement in (RECORDS, *ADDITIONS):
            target.execute(statement)
        _copy(source, target, last)
        target.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        target.execute(f"PRAGMA user_version = {VERSION}")
        target.execute("COMMIT")


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, last: int) -> None:
    for raw in _rows(source, "ASC"):
        packed = isinstance(raw[5], bytes) and raw[5].startswith(ZLIB)
        target.execute(INSERT, (*_texts(raw[:5]), raw[5] if packed else _texts(raw[5:6])[0], *_texts(raw[6:])))
        if raw[0] == last:
            break
    with suppress(*UNREADABLE):  # what cannot be read is named by `verify`, by the record that refers to it
        for name, content in source.execute("SELECT name, content FROM frames ORDER BY name"):
            target.execute(INSERT_FRAME, (*_texts((name,)), content))
    with suppress(*UNREADABLE):
        for row in source.execute("SELECT seq, hash, public_key, signature FROM signatures WHERE seq <= ?", (last,)):
            target.execute(INSERT_SIGNATURE, _texts(row))


def _texts(values: Sequence[object]) -> list[object]:
    return [value.decode("utf-8") if isinstance(value, bytes) else value for value in values]


def _finish(folder: Path, disk: Disk) -> None:
    """Put a rebuilt database in its place, also one that a killed process left behind."""
    rebuilt = folder / REBUILT
    if not rebuilt.is_file():
        return
    disk.fsync_folder(folder)
    for name in (f"{DATABASE}-wal", f"{DATABASE}-shm"):
        (folder / name).unlink(missing_ok=True)  # the log of the damaged one, which is kept aside
    disk.rename(rebuilt, folder / DATABASE)
    disk.fsync_folder(folder)
