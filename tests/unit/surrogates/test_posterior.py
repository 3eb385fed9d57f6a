"""The exact posterior against GPyTorch, SciPy and brute force; its updates against rebuilding."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from autoscope.errors import FitFailed, ModelError
from autoscope.surrogates.paths import PriorPath
from autoscope.surrogates.posterior import CHUNK, ExactPosterior
from autoscope.surrogates.prior import Prior, default_prior
from tests.gpytorch_oracle import Evidence, exact_numerics

SINGLE = 2e-5
"""The pool is kept in single precision: rounding of some 1e-7 of the prior's spread for each measurement."""

PRIORS = {
    shape: Prior(shape, ((0, 1), (2,)), ((0.8, 1.7), (0.6,)), (1.3, 0.4), mean=0.2, jitter=1e-3)
    for shape in ("rbf", "matern52")
}


@pytest.fixture(params=sorted(PRIORS))
def prior(request):
    return PRIORS[request.param]


def data(n=15, m=40, seed=0):
    rng = np.random.default_rng(seed)
    x, pool = rng.normal(size=(n, 3)), rng.normal(size=(m, 3))
    return x, np.sin(x[:, 0]) + 0.3 * x[:, 2], rng.uniform(0.0, 0.02, n), pool


def test_predictions_equal_those_of_gpytorch(prior):
    x, y, noise, pool = data()
    with exact_numerics():
        model = Evidence(prior, x, y, noise)
        model.eval()
        with torch.no_grad():
            theirs = model(torch.as_tensor(pool))
            mean, variance = theirs.mean.numpy(), theirs.variance.numpy()
    ours = ExactPosterior(prior, x, y, noise).predict(pool)
    np.testing.assert_allclose(ours[0], mean, atol=1e-8)
    np.testing.assert_allclose(ours[1], variance, atol=1e-8)


def test_log_evidence_is_the_gaussian_density_of_the_data(prior):
    x, y, noise, _ = data()
    covariance = prior.covariance(x, x) + np.diag(noise + prior.jitter)
    expected = multivariate_normal(np.full(len(y), prior.mean), covariance).logpdf(y)
    assert ExactPosterior(prior, x, y, noise).log_evidence() == pytest.approx(expected, rel=1e-10)


def test_pool_kept_by_updates_equals_a_rebuild(prior):
    x, y, noise, pool = data(n=60)
    grown = ExactPosterior(prior, x[:5], y[:5], noise[:5])
    grown.attach(pool)
    for k in range(5, 60):
        grown.extend(x[k], y[k], noise[k])
    fresh = ExactPosterior(prior, x, y, noise)
    fresh.attach(pool)
    assert np.abs(grown.pool.mean - fresh.pool.mean).max() < SINGLE
    assert np.abs(grown.pool.variance - fresh.pool.variance).max() < SINGLE
    np.testing.assert_allclose(grown.predict(pool)[0], fresh.predict(pool)[0], atol=1e-8)


def test_pool_and_predict_agree_across_chunk_borders():
    prior = PRIORS["rbf"]
    x, y, noise, pool = data(m=2 * CHUNK + 3)
    posterior = ExactPosterior(prior, x, y, noise)
    posterior.attach(pool)
    mean, variance = posterior.predict(pool)
    np.testing.assert_allclose(posterior.pool.mean, mean, atol=SINGLE)
    np.testing.assert_allclose(posterior.pool.variance, variance, atol=SINGLE)
    one = posterior.predict(pool[CHUNK : CHUNK + 1])
    assert one[0][0] == pytest.approx(mean[CHUNK], abs=1e-12)


def test_variance_given_pending_points_is_that_after_measuring_them_whatever_they_give(prior):
    x, y, noise, pool = data()
    posterior = ExactPosterior(prior, x[:10], y[:10], noise[:10])
    posterior.attach(pool)
    before = posterior.pool.variance.copy()
    foreseen = posterior.pool_variance_given(x[10:13], noise[10:13])
    np.testing.assert_array_equal(posterior.pool.variance, before)
    for k, surprise in zip(range(10, 13), (5.0, -7.0, 0.0), strict=True):
        posterior.extend(x[k], surprise, noise[k])
    np.testing.assert_allclose(foreseen, posterior.pool.variance, atol=SINGLE)


def test_leave_one_out_equals_leaving_each_out(prior):
    x, y, noise, _ = data()
    mean, variance = ExactPosterior(prior, x, y, noise).leave_one_out()
    for k in range(len(y)):
        rest = np.arange(len(y)) != k
        m, v = ExactPosterior(prior, x[rest], y[rest], noise[rest]).predict(x[k : k + 1])
        assert mean[k] == pytest.approx(m[0], abs=1e-8)
        assert variance[k] == pytest.approx(v[0] + noise[k] + prior.jitter, abs=1e-8)


def test_prior_paths_have_the_covariance_of_the_prior(prior):
    x = np.array([[0.0, 0.0, 0.0], [0.5, -0.3, 0.4]])
    rng = np.random.default_rng(0)
    draws = np.array([PriorPath(prior, rng, 200)(x) for _ in range(3000)])
    np.testing.assert_allclose(draws.mean(axis=0), prior.mean, atol=0.1)
    np.testing.assert_allclose(np.cov(draws.T), prior.covariance(x, x), atol=0.12)


def test_posterior_draws_have_the_mean_and_spread_of_the_posterior(prior):
    x, y, noise, pool = data(m=4)
    posterior = ExactPosterior(prior, x, y, noise)
    rng = np.random.default_rng(1)
    draws = np.array([posterior.sample(pool, rng, waves=200) for _ in range(800)])
    mean, variance = posterior.predict(pool)
    spread, four_errors = np.sqrt(variance), 4.0 / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - mean) < four_errors * spread).all()
    assert (np.abs(draws.std(axis=0) / spread - 1.0) < four_errors / np.sqrt(2.0)).all()


def test_pending_points_need_an_attached_pool():
    x, y, noise, _ = data()
    with pytest.raises(ModelError, match="attach"):
        ExactPosterior(PRIORS["rbf"], x, y, noise).pool_variance_given(x[:1], noise[:1])


def test_a_covariance_that_cannot_be_factorised_is_a_failed_fit():
    x, y, noise, _ = data()
    with pytest.raises(FitFailed):
        ExactPosterior(PRIORS["rbf"], x, y, noise - 1e6)


def test_a_kernel_without_columns_is_refused():
    with pytest.raises(ModelError, match="column"):
        default_prior("rbf", ((0,), ()))
