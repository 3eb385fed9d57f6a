"""The Gaussian process as a surrogate: learning, warm starts, units, bad data."""

import json

import numpy as np
import pytest
import torch

from autoscope.errors import FitFailed, ModelError
from autoscope.surrogates import gp
from autoscope.surrogates.evidence import Found
from autoscope.surrogates.gp import GaussianProcess
from autoscope.surrogates.posterior import ExactPosterior
from autoscope.surrogates.prior import default_prior

GROUPS = ((0, 1, 2),)


def data(n=40, seed=0, noise=0.05):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    return x, 3.0 + np.sin(2.0 * x[:, 0]) + rng.normal(size=n) * noise, np.full(n, noise)


def test_learnt_hyperparameters_explain_the_data_better_than_the_start():
    x, y, noise = data()
    summary = GaussianProcess(groups=GROUPS).fit(x, y, noise)
    scale = y.std()
    start = ExactPosterior(default_prior("rbf", GROUPS), x, (y - y.mean()) / scale, (noise / scale) ** 2)
    assert summary.log_evidence > start.log_evidence() - len(y) * np.log(scale) + 5.0
    assert summary.n == 40
    assert 0 < summary.iterations <= 60


def test_columns_that_do_not_matter_get_long_lengthscales():
    x, y, noise = data()
    learnt = GaussianProcess(groups=GROUPS).fit(x, y, noise).hyperparameters
    assert min(learnt["lengthscale_0_1"], learnt["lengthscale_0_2"]) > 5.0 * learnt["lengthscale_0_0"]


@pytest.mark.parametrize("shape", ["rbf", "matern52"])
def test_predictions_come_near_the_truth_within_their_uncertainty(shape):
    x, y, noise = data(n=80)
    model = GaussianProcess(groups=GROUPS, shape=shape)
    model.fit(x, y, noise)
    new, _, _ = data(n=200, seed=7)
    new = np.clip(new, -1.5, 1.5)
    mean, std = model.predict(new)
    error = mean - (3.0 + np.sin(2.0 * new[:, 0]))
    assert np.sqrt(np.mean(error**2)) < 0.15
    assert np.mean(np.abs(error) < 3.0 * std) > 0.95


def test_unexplained_scatter_is_learnt_as_jitter():
    x, y, _ = data(n=100, noise=0.4)
    jitter = GaussianProcess(groups=GROUPS).fit(x, y, np.zeros(100)).hyperparameters["jitter"]
    assert np.sqrt(jitter) * y.std() == pytest.approx(0.4, rel=0.35)


def test_noise_that_is_known_is_not_learnt_again():
    x, y, noise = data(n=100, noise=0.4)
    jitter = GaussianProcess(groups=GROUPS).fit(x, y, noise).hyperparameters["jitter"]
    assert np.sqrt(jitter) * y.std() < 0.25


def test_a_noisy_measurement_pulls_less_than_a_precise_one():
    x, y, noise = data()
    for std, low, high in ((1e-3, 3.0, 10.0), (100.0, 0.0, 0.2)):
        model = GaussianProcess(groups=GROUPS)
        model.fit(x, y, noise)
        far = np.array([[0.0, 6.0, 0.0]])
        before = model.predict(far)[0][0]
        model.condition(far, np.array([before + 10.0]), np.array([std]))
        assert low < model.predict(far)[0][0] - before < high


def test_a_warm_fit_starts_where_the_last_one_ended():
    x, y, noise = data()
    model = GaussianProcess(groups=GROUPS)
    cold = model.fit(x, y, noise)
    warm = model.fit(x, y, noise)
    assert warm.iterations < cold.iterations / 4
    assert warm.log_evidence == pytest.approx(cold.log_evidence, abs=0.1)


def test_a_warm_fit_that_fails_is_repeated_from_a_cold_start(monkeypatch):
    x, y, noise = data()
    model = GaussianProcess(groups=GROUPS)
    model.fit(x, y, noise)
    starts = []

    def fail_first(start, *rest):
        starts.append(start)
        if len(starts) == 1:
            raise FitFailed("planted")
        return Found(start, 0, 0.0)

    monkeypatch.setattr(gp, "maximise", fail_first)
    model.fit(x, y, noise)
    assert starts[0] != starts[1] == default_prior("rbf", GROUPS)


def test_log_evidence_is_a_density_in_units_of_the_target():
    x, y, noise = data()
    in_volts = GaussianProcess(groups=GROUPS).fit(x, y, noise).log_evidence
    in_millivolts = GaussianProcess(groups=GROUPS).fit(x, 1e3 * y, 1e3 * noise).log_evidence
    assert in_volts - in_millivolts == pytest.approx(40 * np.log(1e3), rel=1e-5)


def test_recalling_a_state_gives_the_same_model_without_fitting():
    x, y, noise = data()
    first, second = GaussianProcess(groups=GROUPS), GaussianProcess(groups=GROUPS)
    first.fit(x, y, noise)
    second.recall(first.state(), x, y, noise)
    for a, b in zip(first.predict(x), second.predict(x), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_pool_attached_once_follows_fits_and_measurements():
    x, y, noise = data()
    model = GaussianProcess(groups=GROUPS)
    model.attach(x)
    for n in (20, 30):
        model.fit(x[:n], y[:n], noise[:n])
        np.testing.assert_allclose(model.pool_posterior()[0], model.predict(x)[0], atol=1e-4)
        model.condition(x[n : n + 4], y[n : n + 4], noise[n : n + 4])
        mean, std = model.predict(x)
        np.testing.assert_allclose(model.pool_posterior()[0], mean, atol=1e-4)
        np.testing.assert_allclose(model.pool_posterior()[1] ** 2, std**2, atol=1e-4)
    assert model.n == 34


@pytest.mark.parametrize("values", [np.full(6, 2.5), np.array([0.0, 0, 0, 0, 0, 1e6])])
def test_constant_targets_and_single_outliers_can_be_fitted(values):
    x, _, noise = data(n=6)
    model = GaussianProcess(groups=GROUPS)
    model.fit(x, values, noise)
    mean, std = model.predict(x)
    assert np.isfinite(mean).all()
    assert np.isfinite(std).all()


def test_measuring_the_same_place_again_without_noise_can_be_fitted():
    x, y, _ = data(n=5)
    twice = np.concatenate([x, x])
    model = GaussianProcess(groups=GROUPS)
    model.fit(twice, np.concatenate([y, y + 0.01]), np.zeros(10))
    assert np.isfinite(model.predict(x)[0]).all()


@pytest.mark.parametrize(
    ("x", "y", "noise"),
    [
        (np.zeros((2, 3)), np.array([0.0, np.nan]), np.zeros(2)),
        (np.zeros((2, 3)), np.zeros(2), np.array([0.0, -1.0])),
        (np.zeros((2, 3)), np.zeros(3), np.zeros(2)),
        (np.zeros((0, 3)), np.zeros(0), np.zeros(0)),
    ],
    ids=["not finite", "negative noise", "shapes differ", "nothing"],
)
def test_data_that_no_model_could_use_are_refused(x, y, noise):
    with pytest.raises(FitFailed):
        GaussianProcess(groups=GROUPS).fit(x, y, noise)


def test_an_unfitted_model_says_so():
    model = GaussianProcess(groups=GROUPS)
    with pytest.raises(ModelError, match="fit"):
        model.predict(np.zeros((1, 3)))
    model.fit(*data())
    for call in (model.pool_posterior, lambda: model.sample_pool(np.random.default_rng(0))):
        with pytest.raises(ModelError, match="attach"):
            call()


def test_fitting_leaves_global_chance_and_threads_as_they_were():
    chance, threads = torch.random.get_rng_state(), torch.get_num_threads()
    GaussianProcess(groups=GROUPS).fit(*data())
    assert torch.equal(torch.random.get_rng_state(), chance)
    assert torch.get_num_threads() == threads


def many(count=70, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 3)).astype(np.float32)
    return x, np.sin(2.0 * x[:, 0]) + 0.3 * x[:, 2] + 0.05 * rng.normal(size=count), np.full(count, 0.05)


def grown(model, pool, first, last, data):
    """Condition a model on measurements one at a time, with its posterior over the pool kept."""
    x, y, noise = data
    model.attach(pool)
    model.fit(x[:first], y[:first], noise[:first])
    model.pool_posterior()
    model.condition(x[first:last], y[first:last], noise[first:last])
    return model


def test_hyperparameters_that_gain_nothing_leave_the_posterior_as_it_is():
    data, pool = many(), np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    model = grown(GaussianProcess(groups=GROUPS), pool, 68, 70, data)
    before, summary = model.pool_posterior(), model.fit(*data)
    assert model.state()["built"] == model.state()["pooled"] == 68
    assert summary.n == 70
    np.testing.assert_array_equal(before, model.pool_posterior())


def test_what_is_not_rebuilt_is_within_a_nat_of_the_best():
    data, pool = many(), np.zeros((1, 3), dtype=np.float32)
    kept = grown(GaussianProcess(groups=GROUPS), pool, 68, 70, data).fit(*data)
    afresh = GaussianProcess(groups=GROUPS).fit(*data)
    assert kept.log_evidence > afresh.log_evidence - 1.5


def test_other_measurements_of_the_same_number_are_learnt_anew():
    data, pool = many(), np.zeros((1, 3), dtype=np.float32)
    model = grown(GaussianProcess(groups=GROUPS), pool, 68, 70, data)
    x, y, noise = many(seed=5)
    model.fit(x, y, noise)
    assert model.state()["built"] == 70
    np.testing.assert_allclose(model.leave_one_out()[0], y)


def test_hyperparameters_that_gain_much_are_taken():
    x, y, noise = many()
    y = np.where(np.arange(70) < 60, y, 5.0 + 3.0 * np.cos(9.0 * x[:, 1]))
    model = grown(GaussianProcess(groups=GROUPS), np.zeros((1, 3), dtype=np.float32), 60, 70, (x, y, noise))
    model.fit(x, y, noise)
    assert model.state()["built"] == 70


def test_a_recalled_state_goes_on_to_the_bit_from_where_it_was_built():
    data, pool = many(), np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    first = grown(GaussianProcess(groups=GROUPS), pool, 66, 70, data)
    first.fit(*data)
    second = GaussianProcess(groups=GROUPS)
    second.attach(pool)
    second.recall(json.loads(json.dumps(first.state())), *data)
    assert second.state() == first.state()
    np.testing.assert_array_equal(first.pool_posterior(), second.pool_posterior())
    np.testing.assert_array_equal(first.predict(pool), second.predict(pool))
