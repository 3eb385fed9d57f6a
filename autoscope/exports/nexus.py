"""A run as one NeXus file (HDF5) after the application definition NXem; docs/exports.md draws the layout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from autoscope.exports.facts import Facts
from autoscope.exports.failing_file import CalmFile
from autoscope.exports.frame_source import FrameSource
from autoscope.exports.nexus_head import put, section, write_head
from autoscope.exports.nexus_series import NexusSink
from autoscope.exports.options import Options, Progress
from autoscope.exports.snapshot import Act, Snapshot
from autoscope.exports.stacking import Stacker, as_array
from autoscope.exports.table import Column, columns
from autoscope.journal.chain import FORMAT

_ROWS = 1000
_LINE_BYTES = 1 << 20
JSON_COLUMNS = frozenset(
    {"runners_up", "acquisition_parameters", "model_hyperparameters", "calibration", "values", "dark_references"}
)
"""Left out of the table in a NeXus file, where the records hold them as they were written."""


KNOWN_BY_PEOPLE = (
    "write 'elements' and 'prepared' into the configuration of a run, or give --elements and --prepared here"
)


def write(snapshot: Snapshot, path: Path, options: Options, progress: Progress) -> list[str]:
    """Write the file and return what its reader must know.

    Memory stays bounded: frames and rows go to the disk in blocks.

    Raises
    ------
    JournalCorrupt
        A frame does not verify and ``skip_damaged`` is not set.
    OSError
        The disk failed.
    """
    with CalmFile(path) as disk:
        try:
            notes = _write_file(disk, snapshot, options, progress)
        except (OSError, RuntimeError):  # what HDF5 says of a disk that failed earlier is of no use to anybody
            disk.check()
            raise
        disk.check()
    return notes


def _write_file(disk: CalmFile, snapshot: Snapshot, options: Options, progress: Progress) -> list[str]:
    with h5py.File(disk, "w", track_order=True) as file:
        entry = write_head(file, Facts.of(snapshot), options)
        notes = _write_acts(entry, disk, snapshot, options, progress)
        if "records" in options.include:
            _write_records(entry, snapshot, options)
        if notes:
            put(entry["journal"], "left_out", np.array(notes, dtype=object))
        if missing := [name for name in ("atom_types", "preparation_date") if name not in entry["sample1"]]:
            notes.append(f"NXem also wants {' and '.join(missing)} of the sample: {KNOWN_BY_PEOPLE}")
    return notes


def _write_acts(
    entry: h5py.Group, disk: CalmFile, snapshot: Snapshot, options: Options, progress: Progress
) -> list[str]:
    with FrameSource(snapshot.folder, skip_damaged=options.skip_damaged) as source:
        stacker = Stacker(snapshot, source, NexusSink(entry, options)) if "frames" in options.include else None
        table = _Table(entry, snapshot, options) if "decisions" in options.include else None
        for done, act in enumerate(snapshot.acts(), start=1):
            if stacker:
                stacker.take(act)
            if table:
                table.take(act)
            disk.check()
            progress("acts", done, snapshot.acts_count)
        if table:
            table.flush()
        if stacker:
            stacker.finish()
        return source.notes


class _Table:
    """The decision table, a dataset a column, grown in batches of rows."""

    def __init__(self, entry: h5py.Group, snapshot: Snapshot, options: Options) -> None:
        self._group = section(entry, "decisions", "NXcollection")
        put(self._group, "description", "One row an act; see docs/exports.md")
        self._columns = tuple(
            c
            for c in columns(snapshot.values, snapshot.quality)
            if "records" not in options.include or c.name not in JSON_COLUMNS
        )
        for column in self._columns:
            self._begin(column, options)
        self._acts: list[Act] = []
        self._rows = 0

    def _begin(self, column: Column, options: Options) -> None:
        kinds: dict[str, Any] = {"float": np.float64, "int": np.int64, "bool": np.int8}
        dtype = kinds.get(column.kind, h5py.string_dtype("utf-8"))
        packed = options.compression == "gzip" and column.kind in kinds
        dataset = self._group.create_dataset(
            column.name, shape=(0,), maxshape=(None,), dtype=dtype, chunks=(_ROWS,),
            compression="gzip" if packed else None, compression_opts=options.level if packed else None, shuffle=packed,
        )  # fmt: skip
        dataset.attrs["long_name"] = column.doc
        if column.unit:
            dataset.attrs["units"] = column.unit

    def take(self, act: Act) -> None:
        self._acts.append(act)
        if len(self._acts) == _ROWS:
            self.flush()

    def flush(self) -> None:
        start, self._rows = self._rows, self._rows + len(self._acts)
        for column in self._columns:
            dataset = self._group[column.name]
            dataset.resize((self._rows,))
            dataset[start:] = as_array(_stored(column), [_plain(column, act) for act in self._acts])
        self._acts.clear()


def _stored(column: Column) -> str:
    return "text" if column.kind in ("text", "texts") else "int" if column.kind == "bool" else column.kind


def _plain(column: Column, act: Act) -> Any:
    value = column.of(act)
    return ";".join(value) if isinstance(value, list) else value


def _write_records(entry: h5py.Group, snapshot: Snapshot, options: Options) -> None:
    """Write the records themselves: the texts that were hashed, one a line, so that the file alone proves the chain."""
    group = entry["journal"]
    packed: dict[str, Any] = {"compression": "gzip", "compression_opts": options.level} if _packs(options) else {}
    lines = group.create_dataset(
        "lines", shape=(0,), maxshape=(None,), dtype=np.uint8, chunks=(_LINE_BYTES // 4,), **packed
    )
    lines.attrs["long_name"] = f"UTF-8; each line is the text of one record that was hashed ({FORMAT}), in order"
    starts, total = [0], 0
    for text in _blocks(snapshot, starts):
        lines.resize((total + len(text),))
        lines[total:] = np.frombuffer(text, dtype=np.uint8)
        total += len(text)
    put(group, "line_starts", np.array(starts, dtype=np.int64), long_name="Offset of each line, and of the end")


def _packs(options: Options) -> bool:
    return options.compression == "gzip"


def _blocks(snapshot: Snapshot, starts: list[int]) -> Iterator[bytes]:
    waiting = bytearray()
    for text in snapshot.texts():
        line = f"{text}\n".encode()
        waiting += line
        starts.append(starts[-1] + len(line))
        if len(waiting) >= _LINE_BYTES:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)


def read_records(file: h5py.File) -> Iterator[list[Any]]:
    """Yield the records of an exported file as the lists that were hashed."""
    group = file["entry/journal"]
    starts = group["line_starts"][()]
    for begin, end in pairwise(starts):
        yield json.loads(bytes(group["lines"][begin:end]))
