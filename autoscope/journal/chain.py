"""Records and the hash that ties each to the one before; docs/journal.md describes the bytes."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from pydantic import BaseModel

from autoscope.errors import JournalCorrupt, JournalError
from autoscope.journal.layout import LARGEST_BODY_BYTES, PACKED_BYTES

FORMAT = "autoscope-journal/1"
"""First element of every hashed text; a new layout gets a new name."""

ZLIB = b"\x78"
"""First byte of every zlib stream (RFC 1950) with the usual window."""

GENESIS = "0" * 64
"""What the first record gives as the hash of the one before."""

RecordKind = Literal[
    "run_started",
    "run_resumed",
    "question",
    "intent",
    "outcome",
    "intervention",
    "note",
    "fault",
    "closing",
    "returning",
    "run_ended",
    "annotation",
]
KINDS: tuple[str, ...] = get_args(RecordKind)

_LARGEST_INTEGER = 2**63 - 1  # what an SQLite INTEGER holds


class Row(NamedTuple):
    """A record as it is hashed: ``body`` is canonical JSON text."""

    seq: int
    kind: str
    step: int | None
    time_s: float
    wall: str
    body: str
    previous: str
    hash: str


@dataclass(frozen=True)
class Record:
    """A record as it is read: ``body`` is plain data."""

    seq: int
    kind: str
    step: int | None
    time_s: float
    wall: str
    body: dict[str, Any]
    previous: str
    hash: str


@dataclass(frozen=True)
class Later:
    """A part of a body that is made when the record is written, which a journal in memory may put off.

    What it is made of must not change until then.
    """

    make: Callable[[], Any]


def plain(value: object, where: str = "body") -> Any:
    """Return a value as JSON-ready plain data; models, tuples and mappings are taken apart, what is `Later` is made.

    Raises
    ------
    JournalError
        Something in it is not plain data, not finite, or keyed by other things than text.

    Examples
    --------
    >>> plain({"shape": (2, 3)})
    {'shape': [2, 3]}
    """
    if _is_plain(value):
        return value
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"), where)
    if isinstance(value, Later):
        return plain(value.make(), where)
    if isinstance(value, Mapping):
        return {_key(k, where): plain(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, float):
        raise JournalError(
            "a record cannot hold NaN or infinity", where=where, value=value, remedy="Leave it out or use null"
        )
    raise JournalError(
        "a record holds plain data only",
        where=where,
        value=type(value).__name__,
        limit="null, true/false, numbers, text, lists, mappings, models",
        remedy="Convert it before it is appended",
    )


def _is_plain(value: object) -> bool:
    """Return whether a value is plain data already, which most are; knows no place to complain about, and is quick."""
    kind = type(value)
    if value is None or kind is str or kind is int or kind is bool:
        return True
    if kind is float:
        return math.isfinite(value)  # type: ignore[arg-type]
    if kind is dict:
        return all(type(key) is str and _is_plain(part) for key, part in value.items())  # type: ignore[attr-defined]
    return kind is list and all(map(_is_plain, value))  # type: ignore[call-overload]


def _key(key: object, where: str) -> str:
    if isinstance(key, str):
        return key
    raise JournalError("keys of a record must be text", where=where, value=key)


def canonical(value: object, *, is_plain: bool = False) -> str:
    """Return the one JSON text of a value: keys sorted, no spaces, no NaN, UTF-8 characters as they are.

    ``is_plain``: the value was made by `plain`, or by a model's dump to JSON data, and need not be looked through.

    Raises
    ------
    JournalError
        The value is not plain data, or holds text that UTF-8 cannot carry.

    Examples
    --------
    >>> canonical({"b": 1.0, "a": [True, None]})
    '{"a":[true,null],"b":1.0}'
    """
    return _written(value if is_plain else plain(value))


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _written(value: object) -> str:
    """Return the canonical text of what is plain already."""
    try:
        text = _ENCODER.encode(value)
    except ValueError as error:
        raise JournalError(f"a record cannot hold this: {error}", where="body", remedy="Leave it out") from error
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise JournalError(f"a record holds text that is not Unicode: {error.reason}", where="body") from error
    return text


def pack(body: str) -> str | bytes:
    """Return a body as it is stored: short ones as they are, others as their zlib stream.

    Examples
    --------
    >>> pack('{"a":1}')
    '{"a":1}'
    """
    data = body.encode("utf-8")
    return zlib.compress(data, 3) if len(data) >= PACKED_BYTES else body


def unpack(stored: bytes) -> bytes:
    """Return the UTF-8 text of a stored body; JSON begins with another byte than a zlib stream.

    Raises
    ------
    ValueError
        It is no whole zlib stream, or too long.
    """
    if not stored.startswith(ZLIB):
        return stored
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(stored, LARGEST_BODY_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not stream.eof or stream.unused_data:
        raise ValueError("cut, grown or too long")
    return text


def digest(row: Row) -> str:
    """Return the sha256 a row must carry: over every other column, ``previous`` included.

    The hashed text is the canonical JSON list ``[FORMAT, seq, kind, step, time, wall, body, previous]``, where ``time``
    is the IEEE 754 bytes of ``time_s`` (big endian) in hexadecimal and ``body`` the stored text as one JSON string,
    so that no verifier has to format a float.
    """
    return hashlib.sha256(hashed_text(row).encode("utf-8")).hexdigest()


def hashed_text(row: Row) -> str:
    """Return the text whose sha256 is the hash of a row."""
    time = struct.pack(">d", row.time_s).hex()
    return _written([FORMAT, row.seq, row.kind, row.step, time, row.wall, row.body, row.previous])


def link(
    previous: Row | None,
    kind: str,
    body: object,
    *,
    step: int | None,
    time_s: float,
    wall: str,
    is_plain: bool = False,
) -> Row:
    """Return the row that follows ``previous`` (None: the first of a journal); ``is_plain``: `plain` made the body.

    Raises
    ------
    JournalError
        Unknown kind, a step or time that cannot be stored, or a body that is not plain data.
    """
    seq = previous.seq + 1 if previous else 1
    if kind not in KINDS:
        raise JournalError("no such kind of record", where=f"record {seq}", value=kind, limit=", ".join(KINDS))
    if step is not None and not 0 <= step <= _LARGEST_INTEGER:
        raise JournalError("a step is a count from 0", where=f"record {seq}", value=step)
    if not math.isfinite(time_s):
        raise JournalError("the clock gave no finite time", where=f"record {seq}", value=time_s)
    if not isinstance(body, (Mapping, BaseModel)):
        raise JournalError("a record's body is a mapping or a model", where=f"record {seq}", value=type(body).__name__)
    before, text = previous.hash if previous else GENESIS, _written(body) if is_plain else canonical(body)
    row = Row(seq, kind, step, time_s + 0.0, wall, text, before, "")  # + 0.0: SQLite stores no minus zero
    return row._replace(hash=digest(row))


def parse(row: Row, where: str = "journal") -> Record:
    """Return a stored row as a record, after checking its own hash.

    Raises
    ------
    JournalCorrupt
        The row does not match its hash.
    """
    if digest(row) != row.hash:
        raise corrupt("does not match its hash: it was altered after it was written", where, row.seq)
    return Record(*row[:5], json.loads(row.body), row.previous, row.hash)


def corrupt(what: str, where: str, seq: int | None) -> JournalCorrupt:
    """Return the error for a record that cannot be trusted."""
    place = f"{where}: record {seq}" if seq is not None else where
    return JournalCorrupt(
        what, where=place, remedy="Keep the file as it is and run 'autoscope verify' to see which steps are intact"
    )
