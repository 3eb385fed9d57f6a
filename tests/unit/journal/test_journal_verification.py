import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autoscope.clock import SimClock
from autoscope.errors import JournalCorrupt, JournalError
from autoscope.journal import Journal, JournalReader, MemoryJournal, verify
from tests.tampering import tamper

GOLDEN = Path(__file__).parents[2] / "golden" / "journal"
RUN = runpy.run_path(str(GOLDEN / "write_three_steps.py"))
GOLDEN_HEADS = {
    "three_steps": "f317f864d68243c00f4ef047e803f59fe7b2b682b52e5f91bf4d478b49c68e88",
    "layout_2": "70c7d2f1d094c4ddb4ebd60b074d1b773191c491dba7410d03bfeb40121fcc88",
}


@pytest.fixture
def folder(tmp_path):
    RUN["write_folder"](tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def filed(tmp_path, monkeypatch):
    """Return a run whose frames are files, as large ones are."""
    monkeypatch.setattr("autoscope.journal.shelf.SMALL_BYTES", 0)
    RUN["write_folder"](tmp_path / "filed")
    return tmp_path / "filed"


def test_untouched_run_verifies(folder):
    result = verify(folder)
    assert result.ok
    assert (result.records, result.frames, result.frames_checked, result.proven_steps) == (10, 3, 3, 3)
    assert (result.ended, result.open_steps, result.orphans) == (True, 0, ())


@pytest.mark.parametrize("name", GOLDEN_HEADS)
def test_golden_runs_verify_for_ever(tmp_path, name):
    shutil.copytree(GOLDEN / name, tmp_path / "run")
    result = verify(tmp_path / "run", head=GOLDEN_HEADS[name])
    assert result.ok, result.summary
    assert result.proven_steps == 3
    reader = JournalReader.open(tmp_path / "run")
    assert [reader.load_frame(s.outcome.frames[0]) for s in reader.steps()] == [RUN["frame"](k) for k in range(3)]
    assert [s.decision for s in reader.steps()] == [RUN["decision"](k) for k in range(3)]


def test_same_run_written_today_has_the_hash_of_the_golden_one(tmp_path):
    assert RUN["write_folder"](tmp_path / "run") == GOLDEN_HEADS["layout_2"]


def test_journal_of_layout_1_is_written_on_as_one_of_today(tmp_path):
    shutil.copytree(GOLDEN / "three_steps", tmp_path / "run")
    with Journal.reopen(tmp_path / "run", clock=SimClock()) as journal:
        ref = journal.write_frame(RUN["frame"](9), step=3, index=0)
        journal.append("note", {"text": "resumed", "frames": [ref]})
    reader = JournalReader.open(tmp_path / "run")
    assert reader.load_frame(ref) == RUN["frame"](9)
    assert [reader.load_frame(s.outcome.frames[0]) for s in reader.steps()] == [RUN["frame"](k) for k in range(3)]


def run_documented_program(folder):
    page = (Path(__file__).parents[3] / "docs" / "journal.md").read_text(encoding="utf-8")
    program = page.split("```python\n")[1].split("```")[0]
    command = [sys.executable, "-I", "-S", "-c", program, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", GOLDEN_HEADS)
def test_program_in_the_documentation_alone_verifies_the_golden_runs(name):
    result = run_documented_program(GOLDEN / name)
    assert result.stdout == f"verified, head {GOLDEN_HEADS[name]}\n", result.stderr


@pytest.mark.parametrize(
    "statement", ["UPDATE records SET time_s = time_s + 1 WHERE seq = 4", "DELETE FROM records WHERE seq = 4"]
)
def test_program_in_the_documentation_finds_what_was_altered(folder, statement):
    tamper(folder, statement)
    result = run_documented_program(folder)
    assert "AssertionError: record 4" in result.stderr


def test_altered_record_is_named_with_its_step_and_steps_before_stay_proven(folder):
    tamper(folder, "UPDATE records SET body = packed(replace(unpacked(body), '105.5', '999.5')) WHERE seq = 5")
    result = verify(folder)
    assert [(p.seq, p.step) for p in result.problems] == [(5, 1)]
    assert result.proven_steps == 1
    assert "record 5, step 1" in result.summary
    assert "DOES NOT VERIFY" in result.summary


def test_removed_record_is_named(folder):
    tamper(folder, "DELETE FROM records WHERE seq = 8")
    assert [(p.seq, p.what) for p in verify(folder).problems] == [(9, "record 8 is missing before this one")]


def test_several_removed_records_are_named(folder):
    tamper(folder, "DELETE FROM records WHERE seq IN (3, 4)")
    result = verify(folder)
    assert result.problems[0].what == "records 3 to 4 are missing before this one"
    assert result.proven_steps == 0


def test_inserted_record_is_found_even_if_its_own_hash_is_right(folder):
    other = MemoryJournal(clock=SimClock())
    for _ in range(11):
        other.append("note", {"forged": True})
    forged = list(other.records())[-1]
    tamper(
        folder, "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        forged.seq, forged.kind, None, forged.time_s, forged.wall, '{"forged":true}', forged.previous, forged.hash,
    )  # fmt: skip
    assert [(p.seq, p.what) for p in verify(folder).problems] == [(11, "does not carry the hash of the record before")]


@pytest.mark.parametrize("seq", [0, -5, -(2**63)])
def test_record_slipped_in_below_the_first_is_found(folder, seq):
    columns = "kind, step, time_s, wall, body, previous, hash"
    tamper(folder, f"INSERT INTO records SELECT {seq}, {columns} FROM records WHERE seq = 8")
    result = verify(folder)
    assert (result.problems[0].seq, result.problems[0].what) == (seq, "has a number below the first")


def test_exchanged_records_are_found(folder):
    tamper(folder, "UPDATE records SET seq = 100 WHERE seq = 4")
    tamper(folder, "UPDATE records SET seq = 4 WHERE seq = 6")
    tamper(folder, "UPDATE records SET seq = 6 WHERE seq = 100")
    result = verify(folder)
    assert {4, 6} <= {p.seq for p in result.problems}
    assert result.proven_steps == 1


def test_tail_cut_off_is_found_by_the_head_noted_elsewhere(folder):
    head = verify(folder).head
    tamper(folder, "DELETE FROM records WHERE seq > 7")
    assert verify(folder).ok  # like a crash
    assert not verify(folder).ended
    result = verify(folder, head=head)
    assert not result.ok
    assert head in str(result.problems[0])


def test_chain_forged_as_a_whole_is_found_by_the_head_noted_elsewhere(tmp_path, folder):
    head = verify(folder).head
    with Journal.create(tmp_path / "forged", clock=SimClock()) as journal:
        journal.append("run_ended", {"reason": "stopped"})
    assert verify(tmp_path / "forged").ok
    assert not verify(tmp_path / "forged", head=head).ok


def test_missing_frame_is_named_and_only_its_step_unproven(filed):
    (filed / "frames" / "000001-00-HAADF.npy").unlink()
    result = verify(filed)
    (problem,) = result.problems
    assert (problem.seq, problem.step) == (5, 1)
    assert problem.where.endswith("000001-00-HAADF.npy")
    assert (result.frames, result.frames_checked, result.proven_steps) == (3, 2, 2)


def test_frame_swapped_for_another_is_found(filed):
    shutil.copy(filed / "frames" / "000000-00-HAADF.npy", filed / "frames" / "000002-00-HAADF.npy")
    assert [p.step for p in verify(filed).problems] == [2]


def test_frame_nobody_refers_to_is_reported_but_no_problem(filed):
    (filed / "frames" / ".000003-00-HAADF.npy.partial").write_bytes(b"torn")
    result = verify(filed)
    assert result.ok
    assert result.orphans == (".000003-00-HAADF.npy.partial",)
    assert "1 frame files no record refers to" in result.summary


def test_missing_frames_folder_is_found(filed):
    shutil.rmtree(filed / "frames")
    result = verify(filed)
    assert len(result.problems) == 3
    assert result.proven_steps == 0


def test_small_frame_altered_or_gone_is_named_and_only_its_step_unproven(folder):
    tamper(folder, "UPDATE frames SET content = substr(content, 2) WHERE name LIKE '000000%'")
    tamper(folder, "DELETE FROM frames WHERE name LIKE '000002%'")
    result = verify(folder)
    assert [(p.seq, p.step) for p in result.problems] == [(3, 0), (7, 2)]
    assert (result.frames, result.frames_checked, result.proven) == (3, 1, ((1, 1),))
    assert "steps that remain proven: 1" in result.summary


def test_small_frame_nobody_refers_to_is_reported_but_no_problem(folder):
    tamper(folder, "INSERT INTO frames VALUES ('stray.npy', x'00')")
    result = verify(folder)
    assert result.ok
    assert result.orphans == ("stray.npy",)


def test_config_altered_after_the_start_is_found(folder):
    (folder / "config.yaml").write_text("job: run\nname: four steps\n")
    (problem,) = verify(folder).problems
    assert problem.where.endswith("config.yaml")
    (folder / "config.yaml").write_text("a: [")
    assert not verify(folder).ok


def test_absent_config_is_no_problem(folder):
    (folder / "config.yaml").unlink()
    assert verify(folder).ok


def test_column_of_another_type_is_found_and_the_rest_still_checked(folder):
    tamper(folder, "UPDATE records SET wall = CAST(x'ff' AS TEXT) WHERE seq = 2")
    tamper(folder, "UPDATE records SET wall = 'x' WHERE seq = 9")
    result = verify(folder)
    assert (result.problems[0].seq, result.problems[0].what) == (2, "a text is not UTF-8 any more")
    assert 9 in {p.seq for p in result.problems}
    assert result.proven_steps == 0


def test_garbage_file_is_a_problem_and_nothing_is_proven(folder):
    (folder / "journal.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    result = verify(folder)
    assert not result.ok
    assert (result.records, result.head) == (0, "")


def test_damaged_page_is_a_problem(folder):
    path = folder / "journal.sqlite"
    content = bytearray(path.read_bytes())
    content[4096:4104] = b"\xff" * 8
    path.write_bytes(bytes(content))
    assert not verify(folder).ok


def test_damage_that_touches_no_record_is_still_a_problem(folder):
    path = folder / "journal.sqlite"
    content = bytearray(path.read_bytes())
    content[36:40] = (3).to_bytes(4, "big")  # the number of free pages
    path.write_bytes(bytes(content))
    assert len(list(JournalReader.open(folder).records())) == 10
    result = verify(folder)
    assert "the SQLite file is damaged" in result.problems[0].what
    assert result.proven_steps == 0
    with pytest.raises(JournalCorrupt, match="damaged"):
        Journal.reopen(folder, clock=SimClock())


def test_no_journal_is_an_error(tmp_path):
    with pytest.raises(JournalError, match="no journal here"):
        verify(tmp_path)


def chained(tmp_path, *records):
    with Journal.create(tmp_path / "chained", clock=SimClock()) as journal:
        for kind, body in records:
            journal.append(kind, body, step=0)
    return verify(tmp_path / "chained")


def test_outcome_without_intent_is_a_problem_though_the_chain_holds(tmp_path):
    result = chained(tmp_path, ("outcome", {"act_id": "a", "frames": []}))
    assert [p.what for p in result.problems] == ["outcome of act 'a' without an intent before it"]
    assert result.proven_steps == 0


def test_act_with_two_outcomes_is_a_problem(tmp_path):
    result = chained(tmp_path, ("intent", {"act_id": "a"}), ("outcome", {"act_id": "a"}), ("outcome", {"act_id": "a"}))
    assert [(p.seq, p.what) for p in result.problems] == [(3, "act 'a' has two outcomes")]
    assert result.proven_steps == 1


def test_act_intended_twice_is_a_problem(tmp_path):
    result = chained(tmp_path, ("intent", {"act_id": "a"}), ("intent", {"act_id": "a"}))
    assert [(p.seq, p.what) for p in result.problems] == [(2, "act 'a' was intended twice")]


@pytest.mark.parametrize("ref", [{"file": "x"}, 3])
def test_reference_that_is_none_is_a_problem(tmp_path, ref):
    result = chained(tmp_path, ("intent", {"act_id": "a"}), ("outcome", {"act_id": "a", "frames": [ref]}))
    assert "refers to no proper frame" in result.problems[0].what


def test_intent_without_outcome_is_open_and_no_problem(tmp_path):
    result = chained(tmp_path, ("intent", {"act_id": "a"}))
    assert result.ok
    assert (result.open_steps, result.proven_steps, result.ended) == (1, 0, False)
    assert "1 intents without an outcome" in result.summary
    assert "run not ended" in result.summary


def test_record_of_a_kind_nobody_knows_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr("autoscope.journal.chain.KINDS", ("rumour",))
    result = chained(tmp_path, ("rumour", {}))
    assert [p.what for p in result.problems] == ["unknown kind 'rumour'"]
