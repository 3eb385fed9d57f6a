"""Costs add up; troubles are grouped."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscope.report.accounts import BETWEEN, MOST_BINS, OTHER, expenses, timeline, troubles
from autoscope.report.reading import read
from autoscope.report.story import Act, RunClock, RunStory


def run_of(lengths: list[tuple[str, float, float]]) -> RunStory:
    acts, now = [], 0.0
    for step, (purpose, before_s, act_s) in enumerate(lengths):
        now += before_s
        acts.append(Act(step, now, now + act_s, purpose, "", "wait", "done", 1.0, 0, 0, None))
        now += act_s
    return RunStory("run", {}, RunClock.of([]), 0.0, now, len(acts), "", acts=tuple(acts))


runs = st.lists(
    st.tuples(st.sampled_from(["focus", "spectrum", "travel"]), st.floats(0, 50), st.floats(0, 900)),
    min_size=1,
    max_size=30,
).map(run_of)


@given(runs)
def test_times_by_purpose_add_up_to_the_run(run):
    lines = expenses(run)
    assert sum(line.time_s for line in lines) == pytest.approx(run.last_s - run.first_s)
    assert lines[-1].purpose == BETWEEN


@given(runs)
def test_timeline_shares_out_exactly_the_time_of_each_purpose(run):
    found = timeline(run, ["focus", "spectrum"])
    if run.last_s == 0:
        assert found is None
        return
    widths = np.diff(found.edges_s)
    spent = {p: float(shares @ widths) for p, shares in found.shares.items()}
    expected = {line.purpose: line.time_s for line in expenses(run) if line.purpose != BETWEEN}
    assert spent.get("focus", 0.0) == pytest.approx(expected.get("focus", 0.0), abs=1e-9)
    assert spent.get(OTHER, 0.0) == pytest.approx(expected.get("travel", 0.0), abs=1e-9)
    assert len(widths) <= MOST_BINS
    assert np.all(sum(found.shares.values()) <= 1 + 1e-6)


def test_an_open_act_costs_until_the_last_record():
    act = Act(0, 10.0, None, "wait", "", "wait", "open", 0.0, 0, 0, None)
    run = RunStory("run", {}, RunClock.of([]), 0.0, 25.0, 1, "", acts=(act,))
    assert expenses(run)[0].time_s == 15.0


def test_a_run_without_acts_costs_nothing():
    run = RunStory("run", {}, RunClock.of([]), 0.0, 0.0, 1, "")
    assert expenses(run) == []
    assert timeline(run, []) is None


def test_troubles_are_grouped_by_kind_with_count_times_and_last_message(surveyed):
    found = troubles(read(surveyed))
    assert [(t.status, t.error, t.count) for t in found] == [
        ("refused", "LimitExceeded", 3),
        ("rejected", "FrameRejected", 1),
    ]
    assert "limit 2 mm" in found[0].message
    assert found[0].first_s < found[0].last_s
    assert found[1].purposes == ("overview",)
