import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscope.perception.drift import DriftConfig, DriftModel


def drifting(rng, *, speed=(15e-12, -8e-12), walk_per_minute_m=0.3e-9, step_s=1.0, n=8000):
    """Return true displacements (n, 2) at every second: a ramp and a random walk."""
    steps = rng.normal(0.0, walk_per_minute_m / math.sqrt(60.0) * math.sqrt(step_s), (n, 2))
    return np.cumsum(steps, axis=0) + np.outer(np.arange(n) * step_s, speed)


@pytest.mark.parametrize("seed", range(5))
def test_between_looks_the_place_is_foretold_as_well_as_it_says(seed):
    rng = np.random.default_rng(seed)
    truth, model, misses = drifting(rng), DriftModel(DriftConfig()), []
    model.anchor(0.0)
    for time_s in range(60, 8000, 60):
        seen = truth[time_s] + rng.normal(0.0, 0.2e-9, 2)
        if time_s > 1200:
            said = model.predict(float(time_s))
            misses.append((np.array([said.dx_m, said.dy_m]) - truth[time_s]) / said.std_m)
        model.measured(float(time_s), seen[0], seen[1], 0.2e-9, first=False)
    assert 0.7 < np.sqrt(np.mean(np.square(misses))) < 1.3
    assert model.speed_m_per_s == pytest.approx((15e-12, -8e-12), abs=8e-12)


def test_what_the_model_knows_is_better_than_the_last_look_alone():
    rng = np.random.default_rng(3)
    truth, model = drifting(rng, speed=(40e-12, 25e-12)), DriftModel(DriftConfig())
    model.anchor(0.0)
    ours, last, seen = [], [], truth[0]
    for time_s in range(90, 8000, 90):
        said = model.predict(float(time_s))
        if time_s > 900:
            ours.append(np.hypot(said.dx_m - truth[time_s, 0], said.dy_m - truth[time_s, 1]))
            last.append(np.hypot(*(seen - truth[time_s])))
        seen = truth[time_s] + rng.normal(0.0, 0.2e-9, 2)
        model.measured(float(time_s), seen[0], seen[1], 0.2e-9, first=False)
    assert np.median(ours) < 0.3 * np.median(last)


def test_creep_after_a_move_is_learnt_from_two_looks_and_extrapolated_to_its_end():
    model = DriftModel(DriftConfig(walk_per_minute_m=1e-12, speed_m_per_s=1e-15))
    model.moved(0.0, 10e-6)

    def creep(t):
        return 8e-9 * math.exp(-t / 30.0)

    for time_s in (0.0, 15.0, 30.0):
        model.measured(time_s, creep(time_s), -creep(time_s), 0.05e-9, first=time_s == 0.0)
    assert model.predict(300.0).dx_m == pytest.approx(creep(300.0), abs=0.3e-9)
    assert model.predict(300.0).dy_m == pytest.approx(-creep(300.0), abs=0.3e-9)


def test_waiting_lasts_as_long_as_the_creep_and_no_longer():
    model = DriftModel(DriftConfig())
    assert model.settled_after_s(0.0, 10.0, 2e-9) == 0.0
    model.moved(0.0, 6e-6)
    wait_s = model.settled_after_s(0.0, 10.0, 2e-9)
    assert 0.0 < wait_s < 90.0
    assert model.smear_m(wait_s, 10.0) == pytest.approx(2e-9, rel=1e-6)
    assert model.settled_after_s(wait_s + 1.0, 10.0, 2e-9) == 0.0


def test_an_anchor_makes_the_place_certain_and_leaves_the_drift_as_uncertain():
    model = DriftModel(DriftConfig())
    model.moved(0.0, 5e-6)
    model.anchor(0.0)
    assert model.predict(0.0).std_m < 1e-15
    assert model.predict(20.0).std_m > 1e-9


def test_surprising_looks_make_it_less_sure():
    calm, wild = DriftModel(DriftConfig()), DriftModel(DriftConfig())
    rng = np.random.default_rng(0)
    for k in range(1, 40):
        calm.measured(60.0 * k, 0.0, 0.0, 0.2e-9, first=False)
        wild.measured(60.0 * k, *rng.normal(0.0, 5e-9, 2), 0.2e-9, first=False)
    assert wild.predict(2400.0).std_m > 3 * calm.predict(2400.0).std_m


@given(st.lists(st.tuples(st.floats(0.1, 500.0), st.sampled_from(["move", "look", "first", "anchor"])), max_size=20))
def test_the_model_is_a_fold_and_never_knows_less_than_nothing(events):
    one, time_s = DriftModel(DriftConfig()), 0.0
    for step_s, kind in events:
        time_s += step_s
        if kind == "move":
            one.moved(time_s, 3e-6)
        elif kind == "anchor":
            one.anchor(time_s)
        else:
            one.measured(time_s, 1e-9, -2e-9, 0.3e-9, first=kind == "first")
    two = DriftModel(DriftConfig())
    two.restore(one.state())
    assert two.predict(time_s + 7.0) == one.predict(time_s + 7.0)
    assert one.predict(time_s).std_m >= 0.0
    assert np.linalg.eigvalsh(np.array(one.state()["cov"])).min() > -1e-24
