"""Large acquisitions part by part: what is said, and where the parts come from.

::

    receiver -> sender   open      which stream, from which part, how many parts may come ahead, shared memory if any
    sender   -> receiver opened    layout, the nonce of the shared memory where it could be opened
    sender   -> receiver part      index and sha256; the bytes follow as a raw part, or lie in the shared memory
    receiver -> sender   stored    how many parts are safe: as many more may come, and the sender may forget those
    receiver -> sender   cancel    enough
    sender   -> receiver progress  how many parts there are so far; also the sign of life while there is nothing to send
    sender   -> receiver end       complete, cancelled or failed, and the digest of the whole

Nothing is ever sent that was not permitted, so memory is bounded on both sides, and nothing is left out: a receiver
that is too slow makes the acquisition fail loudly. After a broken connection the receiver opens again from the first
part it lacks; the sender goes on if it still has that part and says so if it has not.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Annotated, Literal, NamedTuple, Protocol

import numpy as np
from pydantic import Field, NonNegativeInt, StringConstraints, ValidationError

from autoscope.actions import Value
from autoscope.bus.arrays import (
    DEFAULT_PART_BYTES,
    PART_BYTES,
    Array,
    ArrayHeader,
    ArrayLayout,
    Buffer,
    Sha256,
    cut,
    digesters,
    layout_of,
    part_digest,
    raw_bytes,
    whole_digest,
)
from autoscope.bus.shared_memory import MAX_WINDOW_BYTES
from autoscope.errors import BusError

MAGIC = b"autoscope/1"
MAX_HEADER_BYTES = 8 * 1024
MAX_CREDIT = 64
"""Most parts that may be on their way."""

Text = Annotated[str, StringConstraints(max_length=500)]
StreamName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class WindowOffer(Value):
    """Shared memory the receiver has made, for as many whole parts as fit in: part ``k`` goes to slot ``k % slots``."""

    name: Annotated[str, StringConstraints(max_length=60)]
    size: Annotated[int, Field(ge=1, le=MAX_WINDOW_BYTES)]
    """In bytes."""


class Open(Value):
    """Begin, or go on after a broken connection."""

    kind: Literal["open"] = "open"
    stream: StreamName
    first: NonNegativeInt = 0
    credit: Annotated[int, Field(ge=1, le=MAX_CREDIT)]
    window: WindowOffer | None = None


class Stored(Value):
    """So many parts are safe with the receiver; without a change it is a sign of life."""

    kind: Literal["stored"] = "stored"
    parts: NonNegativeInt


class Cancel(Value):
    """No more is wanted; the acquisition may end."""

    kind: Literal["cancel"] = "cancel"
    reason: Text = ""


class Opened(Value):
    """What will come."""

    kind: Literal["opened"] = "opened"
    layout: ArrayLayout
    sha256: Sha256 | None = None
    """Of the whole, where it is known beforehand."""
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    """What lies in the shared memory: the proof that it is shared. None: parts come over the socket."""


class Part(Value):
    """One part; its bytes follow as a raw part unless shared memory is used."""

    kind: Literal["part"] = "part"
    index: NonNegativeInt
    sha256: Sha256 | None = None
    """None where the digest of the whole is known beforehand."""


class Progress(Value):
    """How many parts there are so far."""

    kind: Literal["progress"] = "progress"
    produced: NonNegativeInt


class End(Value):
    """No more parts follow."""

    kind: Literal["end"] = "end"
    outcome: Literal["complete", "cancelled", "failed"]
    parts: NonNegativeInt
    reason: Text = ""
    sha256: Sha256 | None = None
    """Of the whole; None unless complete."""


class FromReceiver(Value):
    """What a receiver says."""

    version: Literal[1] = 1
    say: Annotated[Open | Stored | Cancel, Field(discriminator="kind")]


class FromSender(Value):
    """What a sender says."""

    version: Literal[1] = 1
    say: Annotated[Opened | Part | Progress | End, Field(discriminator="kind")]


def encode(say: Open | Stored | Cancel | Opened | Part | Progress | End) -> list[bytes]:
    """Return a message without the raw part that may follow."""
    model = FromReceiver if isinstance(say, (Open, Stored, Cancel)) else FromSender
    return [MAGIC, model.model_validate({"say": say}).model_dump_json().encode()]


def decode_from_receiver(frames: Sequence[Buffer]) -> Open | Stored | Cancel:
    """Return what a receiver said.

    Raises
    ------
    BusError
        It is not of this protocol.
    """
    if len(frames) != 2:
        raise BusError("is no message of a receiver of streams", value=f"{len(frames)} parts", limit="2 parts")
    with _refusing():
        return FromReceiver.model_validate_json(_header(frames)).say


def decode_from_sender(frames: Sequence[Buffer]) -> tuple[Opened | Part | Progress | End, Buffer | None]:
    """Return what a sender said, and the raw part that came with it.

    Raises
    ------
    BusError
        It is not of this protocol.
    """
    if len(frames) not in {2, 3}:
        raise BusError("is no message of a sender of streams", value=f"{len(frames)} parts", limit="2 or 3 parts")
    with _refusing():
        say = FromSender.model_validate_json(_header(frames)).say
    if len(frames) == 3 and not isinstance(say, Part):
        raise BusError("bytes follow what has none", value=say.kind)
    return say, frames[2] if len(frames) == 3 else None


def _header(frames: Sequence[Buffer]) -> bytes:
    magic, header = memoryview(frames[0]), memoryview(frames[1])
    if bytes(magic[:32]) != MAGIC:
        raise BusError("is not of this protocol", value=bytes(magic[:32]), limit=MAGIC.decode())
    if header.nbytes > MAX_HEADER_BYTES:
        raise BusError("a header is too large", value=f"{header.nbytes} bytes", limit=f"{MAX_HEADER_BYTES} bytes")
    return bytes(header)


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))[:200]
        raise BusError(f"a header is not what the protocol says: {first['msg'][:300]}", where=place) from None


# --- where parts come from -----------------------------------------------------------------------------


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


class LiveSource:
    """A stream that an acquisition fills while it is sent, through a fixed number of parts in memory.

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
        """Use the memory of these parts again."""
        with self._changed:
            for index in range(self._released, min(stored, len(self._digests))):
                self._free.append(self._whole(self._held.pop(index)[0]))
                self._released = index + 1
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
