"""Where the parts of a stream go: memory, a ``.npy`` file, or a dataset of an HDF5 file.

A file appears under its name only when it is whole and on the disk; until then it is called ``.partial``.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from autoscope.bus.arrays import Array, ArrayLayout, Buffer, as_array
from autoscope.errors import BusError, DataError
from autoscope.journal.disk import LocalDisk


class Sink(Protocol):
    """Takes the parts of one stream, in order."""

    def begin(self, layout: ArrayLayout) -> None:
        """Make room for everything, before anything is acquired if the caller is early.

        Raises
        ------
        BusError
            There is no room.
        """

    def write(self, index: int, data: Buffer) -> None:
        """Take part ``index``; its memory is used again as soon as this returns."""

    def finish(self) -> None:
        """Everything came: make it durable."""

    def discard(self) -> None:
        """It did not: leave nothing that looks whole."""


class ArraySink:
    """Keeps a stream in memory.

    Parameters
    ----------
    max_bytes : int
        Refuse a larger one before anything is allocated.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._data = np.empty(0, np.uint8)
        self._layout: ArrayLayout | None = None

    def begin(self, layout: ArrayLayout) -> None:
        """Allocate the array."""
        layout.require(self._max_bytes)
        self._layout, self._data = layout, np.empty(layout.nbytes, np.uint8)

    def write(self, index: int, data: Buffer) -> None:
        """Copy a part to its place."""
        assert self._layout is not None, "begin comes first"  # noqa: S101
        start = index * self._layout.part_bytes
        part = np.frombuffer(data, np.uint8)
        self._data[start : start + part.size] = part

    def finish(self) -> None:
        """Keep it as it is."""

    def discard(self) -> None:
        """Let go of the memory."""
        self._data = np.empty(0, np.uint8)

    @property
    def growing(self) -> Array | None:
        """The array that is being filled, None before `begin`; what has not come yet has any value."""
        layout = self._layout
        return None if layout is None else self._data.view(layout.dtype).reshape(layout.shape, order=layout.order)

    @property
    def array(self) -> Array:
        """What came, read-only."""
        assert self._layout is not None, "begin comes first"  # noqa: S101
        return as_array(self._layout, self._data.data)


class NpySink:
    """Writes a stream into a ``.npy`` file, which numpy opens as an array or a memory map.

    Parameters
    ----------
    path : Path
        File to be made; one that is there is not overwritten.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._file: io.FileIO | None = None
        self._next = 0

    def begin(self, layout: ArrayLayout) -> None:
        """Reserve the whole file on the disk and write its header."""
        _require_absent(self._path)
        header = _npy_header(layout)
        try:
            self._file = io.FileIO(self._partial, "w")
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, len(header) + layout.nbytes)
            _write_all(self._file, header)
        except OSError as error:
            self.discard()
            raise _no_room(error, self._path, layout) from error

    def write(self, index: int, data: Buffer) -> None:
        """Write the next part."""
        assert self._file is not None, "begin comes first"  # noqa: S101
        assert index == self._next, "parts come in order"  # noqa: S101
        _write_all(self._file, data)
        self._next += 1

    def finish(self) -> None:
        """Return when the file is on the disk under its name."""
        assert self._file is not None, "begin comes first"  # noqa: S101
        os.fsync(self._file.fileno())
        self._file.close()
        disk = LocalDisk()
        disk.rename(self._partial, self._path)
        disk.fsync_folder(self._path.parent)

    def discard(self) -> None:
        """Remove the unfinished file."""
        if self._file is not None:
            self._file.close()
        self._partial.unlink(missing_ok=True)


class Hdf5Sink:
    """Writes a stream into a dataset of an HDF5 file, one chunk a part, without compression.

    Parts must end between frames (`autoscope.bus.stream_sources.whole_frames`).

    Parameters
    ----------
    path : Path
        File to be made; one that is there is not overwritten.
    dataset : str
        Path of the dataset inside the file.
    """

    def __init__(self, path: Path, dataset: str = "data") -> None:
        self._path, self._name = path, dataset
        self._partial = path.with_name(f".{path.name}.partial")
        self._file: Any = None
        self._frames = 1

    def begin(self, layout: ArrayLayout) -> None:
        """Make the file and an empty dataset, shape as the stream's with all axes but those of a frame in one."""
        _require_absent(self._path)
        import h5py

        rows, frame = _frames_of(layout)
        self._frames = layout.part_bytes // (int(np.prod(frame)) * layout.itemsize)
        try:
            self._file = h5py.File(self._partial, "w", libver="latest")
            made = self._file.create_dataset(
                self._name,
                shape=(rows, *frame),
                dtype=np.dtype(layout.dtype),
                chunks=(min(self._frames, rows), *frame),
            )
            made.attrs["shape"] = layout.shape
        except OSError as error:
            self.discard()
            raise _no_room(error, self._path, layout) from error
        self._rows, self._frame, self._dtype = rows, frame, np.dtype(layout.dtype)

    def write(self, index: int, data: Buffer) -> None:
        """Write a part as one chunk, as it came."""
        assert self._file is not None, "begin comes first"  # noqa: S101
        dataset = self._file[self._name]
        first = index * self._frames
        if first + self._frames <= self._rows:
            dataset.id.write_direct_chunk((first, *(0 for _ in self._frame)), data)
        else:
            dataset[first:] = np.frombuffer(data, self._dtype).reshape(-1, *self._frame)

    def finish(self) -> None:
        """Return when the file is on the disk under its name."""
        assert self._file is not None, "begin comes first"  # noqa: S101
        self._file.close()
        self._file = None
        disk = LocalDisk()
        with self._partial.open("rb") as file:
            disk.fsync(file)
        disk.rename(self._partial, self._path)
        disk.fsync_folder(self._path.parent)

    def discard(self) -> None:
        """Remove the unfinished file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._partial.unlink(missing_ok=True)


def _frames_of(layout: ArrayLayout) -> tuple[int, tuple[int, ...]]:
    for axes in range(1, len(layout.shape)):
        frame = layout.shape[axes:]
        size = int(np.prod(frame, dtype=object)) * layout.itemsize
        if layout.order == "C" and 0 < size <= layout.part_bytes and layout.part_bytes % size == 0:
            return int(np.prod(layout.shape[:axes], dtype=object)), frame
    raise BusError(
        "the parts of this stream do not end between frames, as an HDF5 file needs",
        value=f"{layout.dtype} {layout.shape} in parts of {layout.part_bytes} bytes",
        remedy="Cut it with whole_frames, or write a .npy file",
    )


def _npy_header(layout: ArrayLayout) -> bytes:
    text = repr({"descr": layout.dtype, "fortran_order": layout.order == "F", "shape": layout.shape})
    padding = -(10 + len(text) + 1) % 64
    body = (text + " " * padding + "\n").encode("latin1")
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


def _write_all(file: io.FileIO, data: Buffer) -> None:
    view = memoryview(data).cast("B")
    while view.nbytes:
        view = view[file.write(view) or 0 :]


def _require_absent(path: Path) -> None:
    if path.exists():
        raise DataError("a file of this name is there, and none is overwritten", where=str(path))


def _no_room(error: OSError, path: Path, layout: ArrayLayout) -> DataError:
    return DataError(
        f"a file for the acquisition cannot be made: {error.strerror or error}",
        where=str(path),
        value=f"{layout.nbytes} bytes",
        remedy="Free space, or choose another folder",
    )
