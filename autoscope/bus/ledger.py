"""The ledger: every act that got a number and what came of it, durable before the act and before the reply.

::

    (new) -> accepted -> done | failed | refused          whoever asks again gets the stored answer
                      -> unknown                          nobody can say whether it was done; never done again
                      -> void                             provably not done; may be asked for again

One SQLite file. Small arrays lie in it; larger ones in files beside it, written and fsynced before the row that refers
to them. Identifiers are kept for ever, frames until the client says that it has them, or until there is no room.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

from autoscope.bus.arrays import Buffer
from autoscope.bus.ledger_layout import ARRAYS, DATABASE, LAYOUT, SCHEMA
from autoscope.bus.messages import Answer, Done, Failed
from autoscope.errors import BusError, ConfigError
from autoscope.journal.disk import LocalDisk, write_durably
from autoscope.protocols import Clock
from autoscope.records import Act

Status = Literal["accepted", "done", "failed", "refused", "unknown", "void"]
INLINE_BYTES = 128 * 1024
"""Answers with fewer bytes of arrays lie in the database itself: one fsync instead of four."""
KEEP_BYTES = 2 * 1024**3
"""Bytes of arrays kept for acts that nobody has acknowledged; the oldest go first."""
EVENTS_KEPT = 10_000
_ANSWER: TypeAdapter[Any] = TypeAdapter(Answer)
T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """One act of the ledger."""

    act_id: str
    session: str
    seq: int
    user: str
    digest: str
    act: Act
    status: Status
    begun_s: float | None
    answer: Done | Failed | None


@dataclass(frozen=True)
class Charged:
    """An act that may have exposed the sample."""

    number: int
    act: Act
    expected_dose_e: float
    answer: Done | Failed | None


@dataclass(frozen=True)
class Session:
    """A conversation in which acts are counted."""

    session: str
    user: str
    last_seq: int
    ended: bool


def digest_of(act: Act) -> str:
    """Return the sha256 of what an act asks for, whatever lease it comes under."""
    return hashlib.sha256(act.action.model_dump_json().encode()).hexdigest()


class Ledger:
    """What a server has promised and done, over all its lives. Any thread may call it.

    Parameters
    ----------
    folder : Path
        Made where absent; one server at a time.
    clock : Clock
        For wall-clock times that people read.
    durable : bool
        False: a power cut may take the last entries back (a killed process may not); for tests only.
    keep_bytes : int
        Bytes of arrays kept for acts nobody has acknowledged.

    Raises
    ------
    ConfigError
        The folder cannot be used, is in use by another server, or is of another layout.
    """

    def __init__(self, folder: Path, *, clock: Clock, durable: bool = True, keep_bytes: int = KEEP_BYTES) -> None:
        self._folder, self._clock, self._keep_bytes = folder, clock, keep_bytes
        self._lock = threading.RLock()
        self._disk = LocalDisk()
        try:
            (folder / ARRAYS).mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(folder / DATABASE, isolation_level=None, check_same_thread=False, timeout=2.0)
            self._open(durable)
        except (OSError, sqlite3.Error) as error:
            remedy = "End the other server, or give this one another folder with --ledger"
            raise ConfigError(f"the ledger cannot be opened: {error}", where=str(folder), remedy=remedy) from error
        self._kept = int(self._one("SELECT coalesce(sum(bytes), 0) FROM acts WHERE bytes > 0")[0])

    def _open(self, durable: bool) -> None:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
        layout = self._one("PRAGMA user_version")[0]
        if layout == 0:
            self._db.executescript(f"BEGIN EXCLUSIVE; {SCHEMA} PRAGMA user_version = {LAYOUT}; COMMIT;")
        elif layout != LAYOUT:
            raise ConfigError("the ledger is of another version", where=str(self._folder), value=layout, limit=LAYOUT)
        self._db.execute("BEGIN EXCLUSIVE")  # takes the lock that is then kept
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            self._db.close()

    # --- sessions -----------------------------------------------------------------------------------

    def open_session(self, user: str, client: str, replaces: str | None = None) -> str:
        """Return the name of a new session; acts of the one it replaces are no longer accepted.

        Names are drawn by the operating system, so that a recorded message never fits a later session.
        """
        session = secrets.token_hex(12)
        with self._transaction():
            if replaces is not None:
                self._db.execute("UPDATE sessions SET ended = 1 WHERE session = ? AND user = ?", (replaces, user))
            row = (session, user, client, self._clock.wall(), 0, 0)
            self._db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)", row)
        return session

    def session(self, session: str) -> Session | None:
        """Return a session, or None."""
        row = self._one("SELECT session, user, last_seq, ended FROM sessions WHERE session = ?", session)
        return Session(row[0], row[1], row[2], bool(row[3])) if row else None

    # --- acts ---------------------------------------------------------------------------------------

    def find(self, act_id: str) -> Entry | None:
        """Return what is known of an act, without its arrays."""
        row = self._one(
            "SELECT act_id, session, seq, user, digest, act, status, begun_s, answer FROM acts WHERE act_id = ?", act_id
        )
        return _entry(row) if row else None

    def accept(self, session: str, seq: int, user: str, act: Act, expected_dose_e: float = 0.0) -> None:
        """Write an act down, durably, before it is begun, and use up its number.

        An act that is ``void`` is taken up again.

        Raises
        ------
        BusError
            It cannot be written; it must not be done.
        """
        row = (act.act_id, session, seq, user, digest_of(act), act.model_dump_json(), self._clock.wall())
        with self._transaction():
            self._db.execute("DELETE FROM acts WHERE act_id = ? AND status = 'void'", (act.act_id,))
            self._db.execute(
                "INSERT INTO acts (act_id, session, seq, user, digest, act, accepted, status, expected_dose_e, bytes, "
                "acknowledged) VALUES (?, ?, ?, ?, ?, ?, ?, 'accepted', ?, 0, 0)",
                (*row, expected_dose_e),
            )
            self._db.execute("UPDATE sessions SET last_seq = ? WHERE session = ?", (seq, session))

    def expect(self, act_id: str, dose_e: float) -> None:
        """Note the electrons an act may cost, should nobody learn what came of it."""
        with self._transaction():
            self._db.execute("UPDATE acts SET expected_dose_e = ? WHERE act_id = ?", (dose_e, act_id))

    def finish(
        self,
        act_id: str,
        status: Status,
        answer: Done | Failed,
        parts: Sequence[Buffer] = (),
        *,
        begun_s: float | None = None,
        dose: tuple[str, float] | None = None,
    ) -> None:
        """Write down what came of an act, durably, before anybody is told; its electrons in the same transaction.

        Raises
        ------
        BusError
            It cannot be written.
        """
        size = sum(memoryview(part).nbytes for part in parts)
        data = b"".join(parts) if 0 < size <= INLINE_BYTES else None
        if size > INLINE_BYTES:
            self._write_file(act_id, parts)
        with self._transaction():
            self._db.execute(
                "UPDATE acts SET status = ?, answer = ?, arrays = ?, bytes = ?, begun_s = ? WHERE act_id = ?",
                (status, answer.model_dump_json(), data, size, begun_s, act_id),
            )
            if dose is not None:
                self._add_dose(*dose)
        self._kept += size
        self._make_room()

    def stored(self, act_id: str) -> tuple[Done | Failed, list[Buffer]] | None:
        """Return the stored answer of an act with the bytes of its arrays, or None where there is none.

        Where the arrays are no longer kept, the answer says so.
        """
        with self._lock:
            row = self._one("SELECT answer, arrays, bytes FROM acts WHERE act_id = ?", act_id)
            if not row or row[0] is None:
                return None
            answer: Done | Failed = _ANSWER.validate_json(row[0])
            if not isinstance(answer, Done) or not answer.frames:
                return answer, []
            data = row[1] if row[1] is not None else self._read_file(act_id)
        if data is None or not row[2]:
            return answer.replace(frames=(), kept=False), []
        return answer, list(_cut(answer, memoryview(data)))

    def acknowledge(self, act_ids: Sequence[str]) -> None:
        """Let go of the arrays of acts; what came of them is remembered."""
        for act_id in act_ids:
            self._let_go(act_id, acknowledged=1)

    def with_status(self, *statuses: Status) -> list[Entry]:
        """Return the acts of some status, in the order in which they were accepted."""
        with self._lock:
            rows = self._db.execute(
                "SELECT act_id, session, seq, user, digest, act, status, begun_s, answer FROM acts "
                "WHERE status IN (SELECT value FROM json_each(?)) ORDER BY number",
                (json.dumps(statuses),),
            ).fetchall()
        return [_entry(row) for row in rows]

    def resolve(self, act_id: str, status: Status, answer: Failed | None = None, place: str = "") -> None:
        """Give an act that was never answered its status; an ``unknown`` one is charged what it may have cost."""
        text = answer.model_dump_json() if answer else None
        with self._transaction():
            if status == "unknown" and place:
                row = self._one("SELECT expected_dose_e FROM acts WHERE act_id = ?", act_id)
                self._add_dose(place, float(row[0]))
            self._db.execute("UPDATE acts SET status = ?, answer = ? WHERE act_id = ?", (status, text, act_id))

    def charged(self) -> Iterator[Charged]:
        """Yield the acts that were done, or of which nobody can say that they were not, oldest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT number, act, expected_dose_e, answer FROM acts "
                "WHERE status IN ('done', 'unknown', 'accepted') OR (status = 'failed' AND begun_s IS NOT NULL) "
                "ORDER BY number"
            )
            for number, act, expected_e, answer in rows:
                known = _ANSWER.validate_json(answer) if answer else None
                yield Charged(int(number), Act.model_validate_json(act), float(expected_e), known)

    def last_number(self) -> int:
        """Return the number of the newest act, 0 where there is none."""
        return int(self._one("SELECT coalesce(max(number), 0) FROM acts")[0])

    def counts(self) -> dict[str, int]:
        """Return how many acts have each status."""
        with self._lock:
            return dict(self._db.execute("SELECT status, count(*) FROM acts GROUP BY status ORDER BY status"))

    # --- dose, facts, events ------------------------------------------------------------------------

    def dose_e(self, place: str) -> float:
        """Return the electrons a place has received, over all runs."""
        row = self._one("SELECT dose_e FROM doses WHERE place = ?", place)
        return float(row[0]) if row else 0.0

    def charge(self, place: str, dose_e: float) -> None:
        """Add electrons that fell outside any act."""
        with self._transaction():
            self._add_dose(place, dose_e)

    def fact(self, name: str, make: Callable[[], str]) -> str:
        """Return a fact about this ledger, made and kept the first time it is asked for."""
        row = self._one("SELECT value FROM meta WHERE name = ?", name)
        if row:
            return str(row[0])
        value = make()
        self.set_fact(name, value)
        return value

    def set_fact(self, name: str, value: str) -> None:
        """Keep a fact."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def note(self, kind: str, text: str, clock_s: float | None = None) -> None:
        """Write down something that happened."""
        with self._transaction():
            values = (self._clock.wall(), clock_s, kind, text[:2000])
            cursor = self._db.execute("INSERT INTO events (wall, clock_s, kind, text) VALUES (?, ?, ?, ?)", values)
            self._db.execute("DELETE FROM events WHERE number <= ?", ((cursor.lastrowid or 0) - EVENTS_KEPT,))

    def events(self, last: int = 50) -> list[tuple[str, float | None, str, str]]:
        """Return the last events, oldest first: wall-clock time, instrument time, kind, text."""
        with self._lock:
            query = "SELECT wall, clock_s, kind, text FROM events ORDER BY number DESC LIMIT ?"
            return list(reversed(self._db.execute(query, (last,)).fetchall()))

    # --- inside -------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    remedy = "Free space on the server's disk or repair it; nothing is done that cannot be written down"
                    what = f"the ledger cannot be written: {error}"
                    raise BusError(what, where=str(self._folder / DATABASE), remedy=remedy) from error
                raise

    def _one(self, query: str, *values: object) -> Any:
        with self._lock:
            return self._db.execute(query, values).fetchone()

    def _add_dose(self, place: str, dose_e: float) -> None:
        self._db.execute(
            "INSERT INTO doses VALUES (?, ?) ON CONFLICT (place) DO UPDATE SET dose_e = dose_e + excluded.dose_e",
            (place, max(dose_e, 0.0)),
        )

    def _file(self, act_id: str) -> Path:
        return self._folder / ARRAYS / f"{hashlib.sha256(act_id.encode()).hexdigest()[:32]}.bin"

    def _write_file(self, act_id: str, parts: Sequence[Buffer]) -> None:
        try:
            write_durably(self._disk, self._file(act_id), b"".join(parts))
        except OSError as error:
            what = f"the frames of an act cannot be written: {error}"
            raise BusError(what, where=str(self._folder), remedy="Free space on the server's disk") from error

    def _read_file(self, act_id: str) -> bytes | None:
        try:
            return self._file(act_id).read_bytes()
        except OSError:
            return None

    def _let_go(self, act_id: str, acknowledged: int) -> None:
        with self._transaction():
            row = self._one("SELECT bytes FROM acts WHERE act_id = ?", act_id)
            if not row or (not row[0] and not acknowledged):
                return
            self._db.execute(
                "UPDATE acts SET arrays = NULL, bytes = 0, acknowledged = max(acknowledged, ?) WHERE act_id = ?",
                (acknowledged, act_id),
            )
        self._kept -= row[0]
        if row[0] > INLINE_BYTES:
            self._disk.remove(self._file(act_id))

    def _make_room(self) -> None:
        while self._kept > self._keep_bytes:
            rows = self._db.execute("SELECT act_id FROM acts WHERE bytes > 0 ORDER BY number LIMIT 2").fetchall()
            if len(rows) < 2:
                return  # the newest answer is always kept
            self._let_go(rows[0][0], acknowledged=0)


def _entry(row: Sequence[Any]) -> Entry:
    act_id, session, seq, user, digest, act, status, begun_s, answer = row
    known = _ANSWER.validate_json(answer) if answer else None
    return Entry(act_id, session, seq, user, digest, Act.model_validate_json(act), status, begun_s, known)


def _cut(answer: Done, data: memoryview) -> Iterator[Buffer]:
    start = 0
    for frame in answer.frames:
        for index in range(frame.array.parts):
            size = frame.array.part_size(index)
            yield data[start : start + size]
            start += size
