import runpy
import shutil
from pathlib import Path

import pytest

from autoscope.clock import SimClock
from autoscope.errors import ConfigError, JournalError
from autoscope.journal import Journal, JournalReader, verify
from autoscope.journal.annotating import annotate
from autoscope.report.reading import read

RUN = runpy.run_path(str(Path(__file__).parents[2] / "golden" / "journal" / "write_three_steps.py"))


@pytest.fixture
def folder(tmp_path):
    RUN["write_folder"](tmp_path / "run", signer=RUN["Signer"]())
    return tmp_path / "run"


def test_correction_is_appended_and_the_run_still_verifies_and_is_over(folder):
    before = list(JournalReader.open(folder).records())
    assert annotate(folder, who="anna", note="label misread", corrections={"sample": "Pt/C"}, tags=("good",)) == 11
    reader = JournalReader.open(folder)
    assert list(reader.records())[:10] == before
    (record,) = reader.annotations()
    assert record.body == {"who": "anna", "note": "label misread", "corrections": {"sample": "Pt/C"}, "tags": ["good"]}
    assert reader.ended() == {"reason": "stopped"}
    result = verify(folder, public_key=RUN["Signer"]().public_key)
    assert result.ok, result.summary
    assert (result.ended, result.proven_steps, result.records) == (True, 3, 11)


def test_reader_shows_the_corrected_value_with_the_original_still_there(folder):
    annotate(folder, who="anna", corrections={"name": "first"})
    annotate(folder, who="bela", corrections={"name": "second", "instrument": "ARM200F"})
    described = JournalReader.open(folder).described()
    assert (described["name"], described["instrument"]) == ("second", "ARM200F")
    assert described["original"] == {"name": None, "instrument": None}
    assert "name" not in JournalReader.open(folder).started()
    assert described["version"] == "0.1.0"


def test_report_shows_the_corrected_value_and_who_corrected_it(folder):
    annotate(folder, who="anna", note="label misread", corrections={"sample": "Pt/C"})
    story = read(folder)
    assert story.header["sample"] == "Pt/C"
    assert story.last_s == 1.5
    assert story.ending is not None
    remark = story.remarks[-1]
    assert (remark.kind, remark.what, remark.why) == ("annotation", "sample: Pt/C (anna)", "label misread")


def test_who_is_the_login_name_by_default(folder, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "clara")
    annotate(folder, note="x")
    assert next(JournalReader.open(folder).annotations()).body["who"] == "clara"


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({}, "a note, a correction or a tag"),
        ({"note": "  "}, "a note, a correction or a tag"),
        ({"who": " ", "note": "x"}, "says who made it"),
        ({"corrections": {"dose": "none"}}, "dose cannot be corrected, only name, operator, sample, instrument"),
    ],
)
def test_annotation_that_says_nothing_or_the_wrong_thing_changes_nothing(folder, what, message):
    before = (folder / "journal.sqlite").read_bytes()
    with pytest.raises(ConfigError, match=message):
        annotate(folder, **{"who": "anna"} | what)
    assert (folder / "journal.sqlite").read_bytes() == before


def test_run_that_goes_on_is_not_annotated_from_outside(tmp_path):
    with Journal.create(tmp_path / "run", clock=SimClock()) as journal:
        RUN["begin"](journal)
        with pytest.raises(JournalError, match=r"the run goes on.*Wait for its end"):
            annotate(tmp_path / "run", who="anna", note="x")
        assert journal.append("note", {}) == 2


def test_interrupted_run_can_be_annotated_and_is_still_not_over(tmp_path):
    with Journal.create(tmp_path / "run", clock=SimClock()) as journal:
        RUN["begin"](journal)
    annotate(tmp_path / "run", who="anna", note="the power failed")
    assert JournalReader.open(tmp_path / "run").ended() is None
    assert not verify(tmp_path / "run").ended
    assert verify(tmp_path / "run").ok


def test_what_is_no_run_or_never_began_is_refused(tmp_path):
    with pytest.raises(JournalError, match="no journal here"):
        annotate(tmp_path, who="anna", note="x")
    Journal.create(tmp_path / "run", clock=SimClock()).close()
    with pytest.raises(JournalError, match="has not begun"):
        annotate(tmp_path / "run", who="anna", note="x")


def test_run_of_layout_1_is_annotated_too(tmp_path):
    golden = Path(__file__).parents[2] / "golden" / "journal" / "three_steps"
    shutil.copytree(golden, tmp_path / "run")
    annotate(tmp_path / "run", who="anna", note="old but fine")
    result = verify(tmp_path / "run")
    assert (result.ended, result.records, result.proven_steps) == (True, 11, 3)
    assert [problem.seq for problem in result.problems] == [7]  # its dose counter, which layout 1 let begin anew


def test_other_records_after_the_end_mean_that_the_run_goes_on(folder):
    annotate(folder, who="anna", note="x")
    with Journal.reopen(folder, clock=SimClock()) as journal:
        journal.append("run_resumed", {})
    assert JournalReader.open(folder).ended() is None
