"""Stacks of frames in a NeXus file: an NXdata for every reader, and the same data where NXem expects them."""

from __future__ import annotations

import re
from typing import Any

import h5py
import numpy as np

from autoscope.exports.nexus_head import put, section
from autoscope.exports.options import Options
from autoscope.exports.series import Series
from autoscope.exports.stacking import FRAME_COLUMNS, Array, Cells, chunk_shape

EVENT_NAMES = {
    "image": ("NXimage", "image1", "image_2d", "stack_2d", "real", "indices_image", ("axis_j", "axis_i")),
    "spectrum": (
        "NXspectrum", "spectrum1", "spectrum_0d", "stack_0d", "intensity", "indices_spectrum", ("axis_energy",),
    ),
    "map": (
        "NXspectrum", "spectrum1", "spectrum_2d", "stack_2d", "intensity", "indices_spectrum",
        ("axis_j", "axis_i", "axis_energy"),
    ),
}  # fmt: skip
"""What NXem calls the parts: class and name of the group, one frame, a stack, the signal, the index, the axes."""

STACK_AXES = {"image": "image", "spectrum": "spectrum", "map": "map", "datacube": "scan", "other": "frame"}
INTERPRETATIONS = {"image": "image", "spectrum": "spectrum", "map": "spectrum", "datacube": "image"}


class NexusSink:
    """Writes series into an entry.

    Parameters
    ----------
    entry : h5py.Group
        The NXentry, with ``measurement``.
    options : Options
        Compression.
    """

    def __init__(self, entry: h5py.Group, options: Options) -> None:
        self._entry, self._options = entry, options
        self._default: tuple[int, str] = (-1, "")

    def begin(self, series: Series) -> None:
        """Make an NXdata with room for all frames; a single frame gets no axis of its own."""
        group = section(self._entry, series.name, "NXdata")
        put(group, "title", series.title)
        names = [STACK_AXES[series.kind], *axis_names(series)] if series.count > 1 else axis_names(series)
        group.attrs["signal"] = "data"
        group.attrs["axes"] = np.array(names, dtype=h5py.string_dtype())
        for position, name in enumerate(names):
            group.attrs[f"{name}_indices"] = np.uint32(position)
        data = self._data(group, series)
        if series.kind in INTERPRETATIONS:
            group.attrs["interpretation"] = data.attrs["interpretation"] = INTERPRETATIONS[series.kind]
        for axis, name in zip(series.axes, axis_names(series), strict=True):
            label = f"{axis.name} ({axis.unit})" if axis.unit else axis.name
            made = put(group, name, axis.values(), long_name=label)
            if made is not None and axis.unit:
                made.attrs["units"] = axis.unit
        if series.count > 1:
            self._column(group, STACK_AXES[series.kind], np.int64, "", f"Number of the {STACK_AXES[series.kind]}")
        for column in FRAME_COLUMNS:
            kinds: dict[str, Any] = {"float": np.float64, "int": np.int64}
            self._column(group, column.name, kinds.get(column.kind, h5py.string_dtype()), column.unit, column.doc)

    def _data(self, group: h5py.Group, series: Series) -> h5py.Dataset:
        stacked, chunks = series.count > 1, chunk_shape(series)
        data = group.create_dataset(
            "data",
            shape=(0, *series.shape) if stacked else series.shape,
            maxshape=(None, *series.shape) if stacked else None,
            dtype=np.dtype(series.dtype),
            chunks=chunks if stacked else (chunks[1:] or None),
            **self._packing(bool(series.shape) or stacked),
        )
        data.attrs["long_name"] = f"{series.signal} ({series.unit})"
        if series.unit != "counts":  # in NeXus counts are a number without a unit
            data.attrs["units"] = series.unit
        return data

    def _packing(self, packed: bool) -> dict[str, Any]:
        if self._options.compression == "none" or not packed:
            return {}
        return {"compression": "gzip", "compression_opts": self._options.level, "shuffle": True}

    def _column(self, group: h5py.Group, name: str, dtype: Any, unit: str, doc: str) -> None:
        text = h5py.check_string_dtype(dtype) is not None if not isinstance(dtype, type) else False
        made = group.create_dataset(
            name, shape=(0,), maxshape=(None,), dtype=dtype, chunks=(256,), **self._packing(not text)
        )
        made.attrs["long_name"] = doc
        if unit:
            made.attrs["units"] = unit

    def write(self, series: Series, start: int, data: Array, cells: Cells) -> None:
        """Write a block of frames and what is known of each."""
        group, end = self._entry[series.name], start + len(data)
        if series.count > 1:
            group["data"].resize((end, *series.shape))
            group["data"][start:end] = data
            cells = cells | {STACK_AXES[series.kind]: np.arange(start, end)}
        else:
            group["data"][...] = data[0]
        for name, column in cells.items():
            group[name].resize((end,))
            group[name][start:end] = column

    def end(self, series: Series, count: int) -> None:
        """Put the series where NXem expects it; a series of which nothing is left is taken out again."""
        if count == 0:
            del self._entry[series.name]
            return
        group = self._entry[series.name]
        _write_event(self._entry["measurement"], group, series)
        picture = series.kind == "image" and bool(series.field)
        rank = int(np.prod(series.shape)) * count + (1 << 50 if picture else 0)
        if rank > self._default[0]:
            self._default = rank, series.name
            self._entry.attrs["default"] = series.name


def axis_names(series: Series) -> list[str]:
    """Return names for the axes of a frame that are allowed in NeXus, unique, and no column's.

    Spectra and maps keep ``energy``, images ``y`` and ``x``.
    """
    taken = {column.name for column in FRAME_COLUMNS} | {"data", "title", *STACK_AXES.values()}
    names: list[str] = []
    for number, axis in enumerate(series.axes):
        name = re.sub(r"[^A-Za-z0-9]+", "_", axis.name).strip("_") or f"axis{number}"
        names.append(f"{name}_{number}" if name in taken else name)
        taken.add(names[-1])
    return names


def _write_event(measurement: h5py.Group, data: h5py.Group, series: Series) -> None:
    event = section(measurement, f"event_{series.name}", "NXem_event_data")
    put(event, "start_time", data["begun_utc"].asstr()[0])
    put(event, "end_time", data["ended_utc"].asstr()[-1] or data["begun_utc"].asstr()[-1])
    put(event, "type", series.title)
    if series.kind in EVENT_NAMES and series.unit == "counts":  # NXem has no place for data with a unit
        _write_linked(event, data, series)
    _write_settings(event, data, series)


def _write_linked(event: h5py.Group, data: h5py.Group, series: Series) -> None:
    """Write the data of a series once more under NXem's names, as links."""
    nx_class, name, one, many, signal, index, axes = EVENT_NAMES[series.kind]
    holder = section(event, name, nx_class)
    put(section(holder, "process", "NXprocess"), "detector_identifier", series.signal)
    names = [index, *axes] if series.count > 1 else list(axes)
    sources = [STACK_AXES[series.kind], *axis_names(series)] if series.count > 1 else axis_names(series)
    group = section(holder, many if series.count > 1 else one, "NXdata")
    group.attrs["signal"], group.attrs["axes"] = signal, np.array(names, dtype=h5py.string_dtype())
    if series.kind in INTERPRETATIONS:
        group.attrs["interpretation"] = INTERPRETATIONS[series.kind]
    for linked in (holder, group):  # so that readers that ask for the originals alone take the data once
        linked.attrs["target"] = data.name
    put(group, "title", series.title)
    _link(group, signal, data["data"])
    for position, (own, source) in enumerate(zip(names, sources, strict=True)):
        group.attrs[f"{own}_indices"] = np.uint32(position)
        _link(group, own, data[source])


def _link(group: h5py.Group, name: str, dataset: h5py.Dataset) -> None:
    """Give a dataset a second name, the way NeXus does: a hard link, with the path of the original in ``target``."""
    dataset.attrs["target"] = dataset.name
    group[name] = dataset


def _write_settings(event: h5py.Group, data: h5py.Group, series: Series) -> None:
    """Write what the instrument was set to, a value a frame, under NXem's names."""
    instrument = section(event, "instrument", "NXem_instrument")
    column = section(instrument, "ebeam_column", "NXebeam_column")
    put(column, "operation_mode", "STEM")
    _link(section(column, "electron_source", "NXsource"), "voltage", data["voltage_v"])
    scan = section(column, "scan_controller", "NXscan_controller")
    put(scan, "scan_schema", "parked" if series.kind == "spectrum" else "raster")
    _link(scan, "dwell_time", data["dwell_s"])
    optics = section(instrument, "optics", "NXem_optical_system")
    if series.field:
        put(optics, "field_of_view", series.axes[1].size * series.axes[1].scale, units="m")
    for name, source in (
        ("defocus", "defocus_m"),
        ("probe_current", "beam_current_a"),
        ("semi_convergence_angle", "convergence_rad"),
        ("rotation", "rotation_rad"),
    ):
        _link(optics, name, data[source])
    detector = section(instrument, f"detector_{re.sub(r'[^A-Za-z0-9]+', '_', series.signal)}", "NXdetector")
    put(detector, "operation_mode", "counting" if series.unit == "counts" else "not recorded")
    stage = section(instrument, "stage1", "NXmanipulator")
    put(stage, "design", "not recorded")
    place = np.column_stack([data[f"stage_{k}_m"][()] for k in "xyz"])
    put(stage, "position", place, units="m", long_name="Stage x, y, z, read back")
    _link(stage, "tilt1", data["stage_alpha_rad"])
    _link(stage, "tilt2", data["stage_beta_rad"])
    put(stage, "rotation", np.nan, units="rad", comment="no rotation of the stage is reported")
