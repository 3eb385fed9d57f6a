"""A run as a Zarr store (format 3) with the layout of the NeXus file; needs the extra ``zarr``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import GzipCodec

from autoscope.exports.facts import Facts
from autoscope.exports.frame_source import FrameSource
from autoscope.exports.nexus_series import INTERPRETATIONS, STACK_AXES, axis_names
from autoscope.exports.options import Options, Progress
from autoscope.exports.series import Series
from autoscope.exports.snapshot import Snapshot
from autoscope.exports.stacking import FRAME_COLUMNS, Array, Cells, Stacker, as_array, chunk_shape
from autoscope.exports.table import Column, columns
from autoscope.exports.tabular import metadata


def write(snapshot: Snapshot, path: Path, options: Options, progress: Progress) -> list[str]:
    """Write the store and return what its reader must know.

    Frames are written in blocks; the columns of the table wait in memory.

    Raises
    ------
    JournalCorrupt
        A frame does not verify and ``skip_damaged`` is not set.
    """
    root = zarr.open_group(path, mode="w", zarr_format=3)
    root.attrs.update({"title": Facts.of(snapshot).title, **metadata(snapshot)})
    made = columns(snapshot.values, snapshot.quality) if "decisions" in options.include else ()
    cells: list[list[Any]] = [[] for _ in made]
    with FrameSource(snapshot.folder, skip_damaged=options.skip_damaged) as source:
        stacker = Stacker(snapshot, source, ZarrSink(root, options)) if "frames" in options.include else None
        for done, act in enumerate(snapshot.acts(), start=1):
            if stacker:
                stacker.take(act)
            for column, waiting in zip(made, cells, strict=True):
                value = column.of(act)
                waiting.append(";".join(value) if isinstance(value, list) else value)
            progress("acts", done, snapshot.acts_count)
        if stacker:
            stacker.finish()
    if made:
        _write_table(root.create_group("decisions"), made, cells)
    root.attrs["left_out"] = source.notes
    return source.notes


def _write_table(group: zarr.Group, made: tuple[Column, ...], cells: list[list[Any]]) -> None:
    for column, values in zip(made, cells, strict=True):
        kind = "text" if column.kind in ("text", "texts") else "int" if column.kind == "bool" else column.kind
        _write_column(group, column.name, kind, "act", as_array(kind, values), column.unit, column.doc)


def _write_column(group: zarr.Group, name: str, kind: str, axis: str, values: Array, unit: str, doc: str) -> None:
    dtype: Any = str if kind == "text" else values.dtype
    array = group.create_array(
        name, shape=values.shape, dtype=dtype, dimension_names=(axis,), attributes={"units": unit, "long_name": doc}
    )
    if len(values):
        array[:] = values


class ZarrSink:
    """Writes each series as a group of ``data``, its axes and a column for everything that is known of a frame."""

    def __init__(self, root: zarr.Group, options: Options) -> None:
        self._root, self._options = root, options
        self._cells: dict[str, dict[str, list[Array]]] = {}
        self._arrays: dict[str, zarr.Array[Any]] = {}

    def begin(self, series: Series) -> None:
        """Make a group with room for all frames, [frame, ...]."""
        group, names = self._root.create_group(series.name), axis_names(series)
        group.attrs.update(
            {"title": series.title, "signal": "data", "axes": [STACK_AXES[series.kind], *names]}
            | ({"interpretation": INTERPRETATIONS[series.kind]} if series.kind in INTERPRETATIONS else {})
        )
        packed = self._options.compression == "gzip"
        self._arrays[series.key] = group.create_array(
            "data",
            shape=(series.count, *series.shape),
            chunks=chunk_shape(series),
            dtype=np.dtype(series.dtype),
            compressors=[GzipCodec(level=self._options.level)] if packed else None,
            dimension_names=(STACK_AXES[series.kind], *names),
            attributes={"units": series.unit, "long_name": f"{series.signal} ({series.unit})"},
        )
        for axis, name in zip(series.axes, names, strict=True):
            array = group.create_array(
                name, shape=(axis.size,), dtype=np.float64, dimension_names=(name,),
                attributes={"units": axis.unit, "offset": axis.offset, "scale": axis.scale},
            )  # fmt: skip
            array[:] = axis.values()
        self._cells[series.key] = {column.name: [] for column in FRAME_COLUMNS}

    def write(self, series: Series, start: int, data: Array, cells: Cells) -> None:
        """Write a block of frames; its columns wait for the end."""
        self._array(series)[start : start + len(data)] = data
        for name, column in cells.items():
            self._cells[series.key][name].append(column)

    def end(self, series: Series, count: int) -> None:
        """Write the columns; a series of which nothing is left is taken out again."""
        if count == 0:
            del self._root[series.name]
            return
        if count < series.count:
            self._array(series).resize((count, *series.shape))
        group, axis = self._root.require_group(series.name), STACK_AXES[series.kind]
        for column in FRAME_COLUMNS:
            values = np.concatenate(self._cells[series.key][column.name])
            _write_column(group, column.name, column.kind, axis, values, column.unit, column.doc)

    def _array(self, series: Series) -> zarr.Array[Any]:
        return self._arrays[series.key]
