"""How tests alter a journal behind its back."""

import sqlite3
from contextlib import closing

from autoscope.journal.chain import pack, unpack


def unpacked(stored):
    """Return a stored body as text."""
    return unpack(stored if isinstance(stored, bytes) else stored.encode()).decode()


def tamper(folder, statement, *values):
    """Run SQL on a run's database; ``unpacked(body)`` and ``packed(text)`` are there to change bodies."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        connection.create_function("unpacked", 1, unpacked)
        connection.create_function("packed", 1, pack)
        connection.execute(statement, values)
        connection.commit()
