"""Frames into stacks, in bounded memory: what NeXus and Zarr files have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from autoscope.exports.frame_source import FrameSource
from autoscope.exports.series import Series, key_of
from autoscope.exports.snapshot import Act, Snapshot
from autoscope.records import Frame, FrameRef, MicroscopeState

BLOCK_BYTES = 1 << 18
"""Small frames are written together, about this many bytes at a time; also the size of a chunk."""

LIMIT_BYTES = 1 << 26
"""Bytes that may wait to be written in all series together."""

CHUNK_BYTES = 1 << 20
"""A large frame is cut into chunks of at most this many bytes."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class FrameColumn:
    """Something that is known of each frame of a series."""

    name: str
    kind: Literal["int", "float", "text"]
    unit: str
    doc: str
    of: Callable[[Act, FrameRef], int | float | str | None]


def _state(name: str) -> Callable[[Act, FrameRef], float | None]:
    def of(act: Act, ref: FrameRef) -> float | None:
        state: MicroscopeState | None = act.outcome.state if act.outcome else None
        value = getattr(state, name) if state is not None else None
        return None if value is None else float(value)

    return of


def _column(name: str, unit: str, doc: str, of: Callable[[Act, FrameRef], float | None]) -> FrameColumn:
    return FrameColumn(name, "float", unit, doc, of)


FRAME_COLUMNS: tuple[FrameColumn, ...] = (
    FrameColumn("step", "int", "", "Number of the act", lambda act, ref: act.step),
    FrameColumn("act_id", "text", "", "Identity of the act", lambda act, ref: act.act_id),
    FrameColumn("act_purpose", "text", "", "What the act was for", lambda act, ref: act.decision.purpose),
    FrameColumn("act_target", "text", "", "What the act was about", lambda act, ref: act.decision.target),
    FrameColumn("act_status", "text", "", "done, or rejected", lambda act, ref: act.status),
    _column("time_s", "s", "When it was recorded, on the clock of the instrument", lambda act, ref: ref.meta.time_s),
    _column("begun_s", "s", "When the act was begun, on the clock of the run", lambda act, ref: act.begun_s),
    _column("ended_s", "s", "When it was over, on the clock of the run", lambda act, ref: act.ended_s),
    FrameColumn("begun_utc", "text", "", "When the act was begun, as a date", lambda act, ref: act.begun_utc),
    FrameColumn("ended_utc", "text", "", "When it was over, as a date", lambda act, ref: act.ended_utc),
    _column("dwell_s", "s", "Time per pixel, or per spectrum", lambda act, ref: ref.meta.dwell_s),
    _column("x_m", "m", "x of the centre of the frame in the frame of the stage", lambda act, ref: ref.meta.x_m),
    _column("y_m", "m", "y of the centre of the frame in the frame of the stage", lambda act, ref: ref.meta.y_m),
    _column("rotation_rad", "rad", "Rotation of the scan", lambda act, ref: ref.meta.rotation_rad),
    _column("beam_current_a", "A", "Current of the probe", lambda act, ref: ref.meta.beam_current_a),
    _column("defocus_m", "m", "Defocus", lambda act, ref: ref.meta.defocus_m),
    _column("dose_e_per_m2", "1/m^2", "Electrons per area of this exposure", lambda act, ref: ref.meta.dose_e_per_m2),
    _column("convergence_rad", "rad", "Semi-angle of convergence", _state("convergence_rad")),
    _column("voltage_v", "V", "High tension", _state("voltage_v")),
    _column("stigmator_a_m", "m", "Astigmatism set, first component", _state("stigmator_a_m")),
    _column("stigmator_b_m", "m", "Astigmatism set, second component", _state("stigmator_b_m")),
    _column("stage_x_m", "m", "Stage x, read back", _state("x_m")),
    _column("stage_y_m", "m", "Stage y, read back", _state("y_m")),
    _column("stage_z_m", "m", "Stage z, read back", _state("z_m")),
    _column("stage_alpha_rad", "rad", "Stage tilt alpha, read back", _state("alpha_rad")),
    _column("stage_beta_rad", "rad", "Stage tilt beta, read back", _state("beta_rad")),
    _column("temperature_k", "K", "Temperature of the holder, where it has one", _state("temperature_k")),
    _column("bias_v", "V", "Bias of the holder, where it has one", _state("bias_v")),
    _column("vacuum_pa", "Pa", "Pressure in the column, where there is a gauge", _state("vacuum_pa")),
    FrameColumn(
        "act_dark_references",
        "text",
        "",
        "Ids of the acts whose dark frames were subtracted before anybody learnt from it; the data are as recorded",
        lambda act, ref: ";".join(act.outcome.dark.get(ref.meta.signal, ())) if act.outcome else "",
    ),
    FrameColumn("file", "text", "", "Name of the frame in the run", lambda act, ref: ref.file),
    FrameColumn("sha256", "text", "", "sha256 of its bytes as .npy", lambda act, ref: ref.sha256),
)

Cells = dict[str, Array]


class Sink(Protocol):
    """Where stacks are written."""

    def begin(self, series: Series) -> None:
        """Make room for a series."""

    def write(self, series: Series, start: int, data: Array, cells: Cells) -> None:
        """Write frames ``start`` to ``start + len(data)`` of a series with their columns."""

    def end(self, series: Series, count: int) -> None:
        """Finish a series that holds ``count`` frames, fewer than it announced where some were left out."""


def block_frames(series: Series) -> int:
    """Return how many frames of a series are written at once."""
    return max(1, min(series.count, BLOCK_BYTES // max(1, series.frame_bytes)))


def chunk_shape(series: Series) -> tuple[int, ...]:
    """Return the shape of a chunk of a series, [frame, ...]: many small frames, one frame, or a part of a large one."""
    shape = [block_frames(series), *series.shape]
    size = max(1, np.dtype(series.dtype).itemsize)
    whole = len(shape) - (1 if series.kind in ("map", "spectrum") else 0)  # the energy axis stays in one piece
    while size * int(np.prod(shape)) > CHUNK_BYTES and any(n > 1 for n in shape[:whole]):
        longest = max(range(whole), key=lambda k: shape[k])
        shape[longest] = -(-shape[longest] // 2)
    return tuple(max(1, n) for n in shape)


class _Waiting:
    """Frames of one series that wait to be written."""

    def __init__(self, series: Series) -> None:
        self.series, self.written = series, 0
        self.frames: list[Array] = []
        self.cells: dict[str, list[int | float | str | None]] = {c.name: [] for c in FRAME_COLUMNS}

    def add(self, act: Act, ref: FrameRef, frame: Frame) -> None:
        self.frames.append(frame.data)
        for column in FRAME_COLUMNS:
            self.cells[column.name].append(column.of(act, ref))

    def flush(self, sink: Sink) -> None:
        if not self.frames:
            return
        cells = {c.name: as_array(c.kind, self.cells[c.name]) for c in FRAME_COLUMNS}
        sink.write(self.series, self.written, np.stack(self.frames), cells)
        self.written += len(self.frames)
        self.frames.clear()
        for column in self.cells.values():
            column.clear()


def as_array(kind: str, cells: list[Any]) -> Array:
    """Return cells as an array: absent numbers are NaN (floats) or -1 (counts), absent text is empty."""
    if kind == "float":
        return np.array([np.nan if c is None else c for c in cells], dtype=np.float64)
    if kind == "int":
        return np.array([-1 if c is None else c for c in cells], dtype=np.int64)
    return np.array(["" if c is None else c for c in cells], dtype=object)


class Stacker:
    """Takes acts and passes their frames on in blocks.

    Parameters
    ----------
    snapshot : Snapshot
        The run; tells which series there are.
    source : FrameSource
        Where frames come from.
    sink : Sink
        Where they are written.
    """

    def __init__(self, snapshot: Snapshot, source: FrameSource, sink: Sink) -> None:
        self._source, self._sink = source, sink
        self._waiting = {series.key: _Waiting(series) for series in snapshot.series}
        self._bytes = 0
        for series in snapshot.series:
            sink.begin(series)

    def take(self, act: Act) -> None:
        """Take the frames of an act.

        Raises
        ------
        JournalCorrupt
            A frame does not verify.
        """
        for ref in act.frames:
            frame = self._source.load(act, ref)
            if frame is not None:
                self._add(self._waiting[key_of(ref)], act, ref, frame)

    def finish(self) -> None:
        """Write what still waits."""
        for waiting in self._waiting.values():
            waiting.flush(self._sink)
            self._sink.end(waiting.series, waiting.written)

    def _add(self, waiting: _Waiting, act: Act, ref: FrameRef, frame: Frame) -> None:
        waiting.add(act, ref, frame)
        self._bytes += frame.data.nbytes
        if len(waiting.frames) >= block_frames(waiting.series):
            self._flush(waiting)
        elif self._bytes > LIMIT_BYTES:
            for other in self._waiting.values():
                self._flush(other)

    def _flush(self, waiting: _Waiting) -> None:
        self._bytes -= sum(frame.nbytes for frame in waiting.frames)
        waiting.flush(self._sink)
