"""Names inside a run folder."""

from __future__ import annotations

DATABASE = "journal.sqlite"
FRAMES = "frames"
CONFIG = "config.yaml"
LOCK = "journal.lock"
RESERVE = "reserve.bin"
CHECKPOINTS = "checkpoints"

APPLICATION_ID = 0x41534A31
"""``PRAGMA application_id`` of a journal: "ASJ1" in ASCII."""

VERSION = 2
"""``PRAGMA user_version`` of a journal: the layout described in docs/journal.md."""

READABLE = (1, 2)
"""Layouts that are read; layout 1 has the first of the tables only, and bodies as plain text."""

RECORDS = (
    "CREATE TABLE records (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, step INTEGER, time_s REAL NOT NULL,"
    " wall TEXT NOT NULL, body TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL)"
)
ADDITIONS = (
    "CREATE TABLE frames (name TEXT PRIMARY KEY, content BLOB NOT NULL)",
    "CREATE TABLE signatures (seq INTEGER PRIMARY KEY, hash TEXT NOT NULL, public_key TEXT NOT NULL,"
    " signature TEXT NOT NULL)",
)
"""What layout 2 has besides."""

INSERT = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
INSERT_FRAME = "INSERT INTO frames VALUES (?, ?)"
INSERT_SIGNATURE = "INSERT INTO signatures VALUES (?, ?, ?, ?)"

PACKED_BYTES = 400
"""Bodies of this many bytes or more are stored as their zlib stream."""

LARGEST_BODY_BYTES = 1 << 28
"""No body is unpacked beyond this; nothing that autoscope writes comes near it."""

LOG_BYTES = 32 + 1000 * (24 + 4096)
"""What SQLite's log grows to before its content moves into the database and it is begun anew."""
