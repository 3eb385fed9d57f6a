"""SQLite's log, read for what SQLite itself never says: where it is damaged, and whether anything follows the damage.

SQLite ends its reading of a log at the first frame that does not verify, which is right after a cut of power and silent
loss after a flipped bit. The layout and the checksum are those of the SQLite file format, section 4.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}

Sums = tuple[int, int]


@dataclass(frozen=True)
class LogDamage:
    """The first place of a log that does not verify."""

    offset: int
    """Byte where the damaged frame begins."""
    tail: bool
    """Whether nothing that verifies follows: torn when the power failed, or the last transaction was altered."""

    def __str__(self) -> str:
        if self.tail:
            return f"SQLite's log is torn at byte {self.offset}: a record may have been lost there"
        return f"SQLite's log is damaged at byte {self.offset}: records after it cannot be read"


@dataclass(frozen=True)
class _Frame:
    offset: int
    salts: bytes
    sums: Sums
    """As stored."""
    covered: bytes
    commits: bool


def damage(path: Path) -> LogDamage | None:
    """Return where a log is damaged; None where it is not, or where there is none.

    What a killed process left unfinished at the end (part of a frame, frames without their commit) is no damage. Must
    not be called while somebody writes.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(data) <= HEADER_BYTES or not any(data):  # never used: it has its size from the start
        return None
    magic, _, page_bytes = struct.unpack(">III", data[:12])
    order, sums = _MAGIC.get(magic, ""), struct.unpack(">II", data[24:32])
    if not order or _summed(data[:24], (0, 0), order) != sums:
        return LogDamage(0, tail=False)
    return _first_bad(_frames(data, page_bytes), data[16:24], sums, order)


def _frames(data: bytes, page_bytes: int) -> list[_Frame]:
    size, frames = FRAME_HEADER_BYTES + page_bytes, []
    for offset in range(HEADER_BYTES, len(data) - size + 1, size):
        head = data[offset : offset + FRAME_HEADER_BYTES]
        _, pages, *_ = struct.unpack(">II", head[:8])
        sums: Sums = struct.unpack(">II", head[16:24])
        covered = head[:8] + data[offset + FRAME_HEADER_BYTES : offset + size]
        frames.append(_Frame(offset, head[8:16], sums, covered, pages > 0))
    return frames


def _first_bad(frames: list[_Frame], salts: bytes, sums: Sums, order: str) -> LogDamage | None:
    for place, frame in enumerate(frames):
        sound = _summed(frame.covered, sums, order) == frame.sums
        if not sound or frame.salts != salts:
            ours = frame.salts == salts or sound  # the checksum leaves the salts out: a flipped bit there shows
            follows = any(
                later.salts == salts and _summed(later.covered, before.sums, order) == later.sums
                for before, later in zip(frames[place:], frames[place + 1 :])
            )
            return LogDamage(frame.offset, tail=not follows) if ours or follows else None
        sums = frame.sums
    return None


def _summed(data: bytes, start: Sums, order: str) -> Sums:
    first, second = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2]):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
