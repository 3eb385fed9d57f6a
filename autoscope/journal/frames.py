"""Frames as ``.npy`` files: written durably, hashed whole, and read back only if the hash still holds."""

from __future__ import annotations

import functools
import hashlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from autoscope.errors import JournalCorrupt, JournalError
from autoscope.journal.disk import Buffer
from autoscope.records import Frame, FrameRef

_PLAIN_KINDS = "biufc"  # numpy dtype kinds that need no pickle: bool, integers, floats, complex


def encode(frame: Frame) -> bytes:
    """Return the array as the bytes of a ``.npy`` file (numpy format, no pickle).

    Raises
    ------
    JournalError
        The array holds objects or records rather than numbers.
    """
    return b"".join(parts(frame))


def parts(frame: Frame) -> tuple[Buffer, ...]:
    """Return what `encode` returns in pieces, so that a large array is not copied before it is written.

    Raises
    ------
    JournalError
        The array holds objects or records rather than numbers.
    """
    data = frame.data
    if data.dtype.kind not in _PLAIN_KINDS:
        raise JournalError("a frame holds numbers only", where=f"frame {frame.meta.signal}", value=str(data.dtype))
    buffer = io.BytesIO()
    if not data.flags.c_contiguous or not data.size:
        np.save(buffer, data, allow_pickle=False)
        return (buffer.getvalue(),)
    return _header(data.shape, data.dtype), data.reshape(-1).view(np.uint8).data


@functools.lru_cache(maxsize=64)
def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Return what stands before the numbers of an array in C order; the frames of a run are of few kinds."""
    buffer = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()


def npy_digest(frame: Frame) -> str:
    """Return the sha256 of what `encode` returns: the one that a reference to the stored frame will carry.

    Raises
    ------
    JournalError
        The array holds objects or records rather than numbers.
    """
    digest = hashlib.sha256()
    for part in parts(frame):
        digest.update(part)
    return digest.hexdigest()


def require_promised(frame: Frame, sha256: str) -> None:
    """Return where a frame that was sent is what its sender said, from the digest of what is stored.

    Raises
    ------
    JournalCorrupt
        It was altered on its way.
    """
    if frame.promised not in {"", sha256}:
        raise JournalCorrupt(
            "a frame is not the one that was sent: its sha256 differs",
            where=f"frame {frame.meta.signal}",
            value=sha256,
            limit=frame.promised,
            remedy="Look at memory and disk of the instrument's computer and of this one; the frame is not used",
        )


def refer(frame: Frame, file: str, data: bytes) -> FrameRef:
    """Return the reference to a frame stored as ``data`` in ``file``."""
    return refer_by_hash(frame, file, hashlib.sha256(data).hexdigest())


def refer_by_hash(frame: Frame, file: str, sha256: str) -> FrameRef:
    """Return the reference to a frame whose stored bytes have a known hash."""
    return FrameRef(
        file=file,
        sha256=sha256,
        shape=frame.data.shape,
        dtype=frame.data.dtype.str,
        meta=frame.meta,
    )


def file_name(frame: Frame, step: int, index: int, attempt: int = 0) -> str:
    """Return the name of a frame's file; ``attempt`` counts names already taken by an unfinished earlier try.

    The step comes first so that a listing is in the order of the run.
    """
    again = f"-again{attempt}" if attempt else ""
    return f"{step:06d}-{index:02d}-{_in_a_name(frame.meta.signal)}{again}.npy"


@functools.lru_cache(maxsize=64)
def _in_a_name(signal: str) -> str:
    """Return the name of a signal as it can stand in the name of a file."""
    return (re.sub(r"[^A-Za-z0-9]+", "-", signal).strip("-") or "frame")[:40]


def decode(ref: FrameRef, data: bytes, where: str) -> Frame:
    """Return the frame stored in a file's bytes.

    Raises
    ------
    JournalCorrupt
        The bytes do not match the reference.
    """
    if hashlib.sha256(data).hexdigest() != ref.sha256:
        raise _unfit("does not match its sha256: it was altered or cut after it was written", where)
    try:
        array: np.ndarray[Any, np.dtype[Any]] = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise _unfit(f"is not a .npy file: {error}", where) from error
    if array.shape != ref.shape or array.dtype.str != ref.dtype:
        raise _unfit(f"holds {array.shape} {array.dtype.str}, its record says {ref.shape} {ref.dtype}", where)
    return Frame(ref.meta, array)


def load(folder: Path, ref: FrameRef) -> Frame:
    """Return a frame of a run's ``frames`` folder, verified.

    Raises
    ------
    JournalCorrupt
        The file is absent, unreadable, outside the folder, or does not match the reference.
    """
    path = locate(folder, ref)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unfit(f"cannot be read: {error.strerror}", str(path)) from error
    return decode(ref, data, str(path))


def locate(folder: Path, ref: FrameRef) -> Path:
    """Return the path of a frame's file.

    Raises
    ------
    JournalCorrupt
        The reference points outside the folder.
    """
    if ref.file != Path(ref.file).name or "\\" in ref.file or ref.file in {"", ".", ".."}:
        raise _unfit("a frame's file must lie inside the frames folder", ref.file)
    return folder / ref.file


def _unfit(what: str, where: str) -> JournalCorrupt:
    return JournalCorrupt(what, where=where, remedy="Run 'autoscope verify' to see which steps are intact")
