"""How marks draw to places that look alike, and which acts are hazardous."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscope.acquisition.attraction import ELSEWHERE, attraction, drawn
from autoscope.exposure import Cost
from autoscope.guard.hazard import hazard
from autoscope.records import (
    Blank,
    Budget,
    LoadSample,
    Measure,
    MicroscopeState,
    MoveStage,
    SetOptics,
    SetStimulus,
    Wait,
)

MARKS = st.lists(st.tuples(st.integers(0, 39), st.integers(1, 8), st.booleans()), max_size=4)


def masks(marks):
    found = []
    for first, count, interesting in marks:
        held = np.zeros(40, dtype=bool)
        held[first : first + count] = True
        found.append((held, interesting))
    return found


@settings(max_examples=50, deadline=None)
@given(MARKS, st.integers(0, 99))
def test_a_marked_place_has_its_latest_mark_and_others_are_between(marks, seed):
    features = np.random.default_rng(seed).normal(size=(40, 3))
    values = attraction(features, masks(marks))
    expected = np.zeros(40)
    for held, interesting in masks(marks):
        expected[held] = 1.0 if interesting else -1.0
    marked = expected != 0.0
    assert np.array_equal(values[marked], expected[marked])
    assert np.all(np.abs(values[~marked]) <= ELSEWHERE)
    assert marks or not values.any()


def test_what_looks_like_a_marked_place_is_preferred_to_what_does_not():
    features = np.concatenate([np.zeros((10, 2)), np.full((10, 2), 3.0), np.full((10, 2), -3.0)])
    features += np.random.default_rng(0).normal(scale=0.1, size=features.shape)
    liked = np.zeros(30, dtype=bool)
    liked[10:13] = True
    values = attraction(features, [(liked, True)])
    assert values[13:20].min() > 0.3
    assert values[:10].max() < 0.2
    assert attraction(features, [(liked, False)])[13:20].max() < -0.3


def test_a_usual_place_that_is_marked_is_worth_as_much_as_the_best_of_the_others():
    values = np.array([0.0, 1.0, 1.0, 1.0, 5.0, 99.0])
    attracted = np.array([0.0, 1.0, 0.0, -1.0, 0.0, 0.0])
    forbidden = np.array([False] * 5 + [True])
    assert drawn(values, attracted, forbidden).tolist() == [0.0, 5.0, 1.0, -3.0, 5.0, 99.0]
    assert drawn(values, np.zeros(6), forbidden) is values


STATE = MicroscopeState(time_s=0.0, z_m=1e-6, beam_current_a=1e-10)


@pytest.mark.parametrize(
    ("action", "is_hazardous"),
    [
        (MoveStage(x_m=5e-6), False),
        (MoveStage(x_m=150e-6), True),
        (MoveStage(z_m=1e-6), False),
        (MoveStage(z_m=2e-6), True),
        (MoveStage(alpha_rad=0.1), True),
        (LoadSample(slot=1), True),
        (SetStimulus(temperature_k=500.0), True),
        (SetOptics(defocus_m=1e-6), False),
        (SetOptics(beam_current_a=2e-10), True),
        (SetOptics(beam_current_a=5e-11), False),
        (Blank(blanked=False), True),
        (Blank(), False),
        (Measure(x_m=0.0, y_m=0.0, dwell_s=1.0), True),
        (Wait(duration_s=1.0), False),
    ],
    ids=lambda value: f"{value}"[:40].replace(" ", "_"),
)
def test_hazardous_is_what_cannot_be_taken_back(action, is_hazardous):
    assert bool(hazard(action, STATE, Cost(dose_e=20.0), Budget(dose_e=100.0))) is is_hazardous


def test_an_act_that_takes_little_of_the_dose_left_is_not_hazardous():
    assert not hazard(Measure(x_m=0.0, y_m=0.0, dwell_s=1.0), STATE, Cost(dose_e=20.0), Budget(dose_e=1000.0))
    assert not hazard(Measure(x_m=0.0, y_m=0.0, dwell_s=1.0), STATE, Cost(dose_e=20.0), Budget())
