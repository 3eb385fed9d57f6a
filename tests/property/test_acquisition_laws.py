"""Laws of choosing, batches and travel that hold for any candidates."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscope.acquisition.batch import choose_batch
from autoscope.acquisition.choice import choose, runners_up
from autoscope.acquisition.cost import per_cost
from autoscope.acquisition.entropy import draw_maxima, max_value_entropy
from autoscope.acquisition.functions import log_expected_improvement, log_probability_of_improvement
from autoscope.acquisition.rule import AcquisitionRule
from autoscope.acquisition.travel import ordered_by_travel, way_m
from autoscope.surrogates.gp import GaussianProcess

seeds = st.integers(0, 2**32 - 1)


@st.composite
def pools(draw):
    rng = np.random.default_rng(draw(seeds))
    m = draw(st.integers(1, 600))
    values = np.round(rng.normal(size=m), draw(st.integers(0, 8))).astype(
        draw(st.sampled_from([np.float32, np.float64]))
    )
    forbidden = rng.random(m) < draw(st.floats(0.0, 0.95))
    forbidden[rng.integers(m)] = False
    return values, forbidden


@given(pools(), seeds)
def test_the_choice_is_open_best_and_repeatable_and_nothing_given_is_changed(pool, seed):
    values, forbidden = pool
    before = values.copy(), forbidden.copy()
    index = choose(values, np.random.default_rng(seed), forbidden)
    assert not forbidden[index]
    assert values[index] == values[~forbidden].max()
    assert index == choose(values, np.random.default_rng(seed), forbidden)
    np.testing.assert_array_equal(values, before[0])
    np.testing.assert_array_equal(forbidden, before[1])


@given(pools(), st.integers(0, 12), seeds)
def test_choosing_again_and_again_takes_candidates_in_the_order_of_the_runners_up(pool, count, seed):
    values, forbidden = pool
    rng, closed = np.random.default_rng(seed), forbidden.copy()
    first = choose(values, rng, closed)
    others = runners_up(values, first, closed, count)
    assert len(set(others)) == len(others) == min(count, int((~forbidden).sum()) - 1)
    assert first not in others
    for other in others:
        closed[first] = True
        first = choose(values, rng, closed)
        assert values[first] == values[other]


@given(pools(), st.floats(0.01, 100.0), st.sampled_from(["log", "gain"]))
def test_equal_costs_change_no_order_and_dearer_candidates_never_gain(pool, cost, scale):
    values = pool[0].astype(np.float64)
    equal = per_cost(values, np.full(len(values), cost), scale, reference=0.25)
    order = np.argsort(values, kind="stable")
    assert (np.diff(equal[order]) >= -1e-12).all()
    dearer = per_cost(values, np.full(len(values), 2.0 * cost), scale, reference=0.25)
    assert (dearer <= equal + 1e-12).all()


@given(seeds, st.integers(2, 200), st.floats(1e-6, 1e6), st.floats(-100, 100))
def test_maxima_follow_the_unit_of_the_target_and_information_does_not_depend_on_it(seed, m, a, b):
    rng = np.random.default_rng(seed)
    mean, std = rng.normal(size=m), rng.uniform(0.1, 2.0, m)
    plain = draw_maxima(mean, std, 4, np.random.default_rng(1))
    scaled = draw_maxima(a * mean + a * b, a * std, 4, np.random.default_rng(1))
    np.testing.assert_allclose(scaled, a * plain + a * b, rtol=1e-6, atol=1e-6 * a)
    np.testing.assert_allclose(
        max_value_entropy(a * mean + a * b, a * std, a * plain + a * b),
        max_value_entropy(mean, std, plain),
        rtol=1e-6,
        atol=1e-9,
    )


@given(seeds, st.integers(1, 50))
def test_information_is_finite_never_negative_and_grows_with_the_mean(seed, m):
    rng = np.random.default_rng(seed)
    mean, std = np.sort(rng.normal(size=m) * 3.0), np.full(m, rng.uniform(0.05, 3.0))
    values = max_value_entropy(mean, std, draw_maxima(mean, std, 5, rng))
    assert np.isfinite(values).all()
    assert (values >= 0.0).all()
    assert (np.diff(values) >= -1e-9 * values[1:]).all()


@given(seeds, st.integers(2, 400), st.floats(0.01, 50.0))
def test_improvement_grows_with_the_mean_at_equal_uncertainty(seed, m, std):
    mean = np.sort(np.random.default_rng(seed).uniform(-1.0, 1.0, m))
    for rule in (log_expected_improvement, log_probability_of_improvement):
        values = rule(mean, np.full(m, std), 0.1)
        assert (np.diff(values) >= -1e-8).all()


@given(seeds, st.integers(0, 14))
def test_a_way_visits_every_place_once_and_is_never_longer_than_given(seed, count):
    rng = np.random.default_rng(seed)
    points, start = np.round(rng.normal(size=(count, 2)), 1), np.round(rng.normal(size=2), 1)
    order = ordered_by_travel(points, start)
    assert sorted(order) == list(range(count))
    assert way_m(points, start, order) <= way_m(points, start, np.arange(count)) + 1e-12


@settings(max_examples=25)
@given(seeds, st.integers(0, 6))
def test_the_way_over_few_places_is_the_shortest_whatever_the_unit(seed, count):
    rng = np.random.default_rng(seed)
    points, start = rng.normal(size=(count, 2)), rng.normal(size=2)
    ways = [way_m(points, start, np.array(p, dtype=int)) for p in itertools.permutations(range(count))]
    assert way_m(points, start, ordered_by_travel(points, start)) == pytest.approx(min(ways, default=0.0))
    small = ordered_by_travel(1e-9 * points, 1e-9 * start)
    assert way_m(points, start, small) == pytest.approx(min(ways, default=0.0))


@pytest.fixture(scope="module")
def model_and_pool():
    x = np.array([[0.3], [1.4], [2.2], [3.6]])
    pool = np.linspace(0.0, 4.0, 41)[:, None]
    model = GaussianProcess(groups=((0,),))
    model.attach(pool)
    model.fit(x, np.sin(2.0 * x[:, 0]), np.full(4, 0.02))
    return model, pool, x


@settings(max_examples=30)
@given(
    seed=seeds,
    count=st.integers(1, 6),
    barred=st.floats(0.0, 0.9),
    name=st.sampled_from(["upper_confidence_bound", "max_variance", "max_value_entropy", "novelty"]),
)
def test_a_batch_never_takes_a_candidate_twice_nor_a_barred_one(model_and_pool, seed, count, barred, name):
    model, pool, x = model_and_pool
    rng = np.random.default_rng(seed)
    forbidden = rng.random(41) < barred
    forbidden[rng.integers(41)] = False
    pending = pool[rng.integers(41, size=rng.integers(3))]
    told = {"measured_mean": model.predict(x)[0], "seen": np.sin(2.0 * x[:, 0]), "noise_std": 0.02, "pending": pending}
    runs = [
        choose_batch(
            AcquisitionRule(name=name), model, pool, count, forbidden=forbidden, rng=np.random.default_rng(seed), **told
        )
        for _ in range(2)
    ]
    indices = [p.index for p in runs[0]]
    assert runs[0] == runs[1]
    assert len(set(indices)) == len(indices) == min(count, int((~forbidden).sum()))
    assert not forbidden[indices].any()
