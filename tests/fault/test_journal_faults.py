import os
import runpy
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autoscope.clock import SimClock
from autoscope.errors import JournalError, JournalFull
from autoscope.journal import Journal, JournalReader, verify
from autoscope.testing.disk import FaultyDisk

RUN = runpy.run_path(str(Path(__file__).parents[1] / "golden" / "journal" / "write_three_steps.py"))
STEPS = 2


@pytest.fixture(autouse=True)
def small_reserve(monkeypatch):
    monkeypatch.setattr("autoscope.journal.reserve.RESERVE_BYTES", 1 << 14)


@pytest.fixture(params=["small", "files"])
def calls(request, tmp_path, monkeypatch):
    """Return the calls of a run whose frames lie in the database, or in files as large ones do."""
    if request.param == "files":
        monkeypatch.setattr("autoscope.journal.shelf.SMALL_BYTES", 0)
    disk = FaultyDisk()
    RUN["write_folder"](tmp_path / "count", STEPS, disk)
    return disk.calls


class Witness:
    """A recorder's caller that remembers what it was promised."""

    def __init__(self, journal):
        self.journal, self.seqs, self.refs = journal, [], []

    def append(self, kind, body, *, step=None):
        self.seqs.append(self.journal.append(kind, body, step=step))
        return self.seqs[-1]

    def write_frame(self, frame, *, step, index):
        self.refs.append(self.journal.write_frame(frame, step=step, index=index))
        return self.refs[-1]


def run_until_failure(folder, disk):
    """Write a run; return what was promised and the error that ended it."""
    clock = SimClock()
    try:
        journal = Journal.create(folder, clock=clock, config=RUN["CONFIG"], disk=disk)
    except JournalError as error:
        return None, None, error
    witness = Witness(journal)
    try:
        RUN["write"](witness, clock, STEPS)
    except JournalError as error:
        return journal, witness, error
    return journal, witness, None


def assert_promises_kept(folder, witness):
    result = verify(folder)
    assert result.ok, result.summary
    assert result.records >= len(witness.seqs)
    reader = JournalReader.open(folder)
    assert [r.seq for r in reader.records()][: len(witness.seqs)] == witness.seqs
    recorded = [ref for step in reader.steps() if step.outcome for ref in step.outcome.frames]
    for ref in recorded:
        reader.load_frame(ref)
    assert {ref.file for ref in recorded} <= {ref.file for ref in witness.refs}
    return result


def test_without_faults_every_kind_of_call_is_made(calls):
    assert set(calls) == {"execute", "commit", "write", "fsync", "rename", "fsync_folder"}
    assert len(calls) > 20


@pytest.mark.parametrize(("for_ever", "done_first"), [(True, False), (False, True)])
def test_disk_broken_at_any_call_poisons_and_loses_nothing_promised(tmp_path, calls, for_ever, done_first):
    for at in range(1, len(calls) + 1):
        folder = tmp_path / f"run{at}"
        disk = FaultyDisk(at, "broken", for_ever=for_ever, done_first=done_first)
        journal, witness, error = run_until_failure(folder, disk)
        assert isinstance(error, JournalError), at
        assert not isinstance(error, JournalFull)
        assert str(folder) in str(error)
        if journal is None:
            continue
        made = len(disk.calls)
        for kind in ("note", "outcome", "run_ended"):
            with pytest.raises(JournalError, match="failed earlier"):
                journal.append(kind, {})
        with pytest.raises(JournalError, match="failed earlier"):
            journal.write_frame(RUN["frame"](0), step=9, index=0)
        assert len(disk.calls) == made, "a broken disk is never tried again"
        journal.close()
        assert_promises_kept(folder, witness)
        with Journal.reopen(folder, clock=SimClock()) as again:
            again.append("note", {"text": "recovered"})
        assert_promises_kept(folder, witness)


@pytest.mark.parametrize("for_ever", [False, True])
def test_disk_full_at_any_call_still_takes_the_last_words(tmp_path, calls, for_ever):
    for at in range(1, len(calls) + 1):
        folder = tmp_path / f"run{at}"
        journal, witness, error = run_until_failure(folder, FaultyDisk(at, "full", for_ever=for_ever))
        if journal is None:
            assert isinstance(error, JournalFull), at
            continue
        if error is not None:  # otherwise a last word met the full disk, and the reserve took it
            assert isinstance(error, JournalFull), at
            assert str(folder) in str(error)
            for kind in ("intent", "note"):
                with pytest.raises(JournalFull, match="disk is full"):
                    witness.append(kind, {})
            with pytest.raises(JournalFull):
                witness.write_frame(RUN["frame"](0), step=9, index=0)
            witness.append("fault", {"error": "JournalFull", "message": str(error)})
            witness.append("run_ended", {"reason": "disk full"})
        journal.close()
        result = assert_promises_kept(folder, witness)
        assert result.ended
        assert not any(name.endswith(".partial") for name in result.orphans), "an unfinished frame gives its space back"
        with Journal.reopen(folder, clock=SimClock()) as again:
            again.append("note", {"text": "resumed after space was freed"})
        assert_promises_kept(folder, witness)


def test_disk_that_stays_full_without_reserve_refuses_clearly(tmp_path):
    disk = FaultyDisk()
    journal = Journal.create(tmp_path / "run", clock=SimClock(), disk=disk)
    journal.append("note", {})
    journal._reserve.released = True
    disk._at, disk._ailment, disk._for_ever = len(disk.calls) + 1, "full", True
    for _ in range(2):
        with pytest.raises(JournalFull, match="record 2"):
            journal.append("run_ended", {})
    journal.close()
    assert verify(tmp_path / "run").records == 1


def test_intent_is_refused_before_the_act_when_its_frames_would_not_fit(tmp_path):
    disk = FaultyDisk(free=200_000)
    with Journal.create(tmp_path / "run", clock=SimClock(), disk=disk) as journal:
        body = {"act_id": "a", "decision": RUN["decision"](0), "cost": {"bytes": 60_000}}
        assert journal.append("intent", body, step=0) == 1
        body["cost"] = {"bytes": 70_000}
        with pytest.raises(JournalFull, match=r"200000 bytes are free, 205536 are needed"):
            journal.append("intent", body, step=1)
        assert journal.append("run_ended", {"reason": "disk full"}) == 2


def test_sqlite_itself_reporting_full_is_journal_full(tmp_path):
    with Journal.create(tmp_path / "run", clock=SimClock()) as journal:
        journal.append("note", {})
        pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
        journal._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(JournalFull, match="database or disk is full"):
            journal.append("note", {"text": np.random.default_rng(0).bytes(100_000).hex()})
        journal._connection.execute("PRAGMA max_page_count = 100000")
        journal.append("run_ended", {"reason": "disk full"})
    assert verify(tmp_path / "run").ended


def test_foreign_writer_in_the_database_poisons(tmp_path):
    with Journal.create(tmp_path / "run", clock=SimClock()) as journal:
        journal._connection.execute("PRAGMA busy_timeout = 0")
        intruder = sqlite3.connect(tmp_path / "run" / "journal.sqlite", isolation_level=None)
        intruder.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="locked"):
            journal.append("note", {})
        intruder.execute("ROLLBACK")
        intruder.close()
        with pytest.raises(JournalError, match="failed earlier"):
            journal.append("note", {})
    assert verify(tmp_path / "run").ok


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("done_first", [False, True])
def test_process_killed_at_any_call_leaves_every_promised_record_and_goes_on(tmp_path, calls, done_first):
    for at in range(1, len(calls) + 1):
        folder, told = tmp_path / f"run{at}", tmp_path / f"told{at}"
        child = os.fork()
        if child == 0:  # pragma: no cover - the process under test
            try:
                die_while_writing(folder, told, FaultyDisk(at, "dead", done_first=done_first))
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL, at
        promised = told.read_bytes().count(b"r") if told.is_file() else 0
        if promised == 0 and not can_be_read(folder):
            continue  # killed before there was a journal
        result = verify(folder)
        assert result.ok, (at, result.summary)
        assert promised <= result.records <= promised + 1
        assert result.proven_steps >= sum(promised >= outcome for outcome in (3, 5))
        with Journal.reopen(folder, clock=SimClock()) as journal:
            ref = journal.write_frame(RUN["frame"](1), step=1, index=0)
            assert journal.append("fault", {"frames": [ref]}) == result.records + 1
        assert verify(folder).ok


def can_be_read(folder):
    try:
        JournalReader.open(folder)
    except JournalError:
        return False
    return True


def die_while_writing(folder, told, disk):  # pragma: no cover - runs in a process that is killed
    clock = SimClock()
    journal = Journal.create(folder, clock=clock, config=RUN["CONFIG"], disk=disk)

    class Telling(Witness):
        def append(self, kind, body, *, step=None):
            seq = super().append(kind, body, step=step)
            with told.open("ab") as file:
                file.write(b"r")
            return seq

    RUN["write"](Telling(journal), clock, STEPS)


WRITER = """
import runpy, sys
from pathlib import Path
from autoscope.clock import SimClock
from autoscope.journal import Journal
run = runpy.run_path(sys.argv[1])
clock = SimClock()
journal = Journal.create(Path(sys.argv[2]), clock=clock)
run["begin"](journal)
for step in range(1000000):
    run["act"](journal, clock, step)
    print(step, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_process_killed_from_outside_mid_write_leaves_all_proven_steps(tmp_path):
    script = Path(__file__).parents[1] / "golden" / "journal" / "write_three_steps.py"
    command = [sys.executable, "-c", WRITER, str(script), str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) >= 20:
                break
        process.kill()
        told = int(([line, *process.stdout.read().split()])[-1]) + 1
    assert process.returncode == -signal.SIGKILL
    result = verify(tmp_path / "run")
    assert result.ok, result.summary
    assert told <= result.proven_steps <= told + 1
    steps = list(JournalReader.open(tmp_path / "run").steps())
    assert [s.index for s in steps if s.outcome] == list(range(result.proven_steps))
    with Journal.reopen(tmp_path / "run", clock=SimClock()) as journal:
        assert journal.append("note", {}) == result.records + 2  # the new clock begins its evening again: a marker


def test_writing_goes_on_while_readers_verify(tmp_path):
    clock = SimClock()
    with Journal.create(tmp_path / "run", clock=clock) as journal:
        RUN["begin"](journal)
        for step in range(5):
            RUN["act"](journal, clock, step)
            result = verify(tmp_path / "run")
            assert result.ok
            assert result.proven_steps == step + 1
