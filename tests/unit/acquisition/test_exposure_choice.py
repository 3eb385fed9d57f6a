"""Noise foreseen before a look, and the worth of looks per cost, against closed forms, brute force and Monte Carlo."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscope.acquisition.exposure_choice import (
    CountingNoise,
    Exposure,
    Price,
    best_look,
    best_other,
    knowledge_gradient,
    ladder,
    other_looks,
    useful_electrons,
    variance_reduction,
    within_bound,
)
from autoscope.errors import ModelError

RNG = np.random.default_rng

positive = st.floats(1e-3, 1e3)


# --- the noise model ---------------------------------------------------------------------------------


@pytest.mark.parametrize("planted", [(2e-7, 1.0, 0.0), (0.0, 3.0, 1e-13), (5e-7, 0.7, 2e-14)])
def test_noise_model_recovers_planted_parameters_from_stated_uncertainties(planted):
    rng = RNG(1)
    rate, dose = rng.uniform(0.0, 3e-6, 60), 10.0 ** rng.uniform(5.0, 8.5, 60)
    noise = CountingNoise(*planted)
    found = CountingNoise.fit(rate, np.sqrt(noise.variance(rate, dose)), dose)
    assert (found.background, found.per_event) == pytest.approx(planted[:2], rel=1e-6, abs=1e-12)
    assert found.floor == pytest.approx(planted[2], rel=1e-4, abs=1e-20)


def test_noise_model_predicts_the_scatter_of_counts_it_was_not_fitted_to():
    rng = RNG(2)
    rate, dose = rng.uniform(0.5e-6, 3e-6, 200), 10.0 ** rng.uniform(6.0, 8.0, 200)
    counts = rng.poisson(rate * dose)
    found = CountingNoise.fit(counts / dose, np.sqrt(np.maximum(counts, 1)) / dose, dose)
    again = rng.poisson(2e-6 * 3e7, 40_000) / 3e7
    assert found.variance(2e-6, 3e7) == pytest.approx(again.var(), rel=0.15)


def test_noise_model_of_one_background_is_the_same_whatever_the_rate():
    dose = np.array([1e6, 1e7, 1e8, 1e6])
    found = CountingNoise.fit(np.array([-1e-7, 0.0, 1e-7, 3e-7]), np.sqrt(4e-7 / dose), dose)
    assert found.variance(0.0, 2e6) == pytest.approx(2e-13) == pytest.approx(found.variance(1e-6, 2e6))


def test_looks_without_uncertainty_cannot_teach_noise():
    with pytest.raises(ModelError, match="uncertainty"):
        CountingNoise.fit(np.array([1.0]), np.array([0.0]), np.array([10.0]))


# --- damage ------------------------------------------------------------------------------------------


@given(dose=positive, before=positive, critical=positive)
def test_useful_electrons_are_fewer_than_given_and_all_where_nothing_is_damaged(dose, before, critical):
    assert 0.0 <= useful_electrons(dose, before, 1.0, critical) <= dose
    assert useful_electrons(dose, before, 1.0, math.inf) == dose


def test_looking_longer_than_twice_the_critical_dose_makes_useful_electrons_fewer():
    dose = np.linspace(0.1, 6.0, 60)
    useful = useful_electrons(dose, 0.0, 1.0, 1.0)
    assert dose[np.argmax(useful)] == pytest.approx(2.0, abs=0.06)


@given(st.lists(st.sampled_from([0.5, 1.0, 2.0, 5.0]), max_size=40), st.floats(0.4, 30.0))
def test_looks_taken_only_where_allowed_never_pass_the_bound(doses, bound):
    received = 0.0
    for dose in doses:
        if within_bound(dose, received, 2.0, bound):
            received += dose / 2.0
    assert received <= bound


# --- worth -------------------------------------------------------------------------------------------


def test_variance_reduction_is_that_of_conditioning_a_gaussian():
    root = RNG(3).normal(size=(5, 5))
    covariance = root @ root.T
    noise = np.array([0.3, 2.0])
    squared = np.square(covariance)[:, 1]
    found = variance_reduction(squared[:, None], np.sqrt(np.diag(covariance))[:, None], noise)
    for i in range(5):
        for q, v in enumerate(noise):
            kept = covariance - np.outer(covariance[i], covariance[i]) / (covariance[i, i] + v)
            assert covariance[1, 1] - kept[1, 1] == pytest.approx(found[i, q])


def test_knowledge_gradient_is_the_mean_rise_of_the_best_mean_over_simulated_looks():
    mean, std, noise = np.array([1.0, 0.6, -0.5]), np.array([0.2, 0.5, 1.5]), np.array([0.05, 1.0])
    found = knowledge_gradient(mean, std, np.tile(noise, (3, 1)))
    z = RNG(4).normal(size=400_000)
    for i in range(3):
        for q, v in enumerate(noise):
            after = mean[i] + std[i] ** 2 / math.sqrt(std[i] ** 2 + v) * z
            rise = np.maximum(after, np.delete(mean, i).max()) - mean.max()
            assert found[i, q] == pytest.approx(rise.mean(), abs=4.0 * rise.std() / math.sqrt(len(z)) + 1e-9)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.floats(0.1, 3.0), st.floats(-4, 4), st.floats(0.1, 9.0))
def test_knowledge_gradient_scales_with_the_target_and_ignores_its_zero(means, std, shift, factor):
    mean, stds, noise = np.array(means), np.full(len(means), std), np.full((len(means), 1), 0.7)
    once = knowledge_gradient(mean, stds, noise)
    scaled = knowledge_gradient(factor * mean + shift, factor * stds, factor**2 * noise)
    np.testing.assert_allclose(scaled, factor * once, rtol=1e-6, atol=1e-9)


def test_knowledge_gradient_of_a_place_that_is_known_is_zero():
    gain = knowledge_gradient(np.array([1.0, 2.0]), np.zeros(2), np.zeros((2, 1)))
    assert gain.tolist() == [[0.0], [0.0]]


def test_best_other_is_the_best_without_the_place_itself():
    mean = RNG(5).normal(size=9)
    assert best_other(mean).tolist() == [np.delete(mean, i).max() for i in range(9)]


# --- the choice --------------------------------------------------------------------------------------

DOSES = np.array([1.0, 10.0, 100.0, 1000.0])


def chosen(std, overhead=0.0, patience=0.0, per_event=1.0):
    """Return the exposure chosen for one place of prior std by variance removed per cost."""
    noise = per_event / DOSES
    worth = variance_reduction(np.array([[std**4]]), np.array([[std]]), noise[None])
    return best_look(worth, DOSES + overhead, np.full((1, 4), True), RNG(0), patience)[1]


def test_short_looks_win_where_little_is_known_and_long_ones_where_acts_cost_and_noise_hides_all():
    # worth / cost = s^4 N / ((s^2 N + a)(N + c)), highest at N = sqrt(a c) / s
    assert chosen(std=10.0, overhead=1.0) == 0
    assert chosen(std=0.1, overhead=100.0) == 2
    assert chosen(std=0.01, overhead=100.0) == 3


@given(std=st.floats(0.01, 30.0), overhead=st.floats(0.0, 1e4))
def test_exposure_chosen_is_the_ladder_step_of_highest_closed_form_worth_per_cost(std, overhead):
    value = std**4 * DOSES / ((std**2 * DOSES + 1.0) * (DOSES + overhead))
    assert value[chosen(std, overhead)] == pytest.approx(value.max(), rel=1e-6)


def test_patience_takes_the_longest_look_that_loses_no_more_than_its_share():
    # without overhead worth per electron is 1 / (s^2 N + a): at s = 0.1 it falls by 1/2 at N = 100
    assert chosen(0.1) == 0
    assert chosen(0.1, patience=0.05) == 0
    assert chosen(0.1, patience=0.2) == 1
    assert chosen(0.1, patience=0.6) == 2


def test_look_too_short_to_change_any_mind_is_worth_less_per_electron_than_a_longer_one():
    mean, std = np.array([0.0, 3.0]), np.array([1.0, 0.0])
    worth = knowledge_gradient(mean, std, np.tile(30.0 / DOSES, (2, 1)))
    place, rung = best_look(worth, DOSES, np.full((2, 4), True), RNG(0))
    assert (place, rung) == (0, 2)


def test_forbidden_looks_are_never_taken_and_nothing_allowed_is_an_error():
    worth, allowed = np.array([[9.0, 9.0], [1.0, 1.0]]), np.array([[False, False], [False, True]])
    assert best_look(worth, np.array([1.0, 2.0]), allowed, RNG(0), 0.5) == (1, 1)
    with pytest.raises(ModelError, match="no look is allowed"):
        best_look(worth, np.array([1.0, 2.0]), np.zeros((2, 2), bool), RNG(0))


def test_equal_places_are_drawn_from_all_of_them():
    worth = np.ones((3, 1))
    drawn = {best_look(worth, np.ones(1), np.full((3, 1), True), RNG(seed))[0] for seed in range(40)}
    assert drawn == {0, 1, 2}


def test_runners_up_are_other_exposures_of_the_place_then_the_best_of_other_places():
    worth = np.array([[4.0, 6.0], [3.0, 2.0], [1.0, 8.0], [9.0, 9.0]])
    allowed = np.array([[True, True], [True, True], [True, True], [False, False]])
    cost = np.array([1.0, 2.0])
    assert other_looks(worth, cost, allowed, (0, 0), same=2, elsewhere=3) == [(0, 1), (2, 1), (1, 0)]


def test_ladder_is_ordered_by_electrons_and_prices_are_what_they_say():
    steps = ladder([1e-2, 1e-3], [1e-12, 1e-11])
    assert [round(s.dose_e / steps[0].dose_e, 6) for s in steps] == [1.0, 10.0, 10.0, 100.0]
    assert steps[-1] == Exposure(1e-2, 1e-11)
    dose, time = np.array([2.0, 4.0]), np.array([1.0, 3.0])
    assert Price("electron").of(dose, time).tolist() == [2.0, 4.0]
    assert Price("second").of(dose, time).tolist() == [1.0, 3.0]
    assert Price("both", 10.0).of(dose, time).tolist() == [12.0, 34.0]


def test_ladder_holds_every_combination_once_and_looks_in_focus_before_others_of_the_same_dose():
    found = ladder([0.01, 0.1], [1e-10, 1e-11], [0.0, -1e-6, 5e-7])
    assert len(found) == len(set(found)) == 12
    assert [e.defocus_m for e in found[:3]] == [0.0, 5e-7, -1e-6]
    assert [e.dose_e for e in found] == sorted(e.dose_e for e in found)
