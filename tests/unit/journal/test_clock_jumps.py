import datetime
import runpy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscope.clock import SimClock, SystemClock
from autoscope.journal import Journal, JournalReader, verify
from autoscope.testing.disk import CarelessDisk
from tests.tampering import tamper

RUN = runpy.run_path(str(Path(__file__).parents[2] / "golden" / "journal" / "write_three_steps.py"))


def written(folder, jumps):
    """Write a note after each (seconds passed, jump of the wall clock)."""
    clock = SimClock()
    with Journal.create(folder, clock=clock, disk=CarelessDisk()) as journal:
        journal.append("note", {"n": 0})
        for n, (passed_s, jump_s) in enumerate(jumps, start=1):
            clock.wait(passed_s)
            clock.set_wall_ahead(jump_s)
            journal.append("note", {"n": n})
    return list(JournalReader.open(folder).records())


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0, 86400.0, -2.5])
def test_jump_of_the_wall_clock_is_marked_and_changes_no_time(tmp_path, jump_s):
    records = written(tmp_path / "run", [(1.0, 0.0), (1.0, jump_s), (1.0, 0.0)])
    assert [r.time_s for r in records] == [0.0, 1.0, 2.0, 2.0, 3.0]
    marker = records[2]
    assert (marker.kind, marker.body["event"], marker.body["jump_s"]) == ("note", "clock_jump", jump_s)
    assert marker.body["wall_before"] == records[1].wall
    assert marker.body["wall_after"] == marker.wall == records[3].wall
    assert verify(tmp_path / "run").ok


@pytest.mark.parametrize(("passed_s", "slewed_s"), [(1.0, 1.5), (3600.0, 1.8), (36000.0, -18.0)])
def test_clock_that_is_corrected_gently_is_no_jump(tmp_path, passed_s, slewed_s):
    assert len(written(tmp_path / "run", [(passed_s, slewed_s)])) == 2


@settings(max_examples=30, deadline=None)
@given(jumps=st.lists(st.tuples(st.floats(0, 1e5), st.floats(-1e6, 1e6)), max_size=6))
def test_whatever_the_wall_clock_does_the_run_verifies_and_its_time_goes_on(tmp_path_factory, jumps):
    folder = tmp_path_factory.mktemp("jumps") / "run"
    records = written(folder, jumps)
    assert verify(folder).ok
    assert [r.time_s for r in records] == sorted(r.time_s for r in records)
    noted = [r.time_s for r in records if "n" in r.body]
    assert noted[-1] == pytest.approx(sum(passed_s for passed_s, _ in jumps))


def test_marker_that_was_never_written_is_missed(tmp_path, monkeypatch):
    monkeypatch.setattr("autoscope.journal.wall.UNCHECKED", frozenset({"note"}))  # a writer that marks nothing
    written(tmp_path / "run", [(1.0, 3600.0)])
    monkeypatch.undo()
    (problem,) = verify(tmp_path / "run").problems
    assert problem.what == "the wall clock jumped by 3600.0 s against the clock of the run, and no marker says so"


def test_time_that_runs_backwards_is_named(tmp_path):
    clock = SimClock()
    times = iter([5.0, 4.0, 4.0, 4.0])
    clock.now_s = lambda: next(times)
    with Journal.create(tmp_path / "run", clock=clock) as journal:
        journal.append("note", {})
        journal.append("note", {})
    assert "its time, 4 s, is before that of the record before, 5 s" in verify(tmp_path / "run").problems[0].what


def test_text_that_is_no_time_is_left_alone(tmp_path):
    clock = SimClock()
    clock.wall = lambda: "about midnight"
    with Journal.create(tmp_path / "run", clock=clock) as journal:
        journal.append("note", {})
        assert journal.append("note", {}) == 2
    assert verify(tmp_path / "run").ok


def test_real_clock_shows_what_the_computer_shows(tmp_path):
    clock = SystemClock()
    shown = datetime.datetime.fromisoformat(clock.wall())
    (tmp_path / "now").touch()
    assert shown.timestamp() == pytest.approx((tmp_path / "now").stat().st_mtime, abs=60.0)
    before = clock.now_s()
    assert clock.now_s() >= before


def test_jump_while_the_run_was_killed_is_marked_when_it_goes_on(tmp_path):
    written(tmp_path / "run", [(10.0, 0.0)])
    clock = SimClock("2026-01-03T08:00:00+00:00")
    with Journal.reopen(tmp_path / "run", clock=clock) as journal:
        journal.append("run_resumed", {})
    marker, resumed = list(JournalReader.open(tmp_path / "run").records())[-2:]
    assert marker.body["jump_s"] == pytest.approx(36 * 3600.0 - 10.0)
    assert (resumed.kind, resumed.time_s) == ("run_resumed", 10.0)
    assert verify(tmp_path / "run").ok


def test_tampering_with_a_marker_is_found(tmp_path):
    written(tmp_path / "run", [(1.0, 3600.0)])
    tamper(tmp_path / "run", "UPDATE records SET body = replace(body, '3600', '36') WHERE seq = 2")
    assert verify(tmp_path / "run").problems[0].seq == 2
