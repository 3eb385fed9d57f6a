"""The gain of a whole map by one more measurement, against brute force and dense algebra."""

import numpy as np
import pytest

from autoscope.acquisition import integrated
from autoscope.acquisition.choice import choose
from autoscope.acquisition.integrated import integrated_variance
from autoscope.acquisition.rule import AcquisitionRule
from autoscope.surrogates.gp import GaussianProcess
from autoscope.surrogates.prior import Prior

GROUPS = ((0, 1), (2, 3))
PRIORS = {
    shape: Prior(shape, GROUPS, ((0.7, 1.1), (0.9, 0.6)), (0.8, 0.5), mean=0.1, jitter=0.02)
    for shape in ("rbf", "matern52")
}
NOISE_STD = 0.3
SPREAD = 3.0


def model_over(shape, pool, n=14, extra=3, seed=1):
    """Return a model of given hyperparameters with n measurements, the last few learnt one by one, and these."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    y = rng.normal(size=n)
    y = SPREAD * (y - y[:-extra].mean()) / y[:-extra].std() + 7.0
    noise = np.full(n, NOISE_STD)
    model = GaussianProcess(GROUPS, shape)
    model.recall({"prior": PRIORS[shape].plain()}, x[:-extra], y[:-extra], noise[:-extra])
    model.attach(pool)
    model.pool_posterior()
    model.condition(x[-extra:], y[-extra:], noise[-extra:])
    return model, x.astype(np.float64)


def dense(shape, x, pool):
    """Return the posterior covariance over the pool by textbook algebra, in units of the target squared."""
    prior = PRIORS[shape]
    inside = prior.covariance(x, x) + ((NOISE_STD / SPREAD) ** 2 + prior.jitter) * np.eye(len(x))
    across = prior.covariance(x, pool)
    return SPREAD**2 * (prior.covariance(pool, pool) - across.T @ np.linalg.solve(inside, across))


@pytest.fixture
def pool():
    return np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)


@pytest.fixture(params=sorted(PRIORS))
def shape(request):
    return request.param


def values_of(model, forbidden, seed=0):
    _, std = model.pool_posterior()
    return integrated_variance(model, std, forbidden, np.random.default_rng(seed))


def test_covariances_over_the_pool_are_those_of_dense_algebra(shape, pool):
    model, x = model_over(shape, pool)
    expected = dense(shape, x, pool.astype(np.float64))
    one, other = np.array([3, 3, 59, 0]), np.array([0, 17, 59, 3, 42])
    np.testing.assert_allclose(model.covariance_between(one, other), expected[np.ix_(one, other)], atol=5e-5)
    for k in (0, 31):
        np.testing.assert_allclose(model.pool_covariance(pool[k]), expected[k], atol=5e-5)
    np.testing.assert_allclose(model.pool_posterior()[1] ** 2, np.diagonal(expected), atol=5e-5)


def test_covariance_between_points_does_not_depend_on_which_comes_first_nor_changes_the_model(shape, pool):
    model, _ = model_over(shape, pool)
    one, other = np.arange(10), np.arange(20, 50)
    before = [a.copy() for a in model.pool_posterior()]
    first = model.covariance_between(one, other)
    np.testing.assert_allclose(first, model.covariance_between(other, one).T, atol=1e-5)
    np.testing.assert_array_equal(first, model.covariance_between(one, other))
    for a, b in zip(before, model.pool_posterior(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_typical_noise_is_the_stated_and_the_learnt_together(shape, pool):
    model, _ = model_over(shape, pool)
    expected = np.sqrt(NOISE_STD**2 + SPREAD**2 * PRIORS[shape].jitter)
    assert model.typical_noise_std == pytest.approx(expected)


def test_values_are_the_falls_of_variance_that_measuring_each_candidate_really_brings(shape, pool):
    model, _ = model_over(shape, pool)
    values = values_of(model, np.zeros(60, dtype=bool))
    before = model.pool_posterior()[1] ** 2
    for candidate in range(60):
        measured, _ = model_over(shape, pool)
        measured.condition(pool[[candidate]], np.array([-50.0]), np.array([NOISE_STD]))
        fall = np.mean(before - measured.pool_posterior()[1] ** 2)
        assert values[candidate] == pytest.approx(fall, rel=1e-3, abs=1e-5)
    assert (values > 0.0).all()


def test_beside_pending_candidates_values_are_the_falls_that_are_left_once_those_are_measured(shape, pool):
    model, _ = model_over(shape, pool)
    pending, noise = np.array([4, 40, 7]), model.typical_noise_std
    stated = np.full(3, NOISE_STD)
    std = model.pool_std_given(pool[pending], stated)
    nothing, rng = np.zeros(60, dtype=bool), np.random.default_rng(0)
    values = integrated_variance(model, std, nothing, rng, pending)
    assert noise == pytest.approx(np.hypot(NOISE_STD, SPREAD * np.sqrt(PRIORS[shape].jitter)))
    model.condition(pool[pending], np.zeros(3), stated)
    np.testing.assert_allclose(values, values_of(model, nothing), rtol=5e-3, atol=1e-5)


def test_forbidden_candidates_have_no_value_but_their_places_still_count(shape, pool):
    model, _ = model_over(shape, pool)
    forbidden = np.zeros(60, dtype=bool)
    forbidden[::3] = True
    free, barred = values_of(model, np.zeros(60, dtype=bool)), values_of(model, forbidden)
    np.testing.assert_array_equal(np.isnan(barred), forbidden)
    np.testing.assert_allclose(barred[~forbidden], free[~forbidden], rtol=1e-4)


def test_of_many_candidates_only_those_tried_have_a_value(shape, pool, monkeypatch):
    model, _ = model_over(shape, pool)
    forbidden = np.zeros(60, dtype=bool)
    everything = values_of(model, forbidden)
    forbidden[:30] = True
    monkeypatch.setattr(integrated, "TRIED", 20)
    tried = set()
    for seed in range(12):
        some = values_of(model, forbidden, seed)
        has = np.flatnonzero(~np.isnan(some))
        assert len(has) == 20
        assert has.min() >= 30
        np.testing.assert_allclose(some[has], everything[has], rtol=1e-4)
        tried |= set(has.tolist())
    assert tried == set(range(30, 60))


def test_judging_some_places_estimates_judging_all_of_them(shape, pool, monkeypatch):
    model, _ = model_over(shape, pool)
    nothing = np.zeros(60, dtype=bool)
    exact = values_of(model, nothing)
    monkeypatch.setattr(integrated, "JUDGED", 15)
    estimates = np.array([values_of(model, nothing, seed) for seed in range(200)])
    error = estimates.std(axis=0) / np.sqrt(200)
    assert (np.abs(estimates.mean(axis=0) - exact) < 5.0 * error).all()


def test_the_rule_by_name_chooses_the_best_open_candidate_and_never_a_forbidden_one(shape, pool):
    model, _ = model_over(shape, pool)
    mean, std = model.pool_posterior()
    best_first = np.argsort(-values_of(model, np.zeros(60, dtype=bool)))
    rule, forbidden = AcquisitionRule(name="integrated_variance"), np.zeros(60, dtype=bool)
    for expected in best_first[:20]:
        rng = np.random.default_rng(3)
        told = {"measured_mean": mean[:3], "seen": mean[:3], "model": model, "rng": rng, "forbidden": forbidden}
        assert choose(rule.evaluate(mean, std, **told), rng, forbidden) == expected
        forbidden[expected] = True


def test_a_map_is_learnt_from_the_middle_of_the_unknown_and_not_from_its_edge():
    # The least known point is a corner, where a measurement tells little about the rest.
    side = np.linspace(-2.0, 2.0, 15, dtype=np.float32)
    pool = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    model = GaussianProcess(((0, 1),))
    model.recall(
        {"prior": Prior("rbf", ((0, 1),), ((1.5, 1.5),), (1.0,), jitter=0.01).plain()},
        np.full((2, 2), 40.0, dtype=np.float32) * [[1], [-1]],
        np.array([0.0, 1.0]),
        np.full(2, 0.1),
    )
    model.attach(pool)
    values = values_of(model, np.zeros(225, dtype=bool))
    assert np.abs(pool[int(np.nanargmax(values))]).max() < 0.2
    assert values[0] < 0.5 * np.nanmax(values)
