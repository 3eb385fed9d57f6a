"""The story of a run against the journal it was read from."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from autoscope.clock import SimClock
from autoscope.errors import JournalError
from autoscope.journal import Journal, JournalReader
from autoscope.records import Measure, Wait
from autoscope.report.reading import read
from autoscope.report.story import RunClock


def test_story_has_every_act_of_the_journal_with_its_status_dose_and_times(surveyed):
    story, steps = read(surveyed), list(JournalReader.open(surveyed).steps())
    assert [a.step for a in story.acts] == [s.index for s in steps]
    assert [(a.begun_s, a.ended_s) for a in story.acts] == [(s.time_s, s.ended_s) for s in steps]
    assert [a.status for a in story.acts] == [s.outcome.status for s in steps]
    assert sum(a.dose_e for a in story.acts) == pytest.approx(steps[-1].outcome.state.dose_e)
    assert all(a.latency_s > 0 for a in story.acts)


def test_bytes_of_an_act_are_those_of_its_arrays(surveyed):
    story, reader = read(surveyed), JournalReader.open(surveyed)
    expected = [sum(reader.load_frame(r).data.nbytes for r in s.outcome.frames) for s in reader.steps()]
    assert [a.bytes for a in story.acts] == expected


def test_a_measured_place_is_stage_plus_offset(surveyed):
    story = read(surveyed)
    steps = [
        s for s in JournalReader.open(surveyed).steps() if isinstance(s.decision.action, Measure) and s.outcome.values
    ]
    expected = [
        (s.outcome.state.x_m + s.decision.action.x_m, s.outcome.state.y_m + s.decision.action.y_m) for s in steps
    ]
    assert [(m.x_m, m.y_m) for m in story.measurements] == expected
    assert [r.value for m in story.measurements for r in m.readings] == [
        v.value for s in steps for v in s.outcome.values
    ]


def test_acts_that_came_to_nothing_measured_and_imaged_nothing(surveyed):
    story = read(surveyed)
    vain = {a.step for a in story.acts if a.status != "done"}
    assert len(vain) == 4
    assert not vain & {m.step for m in story.measurements}
    assert not vain & {p.step for p in story.pictures}


def test_pictures_are_the_first_image_of_each_scan(surveyed):
    story = read(surveyed)
    scans = [a for a in story.acts if a.kind == "scan" and a.status == "done"]
    assert [p.step for p in story.pictures] == [a.step for a in scans]
    assert {p.ref.meta.signal for p in story.pictures} == {"HAADF"}


def test_interventions_and_notes_are_told_with_who_and_why(surveyed):
    remarks = {r.kind: r for r in read(surveyed).remarks}
    assert (remarks["intervention"].who, remarks["intervention"].why) == ("Grace", "drift looked high")
    assert remarks["intervention"].what == "pause minutes = 5"
    assert "lost_s" in remarks["note"].what


def test_a_finished_run_has_an_ending_and_a_running_one_has_none(night):
    running = night("running").survey()
    assert read(running.folder).ending is None  # the writer still holds it open
    ended = running.end("stopped", "stopped by Ada")
    assert read(ended).ending.status == "stopped"


def test_an_act_without_outcome_is_open(night):
    made = night()
    made.go(0)
    made.act(Wait(duration_s=5.0), "wait", outcome=False)
    story = read(made.close())
    assert [a.status for a in story.acts] == ["done", "open"]
    assert story.acts[-1].ended_s is None


def test_a_run_without_any_record_has_an_empty_story(unbegun):
    story = read(unbegun().close())
    assert (story.records, story.acts, dict(story.header), story.head) == (0, (), {}, "")


def test_a_folder_without_journal_is_refused(tmp_path):
    with pytest.raises(JournalError, match="no journal"):
        read(tmp_path)


def test_a_record_altered_afterwards_ends_the_story_before_it_and_says_so(night):
    folder = night().survey().end()
    with closing(sqlite3.connect(folder / "journal.sqlite", isolation_level=None)) as journal:
        journal.execute("UPDATE records SET body = body || ' ' WHERE seq = 20")
    story = read(folder)
    assert story.records == 19
    assert "record 20" in story.damage
    assert story.ending is None


def test_policies_target_comes_first_among_the_values(surveyed):
    story = read(surveyed)
    assert story.targets() == ("Pt", "C")
    assert story.predicted() == "Pt"


def test_values_of_a_target_come_in_the_order_measured(surveyed):
    story = read(surveyed)
    measured, values, stds = story.measured("Pt")
    assert [m.step for m in measured] == sorted(m.step for m in measured)
    assert values.shape == stds.shape == (len(story.measurements),)
    assert np.all(stds > 0)


def test_rungs_count_the_decisions_that_had_a_fit(surveyed):
    story = read(surveyed)
    fitted = [s for s in JournalReader.open(surveyed).steps() if s.decision.fit]
    assert sum(story.rungs.values()) == len(fitted) > 0
    assert {rung for _, rung in story.rungs} == {s.decision.fit.rung for s in fitted}


def test_times_are_told_on_the_wall_clock_of_the_record_before():
    clock = RunClock.of([(0.0, "2026-03-14T23:50:00+00:00"), (60.0, "2026-03-15T03:00:00+00:00")])  # asleep in between
    assert clock.at(30.0) == "23:50"
    assert clock.at(60.0) == "03:00"
    assert clock.at(120.0) == "03:01"


def test_times_of_a_long_run_carry_their_day():
    clock = RunClock.of([(0.0, "2026-03-14T20:00:00+02:00"), (90000.0, "2026-03-15T21:00:00+02:00")])
    assert clock.at(0.0) == "14 Mar 20:00"
    assert clock.zone_name == "UTC+02:00"


def test_a_clock_without_readable_times_counts_from_zero():
    assert RunClock.of([(5.0, "yesterday")]).at(60.0) == "00:01"


def test_a_run_that_was_taken_up_again_is_one_story_that_tells_of_the_interruption(tmp_path):
    clock = SimClock()
    with Journal.create(tmp_path / "run", clock=clock) as journal:
        journal.append("run_started", {"name": "night"})
        journal.append("run_ended", {"status": "failed", "reason": "disk full"})
    with Journal.reopen(tmp_path / "run", clock=clock) as journal:
        body = {"because": "it had ended: failed", "instrument": "restarted", "spent": {"time_s": 5400.0}}
        journal.append(
            "run_resumed", body | {"open": {"a-1": "never begun"}, "differences": ["x_m: 1 recorded, 2 now"]}
        )
    story = read(tmp_path / "run")
    (remark,) = story.remarks
    assert story.ending is None
    assert remark.kind == "resumed"
    assert remark.what == "interrupted after 1.50 h (it had ended: failed), instrument restarted"
    assert remark.why == "a-1: never begun; x_m: 1 recorded, 2 now"
