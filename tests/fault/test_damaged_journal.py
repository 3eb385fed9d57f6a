"""Journals whose bytes were cut, torn or flipped: nothing passes unseen, no earlier step is lost or deleted."""

import runpy
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from autoscope.clock import SimClock
from autoscope.errors import JournalCorrupt, JournalError
from autoscope.journal import Journal, JournalReader, verify
from autoscope.journal.wal import damage
from autoscope.testing.disk import CarelessDisk
from tests.tampering import tamper

RUN = runpy.run_path(str(Path(__file__).parents[1] / "golden" / "journal" / "write_three_steps.py"))
STEPS = 8
LOG = "journal.sqlite-wal"


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage") / "run"
    RUN["write_folder"](folder, STEPS, CarelessDisk(), RUN["Signer"]())
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Return a run as kill -9 leaves it: the last records lie in SQLite's log."""
    place, clock = tmp_path_factory.mktemp("damage"), SimClock()
    journal = Journal.create(place / "run", clock=clock, config=RUN["CONFIG"], disk=CarelessDisk())
    RUN["begin"](journal)
    for step in range(STEPS):
        RUN["act"](journal, clock, step)
    shutil.copytree(place / "run", place / "killed")
    journal.close()
    (place / "killed" / "journal.sqlite-shm").unlink()
    return place / "killed"


@contextmanager
def copy_of(folder):
    with tempfile.TemporaryDirectory() as place:
        yield Path(shutil.copytree(folder, Path(place) / "run"))


def records(folder):
    return list(JournalReader.open(folder).records())


def go_on(folder):
    """Reopen and write; return the error if that is refused, after seeing that nothing was changed then."""
    before = contents(folder)
    try:
        with Journal.reopen(folder, clock=SimClock(), disk=CarelessDisk()) as journal:
            journal.append("run_resumed", {})
    except JournalError as error:
        assert contents(folder) == before
        return error
    return None


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in {"journal.lock", "journal.sqlite-shm"}
    }


def steps_of(kept):
    return sum(record.kind == "outcome" for record in kept)


def assert_recovered(folder, original, damaged):
    """Assert that a run goes on from an unbroken beginning of the original, with the damage kept aside and told."""
    found = records(folder)
    kept = [record for record in found if record in original]
    assert kept == original[: len(kept)]
    result = verify(folder)
    assert result.ok, result.summary
    assert result.proven_steps == steps_of(kept)
    faults = [record.body for record in found if record.kind == "fault"]
    if faults:
        aside = folder / faults[0]["set_aside"]
        assert {path.name: path.read_bytes() for path in aside.iterdir()} == damaged
        assert faults[0]["last_intact"] == len(kept)
    return kept, faults


def cut(folder, name, length):
    path = folder / name
    path.write_bytes(path.read_bytes()[:length])
    return {n: (folder / n).read_bytes() for n in ("journal.sqlite", LOG) if (folder / n).is_file()}


def cut_everywhere(folder, name, lengths):
    original, kept = records(folder), []
    for length in lengths:
        with copy_of(folder) as copy:
            damaged = cut(copy, name, length)
            seen = verify(copy)
            assert not seen.ok or not seen.ended, "a run cut short never passes for a whole one"
            error = go_on(copy)
            if error is None:
                kept.append((length, len(assert_recovered(copy, original, damaged)[0])))
            else:
                kept.append((length, None))
    return kept


def test_end_of_the_database_cut_at_any_place_is_set_aside_and_the_run_goes_on(closed):
    size = (closed / "journal.sqlite").stat().st_size
    lengths = range(size - 3 * 4096, size, 331)
    for length, kept in cut_everywhere(closed, "journal.sqlite", lengths):
        assert kept is not None or length < size - 2 * 4096, length


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_last_page_of_the_database_cut_at_hundreds_of_places(closed):
    """At every byte: ``make figures ONLY=durable_store SLOW=1``."""
    size = (closed / "journal.sqlite").stat().st_size
    assert all(kept is not None for _, kept in cut_everywhere(closed, "journal.sqlite", range(size - 4096, size, 13)))


def test_log_cut_at_any_place_loses_only_what_was_cut(killed):
    size = (killed / LOG).stat().st_size
    kept = cut_everywhere(killed, LOG, range(size - 40_000, size, 977))
    assert all(count is not None for _, count in kept)
    counts = [count for _, count in kept]
    assert counts == sorted(counts)
    assert counts[-1] >= len(records(killed)) - 1


def test_bit_flipped_anywhere_in_the_log_is_seen(killed):
    original, rng = records(killed), np.random.default_rng(5)
    content = (killed / LOG).read_bytes()
    refused = recovered = 0
    for place in rng.integers(0, len(content), 60):
        with copy_of(killed) as copy:
            altered = bytearray(content)
            altered[place] ^= 1 << int(rng.integers(8))
            (copy / LOG).write_bytes(bytes(altered))
            seen = verify(copy)
            assert not seen.ok or records(copy) == original, place
            damaged = {n: (copy / n).read_bytes() for n in ("journal.sqlite", LOG)}
            error = go_on(copy)
            if error is None:
                recovered += bool(assert_recovered(copy, original, damaged)[1])
            else:
                refused += 1
                assert isinstance(error, JournalCorrupt)
                assert "byte" in str(error), error
    assert refused > 30
    assert refused + recovered > 45  # the rest hit what SQLite had replaced since


def test_log_torn_in_its_last_frame_is_set_aside_and_said_so(killed):
    with copy_of(killed) as copy:
        content = bytearray((copy / LOG).read_bytes())
        content[-10] ^= 4
        (copy / LOG).write_bytes(bytes(content))
        found = damage(copy / LOG)
        assert found.tail
        assert "torn at byte" in str(verify(copy).problems[0])
        damaged = {n: (copy / n).read_bytes() for n in ("journal.sqlite", LOG)}
        original = records(killed)
        assert go_on(copy) is None
        kept, faults = assert_recovered(copy, original, damaged)
        assert len(kept) == len(original) - 1
        assert "Records after 16 were cut off" in faults[0]["message"]
        assert faults[0]["set_aside"] == "damaged/001"


def test_log_with_its_first_bytes_altered_would_hide_every_record_and_is_refused(killed):
    with copy_of(killed) as copy:
        content = bytearray((copy / LOG).read_bytes())
        content[20] ^= 1
        (copy / LOG).write_bytes(bytes(content))
        assert any("damaged at byte 0" in problem.what for problem in verify(copy).problems)
        assert "damaged at byte 0" in str(go_on(copy))


def test_whole_log_and_a_transaction_a_killed_process_left_unfinished_are_no_damage(killed, tmp_path):
    assert damage(killed / LOG) is None
    assert damage(tmp_path / "absent") is None
    with copy_of(killed) as copy:
        content = (copy / LOG).read_bytes()
        (copy / LOG).write_bytes(content[:-100])  # part of a frame
        assert damage(copy / LOG) is None
        (copy / LOG).write_bytes(content[:20])
        assert damage(copy / LOG) is None


def test_old_frames_behind_a_log_begun_anew_are_no_damage(tmp_path):
    clock = SimClock()
    journal = Journal.create(tmp_path / "run", clock=clock, disk=CarelessDisk())
    for n in range(30):
        journal.append("note", {"n": n})
    journal._connection.execute("PRAGMA wal_checkpoint(FULL)")
    journal.append("note", {"n": 30})
    journal.append("note", {"n": 31})
    assert damage(tmp_path / "run" / LOG) is None
    journal.close()


def test_last_record_altered_is_cut_off_and_the_rest_goes_on(closed):
    original = records(closed)
    with copy_of(closed) as copy:
        tamper(copy, f"UPDATE records SET body = '{{}}' WHERE seq = {len(original)}")
        damaged = {"journal.sqlite": (copy / "journal.sqlite").read_bytes()}
        assert go_on(copy) is None
        kept, faults = assert_recovered(copy, original, damaged)
        assert (len(kept), faults[0]["last_intact"]) == (len(original) - 1,) * 2


@pytest.mark.parametrize("change", ["UPDATE records SET wall = 'x' WHERE seq = 5", "DELETE FROM records WHERE seq = 5"])
def test_record_altered_in_the_middle_is_refused_by_name_and_kept(closed, change):
    with copy_of(closed) as copy:
        tamper(copy, change)
        error = go_on(copy)
        assert isinstance(error, JournalCorrupt)
        assert "record 5" in str(error) or "record 6" in str(error)
        assert not (copy / "damaged").exists()


def test_small_frames_and_signed_heads_survive_the_cut(closed):
    with copy_of(closed) as copy:
        tamper(copy, f"UPDATE records SET wall = 'x' WHERE seq = {len(records(closed))}")
        assert go_on(copy) is None
        reader = JournalReader.open(copy)
        frames = [reader.load_frame(step.outcome.frames[0]) for step in reader.steps()]
        assert frames == [RUN["frame"](k) for k in range(STEPS)]
        assert verify(copy).signed_by == (RUN["Signer"]().public_key,)


@pytest.mark.parametrize("found", ["before the log was removed", "after"])
def test_process_killed_while_the_damage_was_set_aside_goes_on_next_time(killed, found):
    """The rebuilt database is whole under its name; only to take the damaged one's place was left."""
    from autoscope.journal import salvage

    original = records(killed)
    with copy_of(killed) as copy:
        tamper(copy, f"UPDATE records SET wall = 'x' WHERE seq = {len(original)}")
        finish = salvage._finish
        with pytest.MonkeyPatch.context() as patch:
            calls = []
            patch.setattr(
                salvage, "_finish", lambda *a: calls.append(a) or len(calls) < 2 or (_ for _ in ()).throw(OSError)
            )
            with pytest.raises(JournalError):
                Journal.reopen(copy, clock=SimClock(), disk=CarelessDisk())
        assert (copy / salvage.REBUILT).is_file()
        if found == "after":
            (copy / LOG).unlink(missing_ok=True)
        assert salvage._finish is finish
        assert go_on(copy) is None
        assert [r for r in records(copy) if r in original] == original[:-1]
        assert verify(copy).ok


def test_second_damage_gets_a_folder_of_its_own(closed):
    with copy_of(closed) as copy:
        for _ in range(2):
            tamper(copy, "UPDATE records SET wall = 'x' WHERE seq = (SELECT max(seq) FROM records)")
            assert go_on(copy) is None
        assert sorted(path.name for path in (copy / "damaged").iterdir()) == ["001", "002"]
