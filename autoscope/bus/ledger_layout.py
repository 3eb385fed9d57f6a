"""How a ledger lies on the disk: its folder, and the tables of its database."""

DATABASE, ARRAYS = "ledger.sqlite", "arrays"
"""Of the ledger's folder: the database, and the folder of files too large for it."""
LAYOUT = 1
"""Number of this layout, kept as the database's ``user_version``."""
SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE sessions (session TEXT PRIMARY KEY, user TEXT NOT NULL, client TEXT NOT NULL, opened TEXT NOT NULL,
    last_seq INTEGER NOT NULL, ended INTEGER NOT NULL);
CREATE TABLE acts (number INTEGER PRIMARY KEY, act_id TEXT UNIQUE NOT NULL, session TEXT NOT NULL, seq INTEGER NOT NULL,
    user TEXT NOT NULL, digest TEXT NOT NULL, act TEXT NOT NULL, status TEXT NOT NULL, accepted TEXT NOT NULL,
    expected_dose_e REAL NOT NULL, begun_s REAL, answer TEXT, arrays BLOB, bytes INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL);
CREATE INDEX acts_with_arrays ON acts (number) WHERE bytes > 0;
CREATE INDEX acts_by_status ON acts (status);
CREATE TABLE doses (place TEXT PRIMARY KEY, dose_e REAL NOT NULL);
CREATE TABLE events (number INTEGER PRIMARY KEY, wall TEXT NOT NULL, clock_s REAL, kind TEXT NOT NULL,
    text TEXT NOT NULL);
"""
