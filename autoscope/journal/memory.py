"""The same journal in memory, for benchmarks: nothing is durable, everything is chained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from autoscope.clock import SimClock
from autoscope.errors import JournalCorrupt, JournalError
from autoscope.journal.chain import Record, RecordKind, Row, link, parse
from autoscope.journal.frames import encode, file_name, npy_digest, refer, refer_by_hash
from autoscope.journal.recorder import Readable
from autoscope.protocols import Clock
from autoscope.records import Frame, FrameRef


class MemoryJournal(Readable):
    """A `Recorder` that keeps records and frames in memory.

    Parameters
    ----------
    clock : Clock
        Stamps the records.
    keep_frames : bool
        False forgets the arrays once their hash is known, for long benchmarks.
    deferred : bool
        True writes and chains records when somebody first reads them: a benchmark that reads none saves most of the
        cost. A body that is no plain data is then refused as late as that.
    """

    def __init__(self, *, clock: Clock, keep_frames: bool = True, deferred: bool = False) -> None:
        self._clock, self._keep_frames, self._deferred = clock, keep_frames, deferred
        self._wall_at = clock.wall_at if isinstance(clock, SimClock) else None
        self._rows: list[Row] = []
        self._waiting: list[tuple[RecordKind, Mapping[str, Any] | BaseModel, int | None, float, str | None]] = []
        self._last_kind = ""
        self._frames: dict[str, Frame] = {}
        self._names: set[str] = set()
        self._closed = False

    def __str__(self) -> str:
        return "journal in memory"

    def append(self, kind: RecordKind, body: Mapping[str, Any] | BaseModel, *, step: int | None = None) -> int:
        """Add a record and return its sequence number.

        Raises
        ------
        JournalError
            The journal is closed, the run has ended, or the body is not plain data.
        """
        self._refuse_if_over(kind)
        wall = self._clock.wall() if self._wall_at is None else None  # a simulated one tells it later just as well
        self._waiting.append((kind, body, step, self._clock.now_s(), wall))
        if not self._deferred:
            self._chain()
        self._last_kind = kind
        return len(self._rows) + len(self._waiting)

    def write_frame(self, frame: Frame, *, step: int, index: int) -> FrameRef:
        """Keep a frame and return the reference to put into an outcome.

        Raises
        ------
        JournalError
            The journal is closed, the run has ended, or the frame holds other things than numbers.
        """
        self._refuse_if_over()
        name, attempt = file_name(frame, step, index), 0
        while name in self._names:
            attempt += 1
            name = file_name(frame, step, index, attempt)
        self._names.add(name)
        if self._keep_frames:
            self._frames[name] = frame
        return refer_by_hash(frame, name, npy_digest(frame))

    def close(self) -> None:
        """End the writing; what was written can still be read."""
        self._closed = True

    def records(self, kind: RecordKind | None = None, after: int = 0) -> Iterator[Record]:
        """Yield the records with a sequence number above ``after``, in order, optionally of one kind only."""
        self._chain()
        return (parse(row, str(self)) for row in self._rows[after:] if kind in (None, row.kind))

    def load_frame(self, ref: FrameRef) -> Frame:
        """Return a kept frame.

        Raises
        ------
        JournalCorrupt
            No such frame, it was not kept, or it is not the one referred to.
        """
        frame = self._frames.get(ref.file)
        if frame is None:
            raise JournalCorrupt("no such frame was kept", where=f"{self}: {ref.file}", remedy="Use keep_frames=True")
        if refer(frame, ref.file, encode(frame)) != ref:
            raise JournalCorrupt("is not the frame referred to", where=f"{self}: {ref.file}")
        return frame

    def _chain(self) -> None:
        waiting, self._waiting = self._waiting, []
        for kind, body, step, time_s, told in waiting:
            previous = self._rows[-1] if self._rows else None
            known = told is None and self._wall_at is not None and math.isfinite(time_s)  # else `link` refuses it
            wall = self._wall_at(time_s) if known and self._wall_at is not None else told or ""
            self._rows.append(link(previous, kind, body, step=step, time_s=time_s, wall=wall))

    def _refuse_if_over(self, kind: str = "frame") -> None:
        if self._closed:
            raise JournalError("the journal is closed", where=str(self), remedy="Make a new one")
        if self._last_kind in {"run_ended", "annotation"} and kind != "annotation":
            raise JournalError("the run has ended; only annotations can follow its last record", where=str(self))
