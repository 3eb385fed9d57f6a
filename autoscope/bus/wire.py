"""From values to messages and back: a magic word, a header of strict JSON with a size cap, arrays as raw parts.

::

    request   | autoscope/1 | {"version":1,"id":"..","ask":{"verb":"state"}} |
    reply     | autoscope/1 | {"version":1,"id":"..","answer":{"kind":"done",...}} | part | part | ...
    published | topic | autoscope/1 | {"version":1,"kind":"act",...} |

Nothing else is ever parsed. A request carries no arrays; the parts of a reply are described in its header and refused
from there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import to_json

from autoscope import errors
from autoscope.actions import Value
from autoscope.bus.arrays import Array, ArrayHeader, Buffer, cut, digesters, from_parts, raw_bytes, to_parts
from autoscope.bus.messages import VERSION, Answer, Ask, Done, Event, FrameHeader, Plain, Reply, Request, Trouble
from autoscope.errors import AutoscopeError, BusError, Refused
from autoscope.journal.frames import npy_digest
from autoscope.records import Frame, Observation

MAGIC = b"autoscope/1"
MAX_REQUEST_BYTES = 8 * 1024
"""Largest header a server takes."""
MAX_REPLY_BYTES = 256 * 1024
"""Largest header a client takes."""
PROMISED_BYTES = 64 * 1024
"""Frames from this size on are described with the sha256 that a journal will find, so that it can compare."""
MAX_OBSERVATION_BYTES = 4 * 1024**3
"""Largest array a client takes unless told otherwise."""

Parts = list[Buffer]
Fetch = Callable[[str, ArrayHeader], Array]
T = TypeVar("T", bound=Value)

ERRORS: dict[str, type[AutoscopeError]] = {
    name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, AutoscopeError)
}
"""Every error that can travel, by its class name."""


def encode_request(identifier: str, clock_s: float | None, ask: Ask) -> Parts:
    """Return the parts of a `Request`."""
    return [MAGIC, _envelope(identifier, clock_s, b"ask", ask)]


def encode_reply(identifier: str, clock_s: float | None, answer: Answer) -> Parts:
    """Return the first two parts of a `Reply`."""
    return [MAGIC, _envelope(identifier, clock_s, b"answer", answer)]


def _envelope(identifier: str, clock_s: float | None, name: bytes, value: Value) -> bytes:
    # written out: what we say ourselves need not be validated again, and this is on the way of every message
    said = value.__pydantic_serializer__.to_json(value)
    return b'{"version":%d,"id":%b,"clock_s":%b,"%b":%b}' % (
        VERSION,
        to_json(identifier),
        b"null" if clock_s is None else to_json(clock_s),
        name,
        said,
    )


def decode_request(parts: Sequence[Buffer]) -> Request:
    """Return the request in a message.

    Raises
    ------
    Refused
        Not of this protocol or version, too large, not strict JSON, or with parts that no request has.
    """
    if len(parts) != 2:
        raise _malformed("a request has two parts", f"{len(parts)} parts", "2 parts")
    return _decode(Request, parts, MAX_REQUEST_BYTES)


def decode_reply(parts: Sequence[Buffer]) -> tuple[Reply, Parts]:
    """Return the reply in a message and the raw parts that follow its header, not looked into yet.

    Raises
    ------
    Refused
        Not of this protocol or version, too large, or not strict JSON.
    """
    if len(parts) < 2:
        raise _malformed("a reply has a header", f"{len(parts)} parts", "2 parts or more")
    return _decode(Reply, parts[:2], MAX_REPLY_BYTES), list(parts[2:])


def encode_event(event: Event) -> list[bytes]:
    """Return a published message; its topic is the event's kind."""
    return [event.kind.encode(), MAGIC, event.model_dump_json().encode()]


def decode_event(parts: Sequence[Buffer]) -> Event:
    """Return the event in a published message.

    Raises
    ------
    Refused
        It is none.
    """
    if len(parts) != 3:
        raise _malformed("an event has three parts", f"{len(parts)} parts", "3 parts")
    return _decode(Event, parts[1:], MAX_REQUEST_BYTES)


def _decode(model: type[T], parts: Sequence[Buffer], cap: int) -> T:
    magic, header = parts
    if magic != MAGIC:
        raise _malformed("is not a message of this protocol", repr(bytes(memoryview(magic)[:32])), MAGIC.decode())
    if (nbytes := len(header) if type(header) is bytes else memoryview(header).nbytes) > cap:
        raise _malformed("the header is too large", f"{nbytes} bytes", f"{cap} bytes")
    try:
        value: T = model.__pydantic_validator__.validate_json(header if type(header) is bytes else bytes(header))
    except ValidationError as error:
        raise _malformed(f"the header is not what the protocol says: {_first(error)}", None, None) from error
    return value


def _first(error: ValidationError) -> str:
    item = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in item["loc"])
    return f"{place[:200]}: {item['msg'][:300]}" if place else item["msg"][:300]


def _malformed(what: str, value: object, limit: object) -> Refused:
    remedy = "Both sides must speak the same version of autoscope's protocol (docs/bus.md)"
    return Refused(what, where="message", value=value, limit=limit, remedy=remedy)


# --- observations -----------------------------------------------------------------------------------


def pack(
    observation: Observation, described: Callable[[Array], ArrayHeader | None] = lambda array: None
) -> tuple[Done, Parts]:
    """Return an observation as an answer, and the raw parts of its frames in their order.

    Parameters
    ----------
    described : callable
        The header of an array whose digest is known already, or None.

    Raises
    ------
    BusError
        A frame holds something else than numbers.
    """
    headers, parts = [], []
    for frame in observation.frames:
        large = frame.data.nbytes >= PROMISED_BYTES
        promised = digesters().submit(npy_digest, frame) if large else None
        if (array := described(frame.data)) is not None:
            own = list(cut(raw_bytes(frame.data), array))
        else:
            array, own = to_parts(frame.data)
        npy_sha256 = promised.result() if promised is not None else None
        headers.append(FrameHeader(meta=frame.meta, array=array, npy_sha256=npy_sha256))
        parts += own
    done = Done(
        act_id=observation.act_id,
        state_before=observation.state_before,
        state=observation.state,
        frames=tuple(headers),
    )
    return done, list(parts)


def unpack(
    done: Done,
    parts: Sequence[Buffer],
    *,
    max_bytes: int = MAX_OBSERVATION_BYTES,
    fetch: Fetch | None = None,
    verify: bool = True,
) -> Observation:
    """Return the observation of an answer, every frame compared with its sha256, here or where it is stored.

    Parameters
    ----------
    verify : bool
        False where the network authenticates what it carries: a frame whose journal's sha256 is told is then compared
        by the journal alone, which hashes it anyway.
    fetch : callable, optional
        Returns a large array that did not come with the answer, from the name of its stream and its header.

    Raises
    ------
    BusError
        A frame is too large, a part missing, surplus or of another size, or the bytes are not those sent.
    """
    frames, start = [], 0
    for header in done.frames:
        if header.stream is not None:
            fetched = _fetched(header, header.stream, max_bytes, fetch)
            frames.append(Frame(header.meta, fetched, header.npy_sha256 or ""))
            continue
        own = parts[start : start + header.array.parts]
        start += header.array.parts
        compare = verify or header.npy_sha256 is None
        array = from_parts(header.array, own, max_bytes=max_bytes, verify=compare)
        frames.append(Frame(header.meta, array, header.npy_sha256 or ""))
    if start != len(parts):
        raise BusError("parts follow that no frame describes", where=done.act_id, value=len(parts), limit=start)
    return Observation(done.act_id, done.state_before, done.state, tuple(frames))


def _fetched(header: FrameHeader, stream: str, max_bytes: int, fetch: Fetch | None) -> Array:
    header.array.require(max_bytes)
    if fetch is None:
        raise BusError("an array is to be fetched, and this network cannot", where=header.meta.signal)
    return fetch(stream, header.array)


# --- errors -----------------------------------------------------------------------------------------


def trouble_of(error: AutoscopeError, code: str = "", next_seq: int | None = None) -> Trouble:
    """Return an error as it travels."""
    return Trouble.model_validate(
        {
            "error": type(error).__name__ if type(error).__name__ in ERRORS else "BusError",
            "what": error.what[:2000],
            "where": error.where[:500],
            "value": _plain(error.value),
            "limit": _plain(error.limit),
            "remedy": error.remedy[:1000],
            "code": code,
            "next_seq": next_seq,
        }
    )


def error_of(trouble: Trouble) -> AutoscopeError:
    """Return the error to be raised again; one of a class this version does not know is a `BusError`.

    Examples
    --------
    >>> error_of(Trouble(error="OutOfRange", what="x_m leaves the range", value=2.0, limit="[0, 1] m"))
    OutOfRange('x_m leaves the range')
    """
    kind = ERRORS.get(trouble.error, BusError)
    return kind(
        trouble.what, where=trouble.where, value=trouble.value, limit=trouble.limit, remedy=trouble.remedy
    )  # fmt: skip


def _plain(value: object) -> Plain:
    if value is None or isinstance(value, (bool, int, str)):
        return value[:500] if isinstance(value, str) else value
    if isinstance(value, float) and value - value == 0.0:
        return value
    return repr(value)[:500]
