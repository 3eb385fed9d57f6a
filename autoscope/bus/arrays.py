"""An array as raw parts of at most 8 MB, described beforehand and refused from its description.

An `ArrayHeader` says everything about the bytes that follow: type with byte order, shape, memory order, how they are
cut and their sha256. It is checked against a size cap before a byte is allocated, parts must have exactly the sizes it
says, and nothing is guessed, cast or swapped: big-endian stays big-endian, column-major stays column-major.

Sending copies nothing where the array is contiguous. Receiving copies nothing where there is one part.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, StringConstraints, model_validator

from autoscope.actions import Value
from autoscope.errors import BusError

PART_BYTES = 8 * 1024 * 1024
"""Largest part: bigger messages are slower over an encrypted connection, and hold up heartbeats."""
DEFAULT_PART_BYTES = 1024 * 1024
"""What arrays are cut into: small enough to stay in a processor's cache on its way through both ends."""
MAX_ARRAY_BYTES = 4 * 1024**3
"""Largest array taken unless a caller permits more."""
MAX_DIMENSIONS = 8
_DTYPE = r"^(\|[biu]1|[<>](i[248]|u[248]|f[248]|c8|c16))$"

Array = np.ndarray[Any, np.dtype[Any]]
Buffer = bytes | bytearray | memoryview
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Dimension = Annotated[int, Field(ge=0, le=2**40)]


class ArrayLayout(Value):
    """How the bytes of an array lie and how they are cut into parts."""

    dtype: Annotated[str, StringConstraints(pattern=_DTYPE)]
    """Type with byte order, as numpy writes it: ``|b1``, ``|i1``, ``|u1``, or ``<`` or ``>`` and i2 to c16."""
    shape: Annotated[tuple[Dimension, ...], Field(max_length=MAX_DIMENSIONS)]
    order: Literal["C", "F"] = "C"
    """Whether the last ("C") or the first ("F") index changes fastest."""
    part_bytes: Annotated[int, Field(ge=1, le=PART_BYTES)] = PART_BYTES
    """Size of every part but the last, which may be smaller."""
    parts: Annotated[int, Field(ge=0)]
    """Number of parts; none where the array is empty."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if math.prod(max(n, 1) for n in self.shape) * self.itemsize > 2**60:
            raise ValueError(f"the shape {self.shape} is beyond any memory")
        if self.parts != (needed := -(-self.nbytes // self.part_bytes)):
            raise ValueError(f"{self.nbytes} bytes are {needed} parts of {self.part_bytes} bytes, not {self.parts}")
        return self

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return int(self.dtype[2:])

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array."""
        return math.prod(self.shape) * self.itemsize

    def part_size(self, index: int) -> int:
        """Return the bytes of one part."""
        return min(self.part_bytes, self.nbytes - index * self.part_bytes)

    def require(self, max_bytes: int) -> None:
        """Return where the array is small enough to be taken.

        Raises
        ------
        BusError
            It is larger than ``max_bytes``.
        """
        if self.nbytes > max_bytes:
            raise BusError(
                "an array is larger than may be taken",
                where=f"array {self.dtype} {self.shape}",
                value=f"{self.nbytes} bytes",
                limit=f"{max_bytes} bytes",
                remedy="Ask for fewer pixels or channels, or raise the limit on this side",
            )


class ArrayHeader(ArrayLayout):
    """A layout and the digest of its bytes: all that must be known before a byte is taken."""

    sha256: Sha256
    """Of the bytes, where there is one part or none; of the parts' digests (32 bytes each) one after the other, where
    there are more, so that all cores can share the work and parts can be compared as they come."""


def layout_of(array: Array, part_bytes: int = DEFAULT_PART_BYTES) -> ArrayLayout:
    """Return how an array will travel.

    Raises
    ------
    BusError
        It holds something else than numbers or truth values of a standard size.
    """
    if not re.match(_DTYPE, array.dtype.str):
        raise BusError(
            "an array of this type cannot travel",
            where=f"array {array.shape}",
            value=array.dtype.str,
            limit="bool, integers of 1 to 8 bytes, floats of 2 to 8, complex of 8 or 16",
            remedy="Convert it first",
        )
    order: Literal["C", "F"] = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    parts = -(-array.nbytes // part_bytes)
    return ArrayLayout(dtype=array.dtype.str, shape=array.shape, order=order, part_bytes=part_bytes, parts=parts)


def raw_bytes(array: Array) -> memoryview:
    """Return the bytes of an array in their memory order, shape (nbytes,); copied only where they are scattered."""
    flat = array.reshape(-1, order="F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C")
    return np.ascontiguousarray(flat).view(np.uint8).data if flat.size else memoryview(b"")


def cut(data: memoryview, layout: ArrayLayout) -> Iterator[memoryview]:
    """Yield the parts of an array's bytes, as views."""
    for start in range(0, layout.nbytes, layout.part_bytes):
        yield data[start : start + layout.part_bytes]


def to_parts(array: Array, *, part_bytes: int = DEFAULT_PART_BYTES) -> tuple[ArrayHeader, list[memoryview]]:
    """Return the header of an array and its parts, as views of its memory.

    The array must not change until the parts have left.

    Raises
    ------
    BusError
        The array holds something else than numbers.

    Examples
    --------
    >>> header, parts = to_parts(np.arange(6, dtype="<u2").reshape(2, 3), part_bytes=8)
    >>> header.shape, header.parts, [len(part) for part in parts]
    ((2, 3), 2, [8, 4])
    """
    layout = layout_of(array, part_bytes)
    data = raw_bytes(array)
    parts = list(cut(data, layout))
    return ArrayHeader(**layout.model_dump(), sha256=whole_digest(part_digests(parts))), parts


def from_parts(
    header: ArrayHeader, parts: Sequence[Buffer], *, max_bytes: int = MAX_ARRAY_BYTES, verify: bool = True
) -> Array:
    """Return the array of a header and its parts, read-only; one part is used where it lies.

    Parameters
    ----------
    parts : sequence of buffers
        Contiguous bytes, exactly as many and as long as the header says.
    max_bytes : int
        Refuse a larger array before anything is allocated.
    verify : bool
        Compare the sha256; False only where whoever uses the array compares it later.

    Raises
    ------
    BusError
        The array is too large, a part is missing, surplus or of another size, or the bytes are not those described.
    """
    header.require(max_bytes)
    views = [memoryview(part) for part in parts]
    _check_sizes(header, views)
    digests = [digesters().submit(part_digest, view) for view in views] if verify and len(views) > 1 else []
    joined = _joined(header, views)  # meanwhile
    if verify and whole_digest([d.result() for d in digests] or part_digests(views)) != header.sha256:
        raise mismatch(header, "array")
    return as_array(header, joined)


def as_array(layout: ArrayLayout, data: Buffer) -> Array:
    """Return the array that lies in all of its bytes, read-only, without copying."""
    array: Array = np.frombuffer(data, dtype=layout.dtype).reshape(layout.shape, order=layout.order)
    array.setflags(write=False)
    return array


def part_digests(parts: Sequence[Buffer]) -> list[bytes]:
    """Return the sha256 of each part, worked out on all cores."""
    if len(parts) < 2:
        return [part_digest(part) for part in parts]
    return list(digesters().map(part_digest, parts))


def part_digest(part: Buffer) -> bytes:
    """Return the sha256 of one part, 32 bytes."""
    return hashlib.sha256(part).digest()


def whole_digest(digests: Sequence[bytes]) -> str:
    """Return the digest of an array from those of its parts."""
    if len(digests) == 1:
        return digests[0].hex()
    return hashlib.sha256(b"".join(digests)).hexdigest()


@functools.cache
def digesters() -> ThreadPoolExecutor:
    """Return the threads that work digests out (hashlib lets go of the interpreter meanwhile)."""
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="sha256")


if hasattr(os, "register_at_fork"):  # a forked process has the pool, but none of its threads: it would wait for ever
    os.register_at_fork(after_in_child=digesters.cache_clear)


def _check_sizes(header: ArrayLayout, parts: Sequence[memoryview]) -> None:
    if len(parts) != header.parts:
        raise _malformed(header, "parts are missing or surplus", f"{len(parts)} parts", f"{header.parts} parts")
    for index, part in enumerate(parts):
        check_size(header, index, part.nbytes)


def check_size(layout: ArrayLayout, index: int, size: int) -> None:
    """Return where a part has the size its layout says.

    Raises
    ------
    BusError
        It has another size.
    """
    if size != layout.part_size(index):
        raise _malformed(
            layout, f"part {index} has the wrong size", f"{size} bytes", f"{layout.part_size(index)} bytes"
        )


def _joined(header: ArrayLayout, parts: Sequence[memoryview]) -> memoryview:
    if len(parts) == 1:
        return parts[0]
    whole = np.empty(header.nbytes, dtype=np.uint8)
    for index, part in enumerate(parts):
        start = index * header.part_bytes
        whole[start : start + part.nbytes] = np.frombuffer(part, dtype=np.uint8)
    return whole.data


def mismatch(layout: ArrayLayout, what: str) -> BusError:
    """Return the error for bytes that are not those that were sent."""
    return BusError(
        f"the bytes of an {what} are not those that were sent: their sha256 differs",
        where=f"array {layout.dtype} {layout.shape}",
        remedy="Nothing was used; ask again, and look at the network where it happens twice",
    )


def _malformed(layout: ArrayLayout, what: str, value: str, limit: str) -> BusError:
    return BusError(what, where=f"array {layout.dtype} {layout.shape}", value=value, limit=limit)
