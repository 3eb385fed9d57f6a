"""Choosing from a finite pool, runners-up, first designs, and rules by name."""

import numpy as np
import pytest
from pydantic import ValidationError

from autoscope.acquisition.choice import choose, runners_up
from autoscope.acquisition.design import diverse, maximin, squared_distance_to_nearest
from autoscope.acquisition.rule import AcquisitionRule
from autoscope.errors import ModelError
from autoscope.surrogates.gp import GaussianProcess

FREE = np.zeros(5, dtype=bool)


def test_ties_are_broken_by_the_given_chance_evenly_and_repeatably():
    values = np.array([1.0, 7.0, 7.0, 0.0, 7.0])
    picks = [choose(values, np.random.default_rng(seed), FREE) for seed in range(300)]
    assert set(picks) == {1, 2, 4}
    assert min(np.bincount(picks)[[1, 2, 4]]) > 70
    assert picks == [choose(values, np.random.default_rng(seed), FREE) for seed in range(300)]


def test_a_value_that_is_no_number_is_never_chosen():
    assert choose(np.array([np.nan, -np.inf, 0.0, np.nan, -1.0]), np.random.default_rng(0), FREE) == 2
    assert choose(np.array([np.nan, -np.inf, np.nan, np.nan, np.nan]), np.random.default_rng(0), FREE) == 1


@pytest.mark.parametrize(("values", "forbidden"), [(np.zeros(5), ~FREE), (np.full(5, np.nan), FREE)])
def test_nothing_to_choose_from_is_an_error(values, forbidden):
    with pytest.raises(ModelError, match="no candidate"):
        choose(values, np.random.default_rng(0), forbidden)


def test_runners_up_are_the_next_best_in_order_without_chosen_and_forbidden():
    values = np.array([5.0, 9.0, 7.0, 8.0, 6.0])
    assert runners_up(values, 1, FREE, 3) == [3, 2, 4]
    assert runners_up(values, 1, np.array([False, False, False, True, True]), 3) == [2, 0]
    assert runners_up(values, 1, ~FREE, 3) == []
    assert runners_up(values, 1, FREE, 10) == [3, 2, 4, 0]


@pytest.mark.parametrize("size", [1, 255, 256, 257, 8192, 20_001])
@pytest.mark.parametrize("levels", [3, 10**6])
def test_choosing_in_cells_equals_a_plain_sort(size, levels):
    rng = np.random.default_rng(size)
    values = rng.integers(0, levels, size).astype(np.float32)
    values[rng.random(size) < 0.2] = np.nan
    values[rng.random(size) < 0.1] = -np.inf
    forbidden = rng.random(size) < 0.3
    forbidden[0], values[0] = False, 1.0
    open_ = np.flatnonzero(~forbidden & ~np.isnan(values))
    best = choose(values, np.random.default_rng(0), forbidden)
    assert best in open_
    assert values[best] == values[open_].max()
    others = open_[open_ != best]
    for count in (0, 1, 5, size):
        assert runners_up(values, best, forbidden, count) == list(others[np.lexsort((others, -values[others]))])[:count]


def test_ties_far_apart_are_drawn_evenly():
    values = np.zeros(10_000)
    values[[3, 4_000, 9_999]] = 1.0
    picks = [choose(values, np.random.default_rng(seed), np.zeros(10_000, dtype=bool)) for seed in range(300)]
    assert min(picks.count(i) for i in (3, 4_000, 9_999)) > 70


def test_distance_to_the_nearest_equals_brute_force():
    rng = np.random.default_rng(0)
    features, taken = rng.normal(size=(30, 4)), rng.normal(size=(6, 4))
    brute = ((features[:, None] - taken) ** 2).sum(axis=2).min(axis=1)
    np.testing.assert_allclose(squared_distance_to_nearest(features, taken), brute)
    np.testing.assert_allclose(maximin(features, taken), np.sqrt(brute))


def test_first_points_visit_every_cluster_however_small():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [50, 0], [0, 50], [50, 50]])
    cluster = np.repeat(np.arange(4), [300, 5, 5, 5])
    features = centres[cluster] + rng.normal(size=(315, 2))
    for seed in range(20):
        chance, taken = np.random.default_rng(seed), []
        for _ in range(4):
            forbidden = np.isin(np.arange(315), taken)
            taken.append(diverse(features, features[taken], forbidden, chance))
        assert set(cluster[taken]) == {0, 1, 2, 3}


def test_first_points_are_drawn_even_where_all_places_look_alike():
    forbidden = np.array([True, False, True])
    assert diverse(np.zeros((3, 2)), np.zeros((1, 2)), forbidden, np.random.default_rng(0)) == 1
    with pytest.raises(ModelError):
        diverse(np.zeros((3, 2)), np.zeros((1, 2)), ~np.zeros(3, dtype=bool), np.random.default_rng(0))


def fitted(pool):
    x = np.linspace(0.0, 4.0, 9)[:, None]
    model = GaussianProcess(groups=((0,),))
    model.attach(pool)
    model.fit(x, np.cos(1.5 * x[:, 0]), np.full(9, 0.01))
    return model, np.cos(1.5 * x[:, 0])


@pytest.mark.parametrize(
    ("rule", "lowest", "highest"),
    [
        (AcquisitionRule(kappa=0.0), 3.8, 4.6),
        (AcquisitionRule(kappa=0.0, goal="minimise"), 1.9, 2.3),
        (AcquisitionRule(name="expected_improvement", goal="minimise"), 1.9, 2.3),
        (AcquisitionRule(name="probability_of_improvement", goal="minimise"), 1.9, 2.3),
        (AcquisitionRule(name="max_value_entropy", goal="minimise"), 1.8, 2.4),
        (AcquisitionRule(name="max_variance"), 7.9, 8.1),
        (AcquisitionRule(name="straddle", level=0.0, kappa=0.0), 0.9, 3.3),
        (AcquisitionRule(name="thompson", goal="minimise"), 1.9, 8.1),
    ],
    ids=lambda r: r.name if isinstance(r, AcquisitionRule) else "",
)
def test_each_rule_goes_where_its_name_says(rule, lowest, highest):
    pool = np.linspace(0.0, 8.0, 401)[:, None]
    if rule.name not in ("max_variance", "thompson"):
        pool = pool[pool[:, 0] <= 4.6]
    model, seen = fitted(pool)
    mean, std = model.pool_posterior()
    values = rule.evaluate(mean, std, measured_mean=seen, seen=seen, model=model, rng=np.random.default_rng(0))
    best = pool[choose(values, np.random.default_rng(0), np.zeros(len(pool), dtype=bool)), 0]
    assert lowest <= best <= highest


def test_novelty_goes_to_values_unlike_those_seen():
    pool = np.linspace(0.0, 4.0, 101)[:, None]
    model, _ = fitted(pool)
    mean, std = model.pool_posterior()
    rule, seen = AcquisitionRule(name="novelty"), np.array([1.0, 0.9, 0.0])
    values = rule.evaluate(mean, std, measured_mean=seen, seen=seen, model=model, rng=np.random.default_rng(0))
    assert mean[int(np.argmax(values))] < -0.9


def test_a_needle_in_the_prediction_is_found_by_every_searching_rule():
    mean, std = np.zeros(10_000), np.full(10_000, 0.1)
    mean[7_777] = 1.0
    model, seen = fitted(np.zeros((1, 1)))
    for name in ("upper_confidence_bound", "expected_improvement", "probability_of_improvement", "max_value_entropy"):
        values = AcquisitionRule(name=name).evaluate(
            mean, std, measured_mean=np.array([0.2]), seen=seen, model=model, rng=np.random.default_rng(0)
        )
        assert choose(values, np.random.default_rng(0), np.zeros(10_000, dtype=bool)) == 7_777


def test_a_contour_without_a_level_is_refused():
    with pytest.raises(ValidationError, match="level"):
        AcquisitionRule(name="straddle")


def test_only_parameters_that_matter_are_reported():
    assert AcquisitionRule().parameters == {"kappa": 2.0}
    assert AcquisitionRule(name="straddle", level=3.0).parameters == {"kappa": 2.0, "level": 3.0}
    assert AcquisitionRule(name="novelty").parameters == {}
    assert AcquisitionRule().words == "upper confidence bound"
