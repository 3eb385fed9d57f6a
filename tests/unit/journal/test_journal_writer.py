import io
import os
import runpy
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from autoscope.clock import SimClock
from autoscope.errors import JournalCorrupt, JournalError
from autoscope.exposure import Cost
from autoscope.journal import KINDS, Journal, JournalReader, MemoryJournal, verify
from autoscope.journal.chain import GENESIS, canonical
from autoscope.journal.frames import encode
from autoscope.records import Frame, FrameRef, Wait

RUN = runpy.run_path(str(Path(__file__).parents[2] / "golden" / "journal" / "write_three_steps.py"))


@pytest.fixture
def journal(tmp_path):
    with Journal.create(tmp_path / "run", clock=SimClock()) as journal:
        yield journal


@pytest.fixture(params=["disk", "memory"])
def recorder(request, tmp_path):
    if request.param == "memory":
        yield MemoryJournal(clock=SimClock())
    else:
        with Journal.create(tmp_path / "run", clock=SimClock()) as journal:
            yield journal


def test_sequence_numbers_count_from_one(recorder):
    assert [recorder.append("note", {}) for _ in range(3)] == [1, 2, 3]


def test_memory_and_disk_hold_the_same_chain(tmp_path):
    RUN["write_folder"](tmp_path / "run")
    clock = SimClock()
    memory = MemoryJournal(clock=clock)
    RUN["write"](memory, clock)
    on_disk = JournalReader.open(tmp_path / "run")
    assert list(memory.records()) == list(on_disk.records())
    assert list(memory.steps()) == list(on_disk.steps())
    assert memory.ended() == on_disk.ended() == {"reason": "stopped"}


def test_first_record_follows_genesis_and_each_the_one_before(tmp_path):
    RUN["write_folder"](tmp_path / "run")
    records = list(JournalReader.open(tmp_path / "run").records())
    assert records[0].previous == GENESIS
    assert [r.previous for r in records[1:]] == [r.hash for r in records[:-1]]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"a": {"b": [1.0, float("nan")]}}, r"body\.a\.b\[1\]"),
        ({"a": float("inf")}, r"body\.a"),
        ({"a": np.float32(1.0)}, "float32"),
        ({"a": object()}, "object"),
        ({"a": {1: "x"}}, "keys"),
        ({"a": "\ud800"}, "Unicode"),
        ([1], "mapping"),
    ],
)
def test_body_that_is_not_plain_finite_data_is_refused_and_nothing_is_written(recorder, body, place):
    with pytest.raises(JournalError, match=place):
        recorder.append("note", body)
    assert recorder.append("note", {"still": "open"}) == 1


def test_model_with_nan_inside_is_refused(recorder):
    decision = RUN["decision"](0).model_copy(update={"predicted_mean": float("nan")})
    with pytest.raises(JournalError, match="predicted_mean"):
        recorder.append("intent", {"act_id": "a", "decision": decision}, step=0)


def test_unknown_kind_is_refused(recorder):
    with pytest.raises(JournalError, match="run_started"):
        recorder.append("guess", {})


@pytest.mark.parametrize("step", [-1, 2**63])
def test_step_that_cannot_be_stored_is_refused(recorder, step):
    with pytest.raises(JournalError, match="record 1"):
        recorder.append("note", {}, step=step)


def test_largest_step_and_minus_zero_time_survive_storage(tmp_path):
    clock = SimClock()
    clock.now_s = lambda: -0.0
    with Journal.create(tmp_path / "run", clock=clock) as journal:
        journal.append("note", {}, step=2**63 - 1)
    (record,) = JournalReader.open(tmp_path / "run").records()
    assert record.step == 2**63 - 1
    assert verify(tmp_path / "run").ok


@pytest.mark.parametrize("value", [object(), np.float32(1.0), np.int64(1), {1, 2}, b"bytes"])
def test_value_that_is_not_plain_is_refused_at_the_top_and_below(value):
    journal = MemoryJournal(clock=SimClock())
    for body in ({"a": value}, {"a": [{"b": value}]}):
        with pytest.raises(JournalError, match=f"plain data only.*{type(value).__name__}"):
            journal.append("note", body)


def test_clock_without_finite_time_is_refused(recorder):
    recorder._clock.now_s = lambda: float("nan")
    with pytest.raises(JournalError, match="clock"):
        recorder.append("note", {})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_record_comes_back_as_it_was_written(tmp_path, kind):
    body = {
        "text": 'µ "quoted" \\ \n \u2028 \x7f \x00',
        "number": 0.1 + 0.2,
        "small": 5e-324,
        "big": 10**30,
        "none": None,
    }
    with Journal.create(tmp_path / "run", clock=SimClock()) as journal:
        journal.append(kind, body, step=7)
    (record,) = JournalReader.open(tmp_path / "run").records()
    assert (record.kind, record.step, record.body) == (kind, 7, body)


def test_models_inside_a_body_are_stored_as_their_json(recorder):
    recorder.append("intent", {"act_id": "a", "decision": RUN["decision"](1), "cost": Cost(time_s=2.0)}, step=1)
    reader = recorder if isinstance(recorder, MemoryJournal) else JournalReader.open(recorder.folder)
    (record,) = reader.records()
    assert record.body["decision"] == RUN["decision"](1).model_dump(mode="json")
    assert record.body["cost"]["time_s"] == 2.0


def test_records_carry_the_times_of_the_clock(recorder):
    recorder._clock.wait(90.5)
    recorder.append("note", {})
    reader = recorder if isinstance(recorder, MemoryJournal) else JournalReader.open(recorder.folder)
    (record,) = reader.records()
    assert (record.time_s, record.wall) == (90.5, "2026-01-01T20:01:30.500+00:00")


def test_nothing_follows_the_end_of_a_run(recorder):
    recorder.append("run_ended", {})
    with pytest.raises(JournalError, match="has ended"):
        recorder.append("note", {})
    with pytest.raises(JournalError, match="has ended"):
        recorder.write_frame(RUN["frame"](0), step=0, index=0)


def test_closed_recorder_takes_nothing(recorder):
    recorder.close()
    recorder.close()
    with pytest.raises(JournalError, match="closed"):
        recorder.append("note", {})


def kept(recorder, *refs):
    """Write the record that refers to frames, and return who reads them."""
    recorder.append("note", {"frames": list(refs)})
    return recorder if isinstance(recorder, MemoryJournal) else JournalReader.open(recorder.folder)


@pytest.fixture
def files(monkeypatch):
    monkeypatch.setattr("autoscope.journal.shelf.SMALL_BYTES", 0)


def test_large_frame_is_a_plain_npy_file_with_the_recorded_hash(journal, files):
    frame = RUN["frame"](3)
    ref = journal.write_frame(frame, step=3, index=1)
    path = journal.folder / "frames" / ref.file
    assert ref.file == "000003-01-HAADF.npy"
    np.testing.assert_array_equal(np.load(path, allow_pickle=False), frame.data)
    assert kept(journal, ref).load_frame(ref) == frame


def test_small_frame_is_stored_with_the_record_that_refers_to_it_and_not_before(journal):
    frame = RUN["frame"](3)
    ref = journal.write_frame(frame, step=3, index=1)
    with pytest.raises(JournalCorrupt, match=ref.file):
        JournalReader.open(journal.folder).load_frame(ref)
    assert kept(journal, ref).load_frame(ref) == frame
    (content,) = journal._connection.execute("SELECT content FROM frames").fetchone()
    np.testing.assert_array_equal(np.load(io.BytesIO(content), allow_pickle=False), frame.data)
    assert list((journal.folder / "frames").iterdir()) == []


def test_small_frame_no_record_refers_to_is_stored_with_the_end(journal):
    ref = journal.write_frame(RUN["frame"](3), step=3, index=1)
    journal.append("run_ended", {"reason": "a bug"})
    assert JournalReader.open(journal.folder).load_frame(ref) == RUN["frame"](3)
    assert verify(journal.folder).orphans == (ref.file,)


@pytest.mark.parametrize("size", [(1 << 16) - 128, (1 << 16) - 127])
def test_frames_up_to_64_kib_are_stored_inside(journal, size):
    ref = journal.write_frame(RUN["frame"](0, np.zeros((1, size), dtype=np.uint8)), step=0, index=0)
    kept(journal, ref).load_frame(ref)
    assert bool(list((journal.folder / "frames").iterdir())) == (size > (1 << 16) - 128)


@pytest.mark.parametrize("name", ["../../etc/x", "", "EELS (low loss)", "µ"])
def test_frame_name_is_safe_for_any_signal(journal, files, name):
    frame = RUN["frame"](0)
    ref = journal.write_frame(Frame(frame.meta.replace(signal=name), frame.data), step=0, index=0)
    assert Path(ref.file).name == ref.file
    assert ref.file.isascii()
    assert (journal.folder / "frames" / ref.file).is_file()


def test_frame_never_overwrites_one(recorder):
    first = recorder.write_frame(RUN["frame"](0), step=0, index=0)
    second = recorder.write_frame(RUN["frame"](1), step=0, index=0)
    assert first.file != second.file
    reader = kept(recorder, first, second)
    assert recorder.write_frame(RUN["frame"](2), step=0, index=0).file not in {first.file, second.file}
    assert reader.load_frame(first) == RUN["frame"](0)
    assert reader.load_frame(second) == RUN["frame"](1)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "u1", "<i8", "?", "<c8"])
def test_frame_comes_back_with_type_and_order(recorder, dtype, order):
    data = np.asarray(np.arange(12).reshape(3, 4), dtype=dtype, order=order)
    ref = recorder.write_frame(RUN["frame"](0, data), step=0, index=0)
    loaded = kept(recorder, ref).load_frame(ref)
    assert loaded == RUN["frame"](0, data)
    assert loaded.data.dtype == np.dtype(dtype)


@pytest.mark.parametrize("shape", [(), (0, 4), (3, 4), (2, 3, 5)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_frame_is_stored_in_the_very_bytes_numpy_writes(shape, order):
    data, buffer = np.ones(shape, dtype=">i2", order=order), io.BytesIO()
    np.save(buffer, data, allow_pickle=False)
    assert encode(RUN["frame"](0, data)) == buffer.getvalue()


def test_frame_of_objects_is_refused(recorder):
    with pytest.raises(JournalError, match="numbers only"):
        recorder.write_frame(RUN["frame"](0, np.array([[None]], dtype=object)), step=0, index=0)


def test_memory_journal_can_forget_frames_but_not_what_they_were(tmp_path):
    keeps, forgets = MemoryJournal(clock=SimClock()), MemoryJournal(clock=SimClock(), keep_frames=False)
    ref = forgets.write_frame(RUN["frame"](0), step=0, index=0)
    assert ref == keeps.write_frame(RUN["frame"](0), step=0, index=0)
    with pytest.raises(JournalCorrupt, match="keep_frames"):
        forgets.load_frame(ref)


def test_memory_journal_refuses_a_reference_to_another_frame():
    journal = MemoryJournal(clock=SimClock())
    ref = journal.write_frame(RUN["frame"](0), step=0, index=0)
    with pytest.raises(JournalCorrupt, match="not the frame"):
        journal.load_frame(ref.replace(sha256="0" * 64))


def test_an_existing_run_is_never_overwritten(tmp_path):
    RUN["write_folder"](tmp_path / "run")
    before = (tmp_path / "run" / "journal.sqlite").read_bytes()
    with pytest.raises(JournalError, match="never overwritten"):
        Journal.create(tmp_path / "run", clock=SimClock())
    assert (tmp_path / "run" / "journal.sqlite").read_bytes() == before


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(JournalError, match="something in this place"):
        Journal.create(tmp_path / "run", clock=SimClock())


def test_a_place_where_no_folder_can_be_made_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(JournalError, match="cannot be made"):
        Journal.create(tmp_path / "file" / "run", clock=SimClock())


def test_empty_folder_is_taken(tmp_path):
    (tmp_path / "run").mkdir()
    with Journal.create(tmp_path / "run", clock=SimClock()) as journal:
        assert journal.append("note", {}) == 1


LEAVINGS = {
    "journal.lock": b"12345\n",
    "journal.sqlite": b"",
    ".config.yaml.partial": b"name: half a configu",
}
"""What a process leaves that is killed before its configuration is in the run folder."""


def left_by_a_killed_run(folder):
    (folder / "frames").mkdir(parents=True)
    for name, data in LEAVINGS.items():
        (folder / name).write_bytes(data)
    return folder


def test_a_run_begins_in_the_folder_of_one_that_was_killed_before_its_configuration_was_there(tmp_path):
    folder = left_by_a_killed_run(tmp_path / "run")
    with Journal.create(folder, clock=SimClock(), config="name: whole\n") as journal:
        assert journal.append("note", {}) == 1
    assert (folder / "config.yaml").read_text() == "name: whole\n"
    assert not (folder / ".config.yaml.partial").exists()
    assert verify(folder).ok


@pytest.mark.parametrize("more", ["config.yaml", "notes.txt", "frames/000000-0.npz"])
def test_a_folder_that_holds_anything_more_is_refused_and_left_as_it_was(tmp_path, more):
    folder = left_by_a_killed_run(tmp_path / "run")
    (folder / more).write_text("mine")
    with pytest.raises(JournalError, match="never overwritten"):
        Journal.create(folder, clock=SimClock())
    assert (folder / more).read_text() == "mine"


def test_a_database_that_holds_anything_is_refused(tmp_path):
    folder = left_by_a_killed_run(tmp_path / "run")
    (folder / "journal.sqlite").write_bytes(b"somebody's")
    with pytest.raises(JournalError, match="never overwritten"):
        Journal.create(folder, clock=SimClock())
    assert (folder / "journal.sqlite").read_bytes() == b"somebody's"


def test_frames_whose_record_was_taken_away_are_no_beginning(tmp_path):
    folder = tmp_path / "run"
    Journal.create(folder, clock=SimClock(), config="name: whole\n").close()
    assert Journal.is_blank(folder)
    (folder / "frames" / "000000-00-HAADF.npy").write_bytes(b"numbers")
    assert not Journal.is_blank(folder)


def test_second_writer_in_the_same_process_is_refused(journal):
    with pytest.raises(JournalError, match=f"process {os.getpid()}"):
        Journal.reopen(journal.folder, clock=SimClock())
    assert journal.append("note", {}) == 1


def test_second_writer_in_another_process_is_refused(journal):
    code = (
        "import sys; from pathlib import Path; from autoscope.clock import SimClock;"
        "from autoscope.journal import Journal; Journal.reopen(Path(sys.argv[1]), clock=SimClock())"
    )
    run = subprocess.run([sys.executable, "-c", code, str(journal.folder)], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "JournalError" in run.stderr
    assert "another process is writing" in run.stderr


def test_reader_sees_each_record_as_soon_as_append_returns(journal):
    reader = JournalReader.open(journal.folder)
    for count in range(1, 4):
        journal.append("note", {"count": count})
        assert [r.body["count"] for r in reader.records()] == list(range(1, count + 1))


def test_several_threads_write_one_unbroken_chain(journal):
    def write(name):
        for count in range(20):
            journal.append("note", {"name": name, "count": count})

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result = verify(journal.folder)
    assert result.ok
    assert result.records == 80
    bodies = [r.body for r in JournalReader.open(journal.folder).records()]
    assert all([b["count"] for b in bodies if b["name"] == n] == list(range(20)) for n in range(4))


def test_reopened_journal_continues_sequence_chain_and_time(tmp_path):
    clock = SimClock()
    with Journal.create(tmp_path / "run", clock=clock) as journal:
        clock.wait(100.0)
        journal.append("note", {"n": 1})
        head = journal.head
    later = SimClock()
    with Journal.reopen(tmp_path / "run", clock=later) as journal:
        assert journal.head == head
        later.wait(5.0)
        assert journal.append("note", {"n": 2}) == 3
    records = list(JournalReader.open(tmp_path / "run").records())
    assert [r.time_s for r in records] == [100.0, 105.0, 105.0]
    assert records[1].body["event"] == "clock_jump"  # the new clock began its evening again
    assert verify(tmp_path / "run").ok


def test_clock_ahead_of_the_last_record_is_not_shifted_on_reopening(tmp_path):
    with Journal.create(tmp_path / "run", clock=SimClock()) as journal:
        journal.append("note", {})
    clock = SimClock()
    clock.wait(7.0)
    with Journal.reopen(tmp_path / "run", clock=clock) as journal:
        journal.append("note", {})
    assert [r.time_s for r in JournalReader.open(tmp_path / "run").records()] == [0.0, 7.0]


def test_journal_without_records_can_be_reopened(tmp_path):
    Journal.create(tmp_path / "run", clock=SimClock()).close()
    with Journal.reopen(tmp_path / "run", clock=SimClock()) as journal:
        assert journal.head == ""
        assert journal.append("run_started", {}) == 1


def test_reopening_refuses_a_broken_chain_and_leaves_the_file_alone(tmp_path):
    RUN["write_folder"](tmp_path / "run")
    database = tmp_path / "run" / "journal.sqlite"
    connection = sqlite3.connect(database)
    connection.execute("UPDATE records SET wall = 'yesterday' WHERE seq = 4")
    connection.commit()
    connection.close()
    before = database.read_bytes()
    with pytest.raises(JournalCorrupt, match="record 4"):
        Journal.reopen(tmp_path / "run", clock=SimClock())
    assert database.read_bytes() == before
    with pytest.raises(JournalCorrupt):  # and the lock is free again: the same error, not that of a second writer
        Journal.reopen(tmp_path / "run", clock=SimClock())


def test_reopening_where_no_run_is_says_so(tmp_path):
    with pytest.raises(JournalError, match="no journal here"):
        Journal.reopen(tmp_path, clock=SimClock())
    assert list(tmp_path.iterdir()) == []


def test_finished_run_is_one_plain_file_without_reserve_or_log(tmp_path):
    RUN["write_folder"](tmp_path / "run")
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert names == {"config.yaml", "frames", "journal.lock", "journal.sqlite"}
    assert (tmp_path / "run" / "config.yaml").read_text() == RUN["CONFIG"]


def test_closing_while_somebody_reads_loses_nothing(tmp_path):
    journal = Journal.create(tmp_path / "run", clock=SimClock())
    journal.append("note", {})
    reader = sqlite3.connect(tmp_path / "run" / "journal.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM records").fetchone() == (1,)
    journal.append("note", {})
    journal.close()
    reader.close()
    assert verify(tmp_path / "run").records == 2


def test_canonical_text_sorts_keys_and_keeps_characters():
    assert canonical({"b": (1, 2.50), "a": {"µ": None, "A": True}}) == '{"a":{"A":true,"µ":null},"b":[1,2.5]}'


def test_a_wait_needs_no_frame_and_a_model_can_be_a_body(recorder):
    recorder.append("note", Wait(duration_s=1.0))
    reader = recorder if isinstance(recorder, MemoryJournal) else JournalReader.open(recorder.folder)
    assert next(reader.records()).body == {"kind": "wait", "duration_s": 1.0}


def test_frame_reference_survives_json(journal):
    ref = journal.write_frame(RUN["frame"](0), step=0, index=0)
    assert FrameRef.model_validate_json(ref.model_dump_json()) == ref
