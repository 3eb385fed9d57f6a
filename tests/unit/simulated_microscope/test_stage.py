"""The stage: play, precision, read-back."""

from __future__ import annotations

import numpy as np
import pytest

from autoscope.errors import NotReached
from autoscope.records import MoveStage
from environments.instruments.simulated import StageConfig
from environments.instruments.simulated.stage import Stage


def stage(seed=0, **changes):
    return Stage(StageConfig(**({"precision_m": 0.0, "backlash_m": 0.0} | changes)), np.random.default_rng(seed))


def test_sample_lies_half_the_play_behind_the_direction_of_the_last_move():
    moved = stage(backlash_m=40e-9)
    moved.move(MoveStage(x_m=1e-6))
    assert moved.true_m[0] == pytest.approx(1e-6 - 20e-9)
    moved.move(MoveStage(x_m=2e-6))
    moved.move(MoveStage(x_m=1e-6))
    assert moved.true_m[0] == pytest.approx(1e-6 + 20e-9)
    assert moved.read()["x_m"] == pytest.approx(1e-6)


def test_sample_stands_still_until_the_slack_is_taken_up():
    moved = stage(backlash_m=40e-9)
    moved.move(MoveStage(x_m=1e-6))
    there = moved.true_m[0]
    moved.move(MoveStage(x_m=1e-6 - 30e-9))
    assert moved.true_m[0] == pytest.approx(there, abs=1e-15)
    moved.move(MoveStage(x_m=1e-6 - 60e-9))
    assert moved.true_m[0] == pytest.approx(there - 20e-9)


def test_moves_stop_with_the_stated_precision_and_encoders_see_it():
    moved = stage(precision_m=4e-9, encoder_m=1e-10)
    errors = []
    for k in range(400):
        moved.move(MoveStage(y_m=k * 1e-7))
        errors.append(moved.true_m[1] - k * 1e-7)
        assert abs(moved.read()["y_m"] - moved.true_m[1]) <= 0.5001e-10
    assert np.std(errors) == pytest.approx(4e-9, rel=0.15)
    assert abs(np.mean(errors)) < 1e-9


def test_axes_not_named_stay_where_they_are():
    moved = stage(precision_m=4e-9)
    moved.move(MoveStage(x_m=1e-6, z_m=2e-6))
    before = moved.true_m
    moved.move(MoveStage(y_m=3e-6, alpha_rad=0.1))
    assert (moved.true_m[0], moved.true_m[2]) == (before[0], before[2])
    assert moved.tilt_rad == (0.1, 0.0)


def test_read_back_is_a_multiple_of_the_encoder_resolution():
    moved = stage(encoder_m=1e-9)
    moved.move(MoveStage(x_m=12.3456e-9))
    assert moved.read()["x_m"] == pytest.approx(12e-9, abs=1e-18)


def test_stopping_beyond_the_tolerance_is_an_error_that_says_where():
    moved = stage(precision_m=1e-6, tolerance_m=1e-9)
    moved.move(MoveStage(x_m=0.0))
    with pytest.raises(NotReached, match=r"move_stage\.x_m"):
        moved.verify(MoveStage(x_m=0.0))


def test_way_is_timed_from_read_back_to_request_along_the_straight_line():
    assert stage(speed_m_per_s=1e-6).travel_s(MoveStage(x_m=3e-6, y_m=4e-6)) == pytest.approx(5.0)
