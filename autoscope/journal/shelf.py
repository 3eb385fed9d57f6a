"""Frames on their way to the disk: small ones wait for the record that refers to them, large ones become files."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoscope.journal import frames
from autoscope.journal.disk import Buffer, Disk, Statement, write_new
from autoscope.journal.layout import FRAMES, INSERT_FRAME
from autoscope.records import Frame, FrameRef

SMALL_BYTES = 1 << 16
"""Frames up to this size are stored in the database, in the transaction of the record that refers to them."""


class Shelf:
    """Takes the frames of one run.

    Parameters
    ----------
    folder : Path
        The run's folder.
    disk : Disk
        Where files become durable.
    connection : sqlite3.Connection
        To the journal's database; only read from.
    """

    def __init__(self, folder: Path, disk: Disk, connection: sqlite3.Connection) -> None:
        self._folder, self._disk, self._connection = folder / FRAMES, disk, connection
        self._waiting: dict[str, bytes] = {}
        self._files = {path.name for path in self._folder.glob("*.npy")}  # only this process makes more
        self._new_files = False

    def take(self, frame: Frame, step: int, index: int) -> FrameRef:
        """Keep a frame, small ones in memory until their record is written, and return the reference to it.

        A file of that name and content, left by a process killed before it wrote the record, is taken as it is.

        Raises
        ------
        OSError
            The disk failed or is full; an unfinished file is removed if it is full.
        JournalCorrupt
            The frame is not what its sender said; a file of it stays, and nothing refers to it.
        """
        parts = frames.parts(frame)
        name = self._free_name(frame, step, index)
        if sum(len(part) for part in parts) <= SMALL_BYTES:
            data = b"".join(parts)
            reference = frames.refer(frame, name, data)
            frames.require_promised(frame, reference.sha256)
            self._waiting[name] = data
            return reference
        sha256 = _Hashing(parts)
        left = self._folder / frames.file_name(frame, step, index)
        if left.name in self._files and left.stat().st_size == sum(len(part) for part in parts):
            with left.open("rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == sha256.result()
            if same:
                frames.require_promised(frame, sha256.result())
                self._new_files = True  # its content was flushed before it got its name; the name may not be
                return frames.refer_by_hash(frame, left.name, sha256.result())
        try:
            write_new(self._disk, self._folder / name, parts)
            self._files.add(name)
            self._new_files = True
        finally:
            found = sha256.result()
        frames.require_promised(frame, found)
        return frames.refer_by_hash(frame, name, found)

    def statements(self, kind: str, body: Mapping[str, Any]) -> list[Statement]:
        """Return what stores the small frames a record refers to; the end of a run stores all that still wait."""
        if kind == "run_ended":
            return [(INSERT_FRAME, item) for item in self._waiting.items()]
        named = [ref.get("file") for ref in _references(body)]
        return [(INSERT_FRAME, (name, self._waiting[name])) for name in named if name in self._waiting]

    def stored(self, statements: Sequence[Statement]) -> None:
        """Forget the frames that are on the disk now."""
        for statement, values in statements:
            if statement == INSERT_FRAME:
                self._waiting.pop(str(values[0]), None)

    def refers_to_new_files(self, body: Mapping[str, Any]) -> bool:
        """Return whether a record refers to frames while names of new files are not durable yet."""
        return self._new_files and bool(_references(body))

    def sync_names(self) -> None:
        """Make the names of new files durable; once for all files of an act, just before a record refers to them."""
        self._disk.fsync_folder(self._folder)
        self._new_files = False

    def _free_name(self, frame: Frame, step: int, index: int) -> str:
        attempt = 0
        while self._taken(name := frames.file_name(frame, step, index, attempt)):
            attempt += 1
        return name

    def _taken(self, name: str) -> bool:
        if name in self._waiting or name in self._files:
            return True
        return bool(self._connection.execute("SELECT 1 FROM frames WHERE name = ?", (name,)).fetchone())


def _references(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = body.get("frames")
    return [ref for ref in found if isinstance(ref, Mapping)] if isinstance(found, list) else []


class _Hashing:
    """The sha256 of a large frame, computed while the frame is written."""

    def __init__(self, parts: Sequence[Buffer]) -> None:
        self._hash, self._parts = hashlib.sha256(), parts
        self._thread = threading.Thread(target=self._work, name="sha256", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        for part in self._parts:
            self._hash.update(part)

    def result(self) -> str:
        self._thread.join()
        return self._hash.hexdigest()
