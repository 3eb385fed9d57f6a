"""Large acquisitions part by part: what sender and receiver say to each other.

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
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, StringConstraints, ValidationError

from autoscope.actions import Value
from autoscope.bus.arrays import ArrayLayout, Buffer, Sha256
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
    # written out: what we say ourselves need not be validated again, and this is on the way of every part
    return [MAGIC, b'{"version":1,"say":%b}' % say.__pydantic_serializer__.to_json(say)]


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
        told: FromReceiver = FromReceiver.__pydantic_validator__.validate_json(_header(frames))
        return told.say


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
        told: FromSender = FromSender.__pydantic_validator__.validate_json(_header(frames))
    say = told.say
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
