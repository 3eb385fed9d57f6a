import os
import runpy
import shutil
import sqlite3
import stat
import zlib
from pathlib import Path

import pytest

from autoscope.clock import SimClock
from autoscope.errors import JournalCorrupt, JournalError
from autoscope.journal import Journal, JournalReader, MemoryJournal, verify
from autoscope.journal.frames import decode, refer
from autoscope.records import MicroscopeState, Outcome
from autoscope.testing.disk import CarelessDisk
from tests.tampering import tamper

RUN = runpy.run_path(str(Path(__file__).parents[2] / "golden" / "journal" / "write_three_steps.py"))


@pytest.fixture
def folder(tmp_path):
    RUN["write_folder"](tmp_path / "run")
    return tmp_path / "run"


def outcome(act_id):
    state = MicroscopeState(time_s=0.0)
    return Outcome(act_id=act_id, status="done", state_before=state, state=state)


def cannot_open():
    error = sqlite3.OperationalError("unable to open database file")
    error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    return error


def intent(act_id):
    return {"act_id": act_id, "decision": RUN["decision"](0), "cost": {}}


def test_steps_pair_intent_and_outcome_by_act(folder):
    steps = list(JournalReader.open(folder).steps())
    assert [(s.index, s.act_id, s.outcome.act_id) for s in steps] == [(k, f"act-{k}", f"act-{k}") for k in range(3)]
    assert [(s.time_s, s.ended_s) for s in steps] == [(0.0, 0.5), (0.5, 1.0), (1.0, 1.5)]
    assert [s.decision for s in steps] == [RUN["decision"](k) for k in range(3)]


def test_overlapping_acts_are_paired_by_id_in_the_order_of_intent():
    journal = MemoryJournal(clock=SimClock())
    journal.append("intent", intent("a"))
    journal.append("intent", intent("b"))
    journal.append("outcome", outcome("b"))
    journal.append("outcome", outcome("a"))
    assert [(s.index, s.act_id, s.outcome.act_id) for s in journal.steps()] == [(0, "a", "a"), (1, "b", "b")]


def test_intent_without_outcome_is_a_step_without_outcome():
    journal = MemoryJournal(clock=SimClock())
    journal.append("intent", intent("a"), step=4)
    (step,) = journal.steps()
    assert (step.index, step.outcome, step.ended_s) == (4, None, None)


def test_outcome_nobody_intended_is_corrupt():
    journal = MemoryJournal(clock=SimClock())
    journal.append("outcome", outcome("x"))
    with pytest.raises(JournalCorrupt, match="nobody intended"):
        list(journal.steps())


def test_body_of_another_layout_is_named_with_its_record():
    journal = MemoryJournal(clock=SimClock())
    journal.append("note", {})
    journal.append("intent", {"act_id": "a", "decision": {"surprise": 1}})
    with pytest.raises(JournalCorrupt, match="record 2"):
        list(journal.steps())


def test_records_can_be_asked_by_kind_and_from_a_place_on(folder):
    reader = JournalReader.open(folder)
    assert [r.seq for r in reader.records("intent")] == [2, 4, 6]
    assert [r.seq for r in reader.records(after=8)] == [9, 10]
    assert [r.seq for r in reader.records("outcome", after=3)] == [5, 7]
    assert list(reader.records(after=10)) == []


def test_memory_answers_the_same_questions():
    clock = SimClock()
    journal = MemoryJournal(clock=clock)
    RUN["write"](journal, clock)
    assert [r.seq for r in journal.records("outcome", after=3)] == [5, 7]


def test_many_records_come_in_order_over_several_batches(tmp_path):
    with Journal.create(tmp_path / "run", clock=SimClock(), disk=CarelessDisk()) as journal:
        for count in range(1203):
            journal.append("note", {"count": count})
    assert [r.body["count"] for r in JournalReader.open(tmp_path / "run").records()] == list(range(1203))


def test_started_and_ended_tell_first_and_last_words(folder):
    reader = JournalReader.open(folder)
    assert reader.started()["version"] == "0.1.0"
    assert reader.ended() == {"reason": "stopped"}
    assert reader.folder == folder


def test_run_that_goes_on_after_its_end_has_not_ended(folder):
    with Journal.reopen(folder, clock=SimClock()) as journal:
        journal.append("note", {"text": "resumed"})
    assert JournalReader.open(folder).ended() is None


def test_run_without_beginning_says_so(tmp_path):
    with Journal.create(tmp_path / "run", clock=SimClock()):
        reader = JournalReader.open(tmp_path / "run")
        assert reader.ended() is None
        with pytest.raises(JournalError, match="has not begun"):
            reader.started()


def test_reader_never_hands_out_an_altered_record(folder):
    tamper(folder, "UPDATE records SET body = packed(replace(unpacked(body), '105.5', '999.5')) WHERE seq = 5")
    seen = []
    with pytest.raises(JournalCorrupt, match="record 5"):
        seen.extend(r.seq for r in JournalReader.open(folder).records())
    with pytest.raises(JournalCorrupt, match="record 5"):
        list(JournalReader.open(folder).records("outcome"))


def test_reader_notices_a_removed_record(folder):
    tamper(folder, "DELETE FROM records WHERE seq = 8")
    with pytest.raises(JournalCorrupt, match="record 9: does not follow"):
        list(JournalReader.open(folder).records())


def test_reader_notices_that_the_beginning_was_removed(folder):
    tamper(folder, "DELETE FROM records WHERE seq = 1")
    with pytest.raises(JournalCorrupt, match="record 2: does not follow"):
        list(JournalReader.open(folder).records())


@pytest.mark.parametrize(
    "change", ["step = 'two'", "time_s = 'late'", "wall = 3.5", "body = CAST(x'ff' AS TEXT)", "step = 1.5"]
)
def test_column_of_another_type_is_corrupt(folder, change):
    tamper(folder, f"UPDATE records SET {change} WHERE seq = 3")
    with pytest.raises(JournalCorrupt, match="record 3"):
        list(JournalReader.open(folder).records())


def test_letter_altered_in_the_description_of_a_table_is_corrupt(folder):
    """It would make the numbers of the records vanish, and no record would be found."""
    path = folder / "journal.sqlite"
    path.write_bytes(path.read_bytes().replace(b"seq INTEGER PRIMARY KEY, kind", b"seq INTEGER QRIMARY KEY, kind"))
    with pytest.raises(JournalCorrupt, match="'records' is absent or altered"):
        JournalReader.open(folder)
    assert not verify(folder).ok


def test_text_that_became_nothing_is_corrupt(folder):
    tamper(
        folder, "CREATE TABLE other AS SELECT seq, kind, step, time_s, NULL AS wall, body, previous, hash FROM records"
    )
    tamper(folder, "DROP TABLE records")
    tamper(folder, "ALTER TABLE other RENAME TO records")
    with pytest.raises(JournalCorrupt, match="'records' is absent or altered"):
        list(JournalReader.open(folder).records())


def test_no_journal_is_said_so(tmp_path):
    with pytest.raises(JournalError, match="no journal here"):
        JournalReader.open(tmp_path)


def test_another_database_is_not_taken_for_a_journal(tmp_path):
    connection = sqlite3.connect(tmp_path / "journal.sqlite")
    connection.execute("CREATE TABLE records (x)")
    connection.close()
    with pytest.raises(JournalCorrupt, match="application id"):
        JournalReader.open(tmp_path)


@pytest.mark.parametrize("content", [b"garbage, certainly not a database" * 100, b"SQLite format 3\0" + b"\xff" * 200])
def test_garbage_is_corrupt(tmp_path, content):
    (tmp_path / "journal.sqlite").write_bytes(content)
    with pytest.raises(JournalCorrupt, match="SQLite cannot read"):
        JournalReader.open(tmp_path)


def test_journal_of_a_newer_layout_is_refused_with_advice(folder):
    tamper(folder, "PRAGMA user_version = 3")
    with pytest.raises(JournalError, match="version that wrote it"):
        JournalReader.open(folder)


def test_table_that_went_missing_is_corrupt(folder):
    tamper(folder, "ALTER TABLE records RENAME TO others")
    with pytest.raises(JournalCorrupt, match="'records' is absent or altered"):
        list(JournalReader.open(folder).records())


def test_run_on_a_medium_that_cannot_be_written_to_is_read(tmp_path, monkeypatch):
    journal = Journal.create(tmp_path / "run", clock=SimClock())
    journal.append("note", {})
    hold = sqlite3.connect(tmp_path / "run" / "journal.sqlite")
    hold.execute("SELECT count(*) FROM records").fetchone()
    journal.close()  # somebody reads, so the file stays in WAL mode
    hold.close()
    real = sqlite3.connect

    def read_only_medium(path, **options):
        if "immutable" not in path:
            raise cannot_open()
        return real(path, **options)

    monkeypatch.setattr(sqlite3, "connect", read_only_medium)
    assert len(list(JournalReader.open(tmp_path / "run").records())) == 1


def test_log_that_cannot_be_read_is_never_ignored(tmp_path, monkeypatch):
    with Journal.create(tmp_path / "run", clock=SimClock()) as journal:
        journal.append("note", {})  # lies in the log only

        def read_only_medium(path, **options):
            raise cannot_open()

        monkeypatch.setattr(sqlite3, "connect", read_only_medium)
        with pytest.raises(JournalError, match="Copy the folder"):
            list(JournalReader.open(tmp_path / "run").records())
        monkeypatch.undo()


def test_file_that_another_program_holds_is_not_called_corrupt(folder, monkeypatch):
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **options: real(path, timeout=0, **options))
    holder = sqlite3.connect(folder / "journal.sqlite", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(JournalError, match="another program holds") as caught:
        list(JournalReader.open(folder).records())
    assert not isinstance(caught.value, JournalCorrupt)
    holder.close()


def test_file_that_cannot_be_opened_at_all_is_an_error_of_ours(folder, monkeypatch):
    def refuse(path, **options):
        raise cannot_open()

    monkeypatch.setattr(sqlite3, "connect", refuse)
    with pytest.raises(JournalCorrupt, match="unable to open"):
        JournalReader.open(folder)


def test_reading_a_finished_run_writes_nothing_into_its_folder(folder):
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    list(JournalReader.open(folder).steps())
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "getuid"), reason="rights of POSIX")
def test_copied_read_only_run_is_read(folder, tmp_path):
    copy = tmp_path / "archive"
    shutil.copytree(folder, copy)
    for path in (*copy.rglob("*"), copy):
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    assert len(list(JournalReader.open(copy).steps())) == 3
    for path in (copy, *copy.rglob("*")):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


def last_frame(folder):
    return list(JournalReader.open(folder).steps())[-1].outcome.frames[0]


def test_frame_is_loaded_as_it_was_recorded(folder):
    assert JournalReader.open(folder).load_frame(last_frame(folder)) == RUN["frame"](2)


def test_missing_frame_is_corrupt(folder):
    ref = last_frame(folder)
    tamper(folder, "DELETE FROM frames WHERE name = ?", ref.file)
    with pytest.raises(JournalCorrupt, match=ref.file):
        JournalReader.open(folder).load_frame(ref)


def test_altered_frame_is_corrupt(folder):
    ref = last_frame(folder)
    tamper(folder, "UPDATE frames SET content = CAST(content || x'01' AS BLOB) WHERE name = ?", ref.file)
    with pytest.raises(JournalCorrupt, match="sha256"):
        JournalReader.open(folder).load_frame(ref)


def test_altered_frame_file_is_corrupt(tmp_path, monkeypatch):
    monkeypatch.setattr("autoscope.journal.shelf.SMALL_BYTES", 0)
    folder = tmp_path / "run"
    RUN["write_folder"](folder)
    ref = last_frame(folder)
    path = folder / "frames" / ref.file
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(JournalCorrupt, match="sha256"):
        JournalReader.open(folder).load_frame(ref)


@pytest.mark.parametrize("file", ["../journal.sqlite", "/etc/passwd", "..", "", "a\\b.npy", "."])
def test_frame_outside_the_run_is_never_opened(folder, file):
    ref = last_frame(folder).replace(file=file)
    with pytest.raises(JournalCorrupt, match="inside the frames folder"):
        JournalReader.open(folder).load_frame(ref)


@pytest.mark.parametrize("data", [b"not numpy", b"", b"\x93NUMPY\x01\x00v\x00{"])
def test_file_with_right_hash_that_is_no_array_is_corrupt(data):
    ref = refer(RUN["frame"](0), "x.npy", data)
    with pytest.raises(JournalCorrupt, match=r"not a \.npy file"):
        decode(ref, data, "x.npy")


def test_frame_of_another_shape_than_recorded_is_corrupt(folder):
    ref = last_frame(folder).replace(shape=(4, 3))
    with pytest.raises(JournalCorrupt, match="its record says"):
        JournalReader.open(folder).load_frame(ref)


def test_steps_are_handed_out_as_soon_as_they_are_over(folder):
    tamper(folder, "UPDATE records SET wall = 'altered' WHERE seq = 6")
    steps = JournalReader.open(folder).steps()
    assert [next(steps).index, next(steps).index] == [0, 1]
    with pytest.raises(JournalCorrupt, match="record 6"):
        next(steps)


def test_body_that_cannot_be_unpacked_is_corrupt(folder):
    for body in (b"\x78\x9c\x00", zlib.compress(b"{}") + b"more", zlib.compress(b"{}" * 999)[:-1]):
        tamper(folder, "UPDATE records SET body = ? WHERE seq = 3", body)
        with pytest.raises(JournalCorrupt, match=r"record 3.*cannot be unpacked"):
            list(JournalReader.open(folder).records())


def test_body_that_would_fill_the_memory_is_not_unpacked(folder, monkeypatch):
    monkeypatch.setattr("autoscope.journal.chain.LARGEST_BODY_BYTES", 1000)
    tamper(folder, "UPDATE records SET body = ? WHERE seq = 3", zlib.compress(b" " * 1_000_000))
    with pytest.raises(JournalCorrupt, match="too long"):
        list(JournalReader.open(folder).records())
