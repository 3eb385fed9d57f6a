"""Judging predictions, and what to do next."""

from __future__ import annotations

import numpy as np
import pytest

from autoscope.records import Candidate, Measure, MoveStage, Wait
from autoscope.report.foresight import foresight, undecided, unmeasured, unvisited
from autoscope.report.reading import read
from autoscope.report.story import Measurement, Reading, RunClock, RunStory


def predicted(n: int, honesty: float) -> RunStory:
    """Values with model error 4 and noise 3, predicted with ``honesty`` times the true model error."""
    rng = np.random.default_rng(7)
    truth = rng.uniform(0, 100, n)
    mean, value = truth + rng.normal(0, 4, n), truth + rng.normal(0, 3, n)
    readings = [(Reading("Pt", float(v), 3.0, "counts"),) for v in value]
    made = tuple(
        Measurement(k, float(k), 0, k * 1e-8, 0.0, "", "", readings[k], float(mean[k]), 4.0 * honesty, ())
        for k in range(n)
    )
    return RunStory("run", {}, RunClock.of([]), 0.0, float(n), n, "", measurements=made)


def test_an_honest_model_covers_what_it_promises_when_counting_noise_is_included():
    found = foresight(predicted(4000, 1.0), "Pt")
    assert found.figures.std_z == pytest.approx(1.0, abs=0.05)
    for level, share in found.covered:
        assert share == pytest.approx(level, abs=0.03)
    assert found.correlation > 0.95


def test_an_overconfident_model_is_seen_as_one():
    found = foresight(predicted(2000, 0.1), "Pt")
    assert dict(found.covered)[0.9] < 0.75
    assert found.figures.std_z > 1.4


def test_a_value_the_policy_is_not_after_is_not_judged(surveyed):
    story = read(surveyed)
    assert foresight(story, "C") is None
    assert foresight(story, "Pt").figures.n == sum(m.predicted_std is not None for m in story.measurements)


def test_without_predictions_there_is_nothing_to_judge(night):
    assert foresight(read(night(predicting=False).survey().end()), "Pt") is None


def spot(k: int) -> Measure:
    return Measure(x_m=k * 1e-7, y_m=0.0, dwell_s=1.0)


def test_a_candidate_never_measured_is_suggested_with_its_latest_prediction(night):
    made = night()
    old, new = (Candidate(action=spot(2), mean=mean, std=1.0) for mean in (50.0, 70.0))
    made.act(Wait(duration_s=1.0), "wait", runners_up=(old,))
    made.act(Wait(duration_s=1.0), "wait", runners_up=(new, Candidate(action=spot(3), mean=90.0)))
    found = unmeasured(read(made.close()), 8)
    assert [(p.mean, round(p.x_m * 1e7)) for p in found] == [(90.0, 3), (70.0, 2)]


def test_a_candidate_measured_later_is_not_suggested(night):
    made = night()
    made.go(0)
    made.overview(0)
    made.queue = [1, 2]
    made.spectrum(0, known=True)
    made.queue = []
    made.spectrum(1, known=True)
    found = unmeasured(read(made.close()), 8)
    _, dx, dy, _ = made.catalogue[2]
    assert [(p.x_m, p.y_m) for p in found] == [(pytest.approx(made.state.x_m + dx), pytest.approx(made.state.y_m + dy))]


def test_candidates_lie_where_the_stage_stood_when_they_were_considered(night):
    made = night()
    made.go(3)
    made.act(Wait(duration_s=1.0), "wait", runners_up=(Candidate(action=spot(1), mean=1.0),))
    found = unmeasured(read(made.close()), 8)[0]
    assert found.x_m == pytest.approx(made.state.x_m + 1e-7)


def test_tiles_left_aside_by_the_last_choice_are_suggested_unless_visited(night):
    made = night()
    seen, unseen = MoveStage(x_m=1e-5, y_m=0.0), MoveStage(x_m=2e-5, y_m=0.0)
    made.go(0, runners_up=(Candidate(action=MoveStage(x_m=9e-5, y_m=0.0), value=9.0),))
    made.go(1, runners_up=(Candidate(action=seen, value=3.0), Candidate(action=unseen, value=2.0)))
    made.act(seen, "travel", "tile 7")
    assert [p.x_m for p in unvisited(read(made.close()), 8)] == [2e-5]


def values(*pairs: tuple[float, float]) -> RunStory:
    made = tuple(
        Measurement(k, float(k), 0, k * 1e-8, 0.0, f"p{k}", "", (Reading("Pt", v, s, ""),), None, None, ())
        for k, (v, s) in enumerate(pairs)
    )
    return RunStory("run", {}, RunClock.of([]), 0.0, 1.0, 1, "", measurements=made)


def test_high_but_uncertain_places_are_measured_again():
    usual = [(float(v), 1.0) for v in np.random.default_rng(3).normal(0, 1, 200).clip(-2, 2)]
    found = undecided(values(*usual, (60.0, 1.0), (40.0, 10.0)), "Pt", 8)
    assert [r.value for _, r in found] == [40.0]


def test_where_many_stand_out_those_at_the_edge_of_the_ten_best_are_measured_again():
    usual = [(float(v), 1.0) for v in np.random.default_rng(3).normal(0, 1, 200)]
    best = [(100.0 + 10 * k, 2.0) for k in range(12)]
    found = undecided(values(*usual, *best), "Pt", 8)
    assert [r.value for _, r in found] == [120.0]
