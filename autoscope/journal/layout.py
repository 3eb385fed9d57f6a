"""Names inside a run folder."""

from __future__ import annotations

DATABASE = "journal.sqlite"
FRAMES = "frames"
CONFIG = "config.yaml"
LOCK = "journal.lock"
RESERVE = "reserve.bin"

APPLICATION_ID = 0x41534A31
"""``PRAGMA application_id`` of a journal: "ASJ1" in ASCII."""

VERSION = 1
"""``PRAGMA user_version`` of a journal: the layout described in docs/journal.md."""

SCHEMA = (
    "CREATE TABLE records (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, step INTEGER, time_s REAL NOT NULL,"
    " wall TEXT NOT NULL, body TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL)"
)
INSERT = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
