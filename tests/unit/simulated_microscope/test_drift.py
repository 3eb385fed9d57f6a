"""Drift: its ramp, its walk, its relaxations."""

from __future__ import annotations

import numpy as np
import pytest

from environments.instruments.simulated import DriftConfig
from environments.instruments.simulated.drift import Drift, RandomWalk, Relaxation

STILL = {
    "ramp_x_m_per_s": 0.0,
    "ramp_y_m_per_s": 0.0,
    "walk_per_minute_m": 0.0,
    "creep_fraction": 0.0,
    "load_m": 0.0,
}


def drift(seed=0, **changes):
    return Drift(DriftConfig(**(STILL | changes)), np.random.default_rng(seed))


def test_ramp_has_its_slope():
    path = drift(ramp_x_m_per_s=3e-12, ramp_y_m_per_s=-2e-12).at(np.array([0.0, 100.0, 5000.0]))
    assert path == pytest.approx(np.array([[0.0, 0.0], [3e-10, -2e-10], [1.5e-8, -1e-8]]))


def test_variance_of_the_walk_grows_linearly_in_time():
    times = np.array([60.0, 600.0, 1024.0, 6000.0])
    ends = np.stack([drift(seed, walk_per_minute_m=1e-10).at(times) for seed in range(600)])
    variance = ends.var(axis=(0, 2))
    assert variance / (1e-20 * times / 60.0) == pytest.approx(np.ones(4), abs=0.17)  # 4 sigma of 1200 samples


def test_increments_of_the_walk_are_independent_also_across_blocks():
    path = RandomWalk(3, 1e-10).at(np.arange(20_000.0))
    steps = np.diff(path, axis=0) / 1e-10
    assert steps.var(axis=0) == pytest.approx(np.ones(2), abs=0.05)
    neighbours = (steps[1:] * steps[:-1]).mean(axis=0)
    assert np.abs(neighbours).max() < 0.035
    joints = steps[1023::1024]
    assert np.abs(joints).max() < 5.0  # no jump where blocks meet


def test_walk_is_a_function_of_time_whatever_is_asked_first():
    times = np.array([5.0, 700.25, 1023.5, 1024.0, 3000.0, 9000.75])
    together = RandomWalk(7, 1e-10).at(times)
    backwards = RandomWalk(7, 1e-10)
    one_by_one = np.array([backwards.at(times[k : k + 1])[0] for k in reversed(range(len(times)))])[::-1]
    assert np.array_equal(together, one_by_one)
    assert not np.array_equal(together, RandomWalk(8, 1e-10).at(times))


def test_walk_leaps_years_without_walking_every_second():
    walk = RandomWalk(1, 1e-10)
    year_s = 365.0 * 86400.0
    assert np.isfinite(walk.at(np.array([year_s]))).all()
    assert len(walk._ends_m) < 31_000


def test_relaxation_dies_away_exponentially_and_kicks_add_up():
    creep = Relaxation(10.0)
    creep.kick(100.0, np.array([1e-9, 0.0]))
    creep.kick(110.0, np.array([0.0, 2e-9]))
    expected = np.array([1e-9 * np.exp(-3.0), 2e-9 * np.exp(-2.0)])
    assert creep.at(np.array([130.0]))[0] == pytest.approx(expected)


def test_sample_lags_behind_a_move_by_a_bounded_part_and_comes_back():
    path = drift(creep_fraction=0.01, creep_max_m=5e-9, creep_time_s=20.0)
    path.moved(50.0, np.array([1e-7, 0.0]))
    assert path.at(np.array([50.0, 70.0])) == pytest.approx(np.array([[-1e-9, 0.0], [-1e-9 / np.e, 0.0]]))
    path.moved(1e6, np.array([3e-3, 4e-3]))
    assert path.at(np.array([1e6]))[0] == pytest.approx(np.array([-3e-9, -4e-9]))


def test_loading_forgets_earlier_relaxation_and_begins_its_own():
    path = drift(creep_fraction=0.01, load_m=30e-9, load_time_s=100.0)
    path.moved(10.0, np.array([1e-6, 0.0]))
    path.loaded(11.0)
    start, later = np.hypot(*path.at(np.array([11.0, 111.0])).T)
    assert start == pytest.approx(30e-9)
    assert later == pytest.approx(30e-9 / np.e)
