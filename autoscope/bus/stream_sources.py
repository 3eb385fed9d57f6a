"""Where the parts of streams come from: arrays that are there, and acquisitions that are still going on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, wait
from typing import Literal, NamedTuple, Protocol

import numpy as np

from autoscope.bus.arrays import (
    DEFAULT_PART_BYTES,
    PART_BYTES,
    Array,
    ArrayHeader,
    ArrayLayout,
    Buffer,
    cut,
    digesters,
    layout_of,
    part_digest,
    raw_bytes,
    whole_digest,
)
from autoscope.bus.streaming import End
from autoscope.errors import BusError

SHOWN_PARTS = 32
"""An array that is being filled is cut into at least so many parts, so that its receiver sees it grow ..."""
SMALLEST_PART_BYTES = 64 * 1024
"""... but into none smaller than this."""
_UNKNOWN: str | None = None
"""The digest of a whole that is not there yet."""


class Ready(NamedTuple):
    """One part on its way out."""

    data: memoryview
    sha256: str | None


class PartSource(Protocol):
    """What a stream is made of. ``part`` and the others are called on the sender's thread."""

    layout: ArrayLayout
    sha256: str | None
    """Of the whole, where it is known beforehand."""

    def held(self) -> range:
        """Return the parts that can be asked for now; its end grows while the acquisition goes on."""

    def part(self, index: int, *, digest: bool) -> Ready:
        """Return one of the parts held, with its sha256 if that is wanted and the whole's is not known beforehand."""

    def release(self, stored: int) -> None:
        """Forget parts below this: they are safe with the receiver."""

    def cancel(self, reason: str) -> None:
        """End the acquisition."""

    def ended(self) -> End | None:
        """Return how it ended, once it has."""


class PartsSource:
    """A stream of an array whose parts are all there, from any part on, as often as wanted."""

    def __init__(self, layout: ArrayLayout, parts: Sequence[Buffer], sha256: str | None = None) -> None:
        self.layout, self.sha256 = layout, sha256
        self._parts = [memoryview(part) for part in parts]
        self._digests: list[Future[bytes]] = []

    def held(self) -> range:
        """Return all parts."""
        return range(self.layout.parts)

    def part(self, index: int, *, digest: bool) -> Ready:
        """Return one part; digests are worked out a few parts ahead."""
        if self.sha256 is not None or not digest:
            return Ready(self._parts[index], None)
        for ahead in self._parts[len(self._digests) : index + 8]:
            self._digests.append(digesters().submit(part_digest, ahead))
        return Ready(self._parts[index], self._digests[index].result().hex())

    def release(self, stored: int) -> None:
        """Keep everything: whoever made the array lets go of it."""

    def cancel(self, reason: str) -> None:
        """Leave the array to others who may want it."""

    def ended(self) -> End | None:
        """Return that everything is there."""
        whole = self.sha256
        if whole is None and len(self._digests) == self.layout.parts:
            whole = whole_digest([digest.result() for digest in self._digests])
        return End(outcome="complete", parts=self.layout.parts, sha256=whole)


class ArraySource(PartsSource):
    """A stream of an array that is all there."""

    def __init__(self, array: Array, header: ArrayHeader | None = None) -> None:
        layout = header or layout_of(array)
        super().__init__(layout, list(cut(raw_bytes(array), layout)), header.sha256 if header else None)


class GrowingSource:
    """A stream of an array that is still being filled, from any part on: its parts are the array's own memory.

    Nothing waits for a receiver, as everything stays where it is: one that is slow, or comes late, or comes back, gets
    what there is at its own pace. Digests are worked out as parts are filled.

    Parameters
    ----------
    array : array
        Contiguous in C order, filled from its first byte on.
    """

    def __init__(self, array: Array) -> None:
        part_bytes = min(max(array.nbytes // SHOWN_PARTS, SMALLEST_PART_BYTES), DEFAULT_PART_BYTES)
        self.layout, self.sha256 = layout_of(array, part_bytes), _UNKNOWN
        self._bytes = raw_bytes(array)
        self._parts = list(cut(self._bytes, self.layout))
        self._lock = threading.Lock()
        self._digests: list[Future[bytes]] = []
        self._end: tuple[Literal["cancelled", "failed"], str] | None = None

    def fill(self, nbytes: int) -> None:
        """Learn that the first so many bytes will not change any more; any thread."""
        made = self.layout.parts if nbytes >= self.layout.nbytes else nbytes // self.layout.part_bytes
        with self._lock:
            for part in self._parts[len(self._digests) : made]:
                self._digests.append(digesters().submit(part_digest, part))

    def fail(self, reason: str) -> None:
        """End the stream because the acquisition failed; any thread."""
        with self._lock:
            self._end = self._end or ("failed", reason)

    def holds(self, data: memoryview) -> bool:
        """Return whether these bytes lie in the memory that is sent."""
        place, given = (np.frombuffer(one, np.uint8).__array_interface__["data"][0] for one in (self._bytes, data))
        return bool(place == given)

    def header(self) -> ArrayHeader | None:
        """Return the description of the whole array with its digest, or None where it is not whole."""
        with self._lock:
            digests = list(self._digests)
        if len(digests) < self.layout.parts:
            return None
        whole = whole_digest([digest.result() for digest in digests])
        return ArrayHeader(**self.layout.model_dump(), sha256=whole)

    def held(self) -> range:
        """Return the parts that are filled."""
        with self._lock:
            return range(len(self._digests))

    def part(self, index: int, *, digest: bool) -> Ready:
        """Return a part that is filled."""
        return Ready(self._parts[index], self._digests[index].result().hex() if digest else None)

    def release(self, stored: int) -> None:
        """Keep everything: the array is the instrument's."""

    def cancel(self, reason: str) -> None:
        """Go on: whoever reads may stop reading, but only who may abort the act ends the acquisition."""

    def ended(self) -> End | None:
        """Return how it ended: failed, or complete once every part is there."""
        if (end := self._end) is not None:
            return End(outcome=end[0], parts=self.held().stop, reason=end[1][:500])
        header = self.header()
        return End(outcome="complete", parts=header.parts, sha256=header.sha256) if header else None


class LiveSource:
    """A stream that an acquisition fills while it is sent, through a fixed number of parts in memory.

    For acquisitions that are larger than memory; one that has an array to fill is a `GrowingSource`.

    Parameters
    ----------
    layout : ArrayLayout
        Of the whole acquisition; ``whole_frames`` cuts it between frames.
    capacity : int
        Parts held until the receiver has them.
    patience_s : float
        How long ``put`` waits for room before the acquisition fails.
    """

    def __init__(self, layout: ArrayLayout, *, capacity: int = 64, patience_s: float = 10.0) -> None:
        self.layout, self.sha256, self._patience_s = layout, None, patience_s
        self._changed = threading.Condition()
        self._free = deque(np.empty(layout.part_bytes, np.uint8) for _ in range(min(capacity, max(1, layout.parts))))
        self._held: dict[int, tuple[Array, Future[bytes]]] = {}
        self._digests: list[Future[bytes]] = []
        self._filling: Array | None = None
        self._filled = 0
        self._released = 0
        self._end: tuple[str, str] | None = None

    # acquisition's thread

    def put(self, data: Array) -> None:
        """Add the next bytes of the acquisition, a frame or any number of them; waits while the receiver is behind.

        Raises
        ------
        BusError
            The receiver was too slow for longer than the patience, or cancelled; or there are more bytes than the
            layout says.
        """
        left = raw_bytes(data)
        while left.nbytes:
            buffer = self._buffer()
            room = self.layout.part_size(len(self._digests)) - self._filled
            size = min(room, left.nbytes)
            buffer[self._filled : self._filled + size] = np.frombuffer(left[:size], np.uint8)
            left, self._filled = left[size:], self._filled + size
            if size == room:
                self._complete(buffer)

    def _buffer(self) -> Array:
        with self._changed:
            self._require_going()
            if self._filling is None:
                if not self._changed.wait_for(lambda: self._free or self._end, self._patience_s):
                    self._end = ("failed", f"the receiver stored nothing for {self._patience_s:g} s: it is too slow")
                self._require_going()
                self._filling = self._free.popleft()
            return self._filling

    def _require_going(self) -> None:
        if self._end is not None:
            raise BusError(f"the stream has ended: {self._end[1] or self._end[0]}", where=f"part {len(self._digests)}")
        if len(self._digests) >= self.layout.parts:
            raise BusError("more was acquired than the stream's layout says", limit=f"{self.layout.nbytes} bytes")

    def _complete(self, buffer: Array) -> None:
        whole = buffer[: self._filled]
        digest = digesters().submit(part_digest, whole.data)
        with self._changed:
            self._held[len(self._digests)] = (whole, digest)
            self._digests.append(digest)
            self._filling, self._filled = None, 0

    def fail(self, reason: str) -> None:
        """End the stream because the acquisition failed."""
        with self._changed:
            self._end = self._end or ("failed", reason)
            self._changed.notify_all()

    def wait_stored(self, timeout_s: float) -> bool:
        """Return whether the receiver has stored everything within a time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._released >= self.layout.parts, timeout_s)

    # sender's thread

    def held(self) -> range:
        """Return the parts acquired and not yet stored by the receiver."""
        with self._changed:
            return range(self._released, len(self._digests))

    def part(self, index: int, *, digest: bool) -> Ready:
        """Return a part held; its digest was begun when it was acquired, and is for the end of the stream too."""
        with self._changed:
            data, coming = self._held[index]
        return Ready(data.data, coming.result().hex() if digest else None)

    def release(self, stored: int) -> None:
        """Use the memory of these parts again, once their digests are worked out."""
        with self._changed:
            digests = self._digests[self._released : stored]
        wait(digests)
        with self._changed:
            for index in range(self._released, self._released + len(digests)):
                self._free.append(self._whole(self._held.pop(index)[0]))
            self._released += len(digests)
            self._changed.notify_all()

    @staticmethod
    def _whole(part: Array) -> Array:
        base = part.base
        return base if isinstance(base, np.ndarray) else part

    def cancel(self, reason: str) -> None:
        """Make the next ``put`` raise."""
        with self._changed:
            self._end = self._end or ("cancelled", reason)
            self._changed.notify_all()

    def ended(self) -> End | None:
        """Return how it ended: cancelled, failed, or complete once every part is there."""
        with self._changed:
            made = len(self._digests)
            if self._end is not None:
                outcome, reason = self._end
                return End.model_validate({"outcome": outcome, "parts": made, "reason": reason[:500]})
            if made < self.layout.parts:
                return None
            digests = list(self._digests)
        return End(outcome="complete", parts=made, sha256=whole_digest([digest.result() for digest in digests]))


def whole_frames(
    dtype: str, shape: tuple[int, ...], *, frame_axes: int = 2, part_bytes: int = DEFAULT_PART_BYTES
) -> ArrayLayout:
    """Return the layout of an acquisition with parts that end between frames, as large as they may be.

    Parameters
    ----------
    frame_axes : int
        The last so many axes are one frame: 2 for images or patterns, 1 for spectra.

    Examples
    --------
    >>> whole_frames("<u2", (4000, 256, 256)).part_bytes // (256 * 256 * 2)
    8
    """
    frame = int(np.prod(shape[len(shape) - frame_axes :], dtype=object)) * int(dtype[2:])
    size = max(1, part_bytes // frame) * frame if 0 < frame <= PART_BYTES else part_bytes
    nbytes = int(np.prod(shape, dtype=object)) * int(dtype[2:])
    return ArrayLayout(dtype=dtype, shape=shape, part_bytes=size, parts=-(-nbytes // size))
