"""Acquisition functions against BoTorch, closed forms and Monte Carlo."""

import importlib
import warnings

import numpy as np
import pytest
import torch
from scipy.special import log_ndtr
from scipy.stats import norm

from autoscope.acquisition import tabulated
from autoscope.acquisition.entropy import max_value_entropy
from autoscope.acquisition.functions import (
    log_expected_improvement,
    log_probability_of_improvement,
    max_variance,
    novelty,
    straddle,
    thompson,
    upper_confidence_bound,
)
from autoscope.surrogates.gp import GaussianProcess

MEAN = np.array([-40.0, -3.0, -0.5, 0.0, 0.2, 1.0, 5.0])
STD = np.array([1.0, 0.3, 2.0, 0.7, 1e-3, 0.5, 1.5])
BEST = 0.3


@pytest.fixture(scope="module")
def analytic():
    with warnings.catch_warnings():  # torch.jit is deprecated, and BoTorch's dependencies still use it
        warnings.simplefilter("ignore")
        return importlib.import_module("botorch.acquisition.analytic")


class GivenPosterior:
    """A BoTorch model whose posterior is what it is told."""

    num_outputs = 1

    def posterior(self, X, **_):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            posteriors = importlib.import_module("botorch.posteriors.gpytorch")
            distributions = importlib.import_module("gpytorch.distributions")
        mean, std = X[..., 0], X[..., 1]
        return posteriors.GPyTorchPosterior(distributions.MultivariateNormal(mean, torch.diag_embed(std**2)))


def by_botorch(acquisition):
    from botorch.models.model import Model

    class Told(Model):
        num_outputs = 1
        posterior = GivenPosterior.posterior

    points = torch.as_tensor(np.stack([MEAN, STD], axis=1))[:, None, :]
    return acquisition(Told())(points).detach().numpy()


def test_log_expected_improvement_equals_botorch_from_near_to_hopeless(analytic):
    theirs = by_botorch(
        lambda model: analytic.LogExpectedImprovement(model, best_f=torch.tensor(BEST, dtype=torch.float64))
    )
    np.testing.assert_allclose(log_expected_improvement(MEAN, STD, BEST), theirs, rtol=1e-9)


def test_upper_confidence_bound_equals_botorch(analytic):
    theirs = by_botorch(lambda model: analytic.UpperConfidenceBound(model, beta=4.0))
    np.testing.assert_allclose(upper_confidence_bound(MEAN, STD, 2.0), theirs)


def test_probability_of_improvement_equals_botorch(analytic):
    theirs = by_botorch(
        lambda model: analytic.LogProbabilityOfImprovement(model, best_f=torch.tensor(BEST, dtype=torch.float64))
    )
    np.testing.assert_allclose(log_probability_of_improvement(MEAN, STD, BEST), theirs, rtol=1e-9)


def test_expected_improvement_is_the_mean_of_improvements_drawn():
    draws = np.random.default_rng(0).normal(size=(400_000, 1)) * STD[2:4] + MEAN[2:4]
    drawn = np.maximum(draws - BEST, 0.0).mean(axis=0)
    np.testing.assert_allclose(np.exp(log_expected_improvement(MEAN[2:4], STD[2:4], BEST)), drawn, rtol=0.01)


def test_expected_improvement_keeps_the_order_of_candidates_where_the_plain_formula_is_zero():
    z = -np.array([1e2, 9.9e2, 1.1e3, 1e5, 1e7])
    values = log_expected_improvement(z, np.ones(5), 0.0)
    assert (z * norm.cdf(z) + norm.pdf(z) == 0.0).all()
    assert np.isfinite(values).all()
    assert (np.diff(values) < 0).all()
    np.testing.assert_allclose(values, -0.5 * z**2 - 0.5 * np.log(2 * np.pi) - 2 * np.log(-z), rtol=1e-6)


def test_a_certain_candidate_improves_by_its_gap_or_not_at_all():
    found = log_expected_improvement(np.array([0.5, 0.1]), np.zeros(2), 0.3)
    np.testing.assert_allclose(found, [np.log(0.2), -np.inf])
    np.testing.assert_array_equal(
        log_probability_of_improvement(np.array([0.5, 0.1]), np.zeros(2), 0.3), [0.0, -np.inf]
    )


def test_variance_ignores_the_mean():
    np.testing.assert_array_equal(max_variance(STD), STD * STD)


def test_straddle_prefers_the_uncertain_near_the_level():
    values = straddle(np.array([1.0, 1.0, 3.0]), np.array([0.1, 0.5, 0.5]), level=1.0, kappa=1.96)
    assert list(np.argsort(values)) == [2, 0, 1]
    assert values[1] == pytest.approx(0.98)


def test_novelty_is_the_rms_distance_to_the_nearest_value_seen():
    seen, rng = np.array([5.0, 0.0, 1.0]), np.random.default_rng(0)
    mean, std = rng.uniform(-2, 8, 50), rng.uniform(0, 1, 50)
    brute = np.sqrt(((mean[:, None] - seen) ** 2 + std[:, None] ** 2).min(axis=1))
    np.testing.assert_allclose(novelty(mean, std, seen), brute)
    assert np.isinf(novelty(mean, std, np.empty(0))).all()


@pytest.mark.parametrize("spread", ["even", "clustered", "single", "equal"])
def test_novelty_finds_the_nearest_value_however_the_seen_ones_lie(spread):
    rng = np.random.default_rng(1)
    seen = {
        "even": rng.uniform(-5, 5, 300),
        "clustered": np.append(rng.normal(size=300) * 1e-6, [-4.0, 900.0]),
        "single": np.array([0.7]),
        "equal": np.full(9, -1.5),
    }[spread]
    mean = np.concatenate([rng.uniform(-8, 8, 20_000), seen, [-1e9, 1e9]])
    brute = np.abs(mean[:, None] - seen).min(axis=1)
    np.testing.assert_allclose(novelty(mean, np.zeros(len(mean)), seen), brute, atol=1e-12)


def test_tables_equal_the_functions_they_stand_for_inside_and_outside_their_range():
    z = np.concatenate([np.linspace(-60, 60, 5001), [-1e300, -1e4, 1e4, np.inf, -np.inf]])
    with np.errstate(all="ignore"):
        for table, exact in (
            (tabulated.log_improvement(), tabulated.exact_log_improvement),
            (tabulated.log_probability(), log_ndtr),
        ):
            np.testing.assert_allclose(table(z), exact(z), rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(tabulated.entropy_lost()(z), tabulated.exact_entropy_lost(z), rtol=1e-4, atol=1e-12)
    assert np.isnan(tabulated.log_improvement()(np.array([np.nan]))).all()


def test_a_cut_off_normal_distribution_loses_the_entropy_found_by_integration():
    for z in (-20.0, -3.0, -0.2, 0.4, 2.0, 5.0):
        inside = np.linspace(z - 30.0 / max(abs(z), 1.0) - 10.0 * (z > 0), z, 400_001)
        log_density = norm.logpdf(inside) - norm.logcdf(z)
        entropy = -np.trapezoid(np.exp(log_density) * log_density, inside)
        lost = tabulated.exact_entropy_lost(np.array([z]))[0]
        assert lost == pytest.approx(0.5 * np.log(2 * np.pi * np.e) - entropy, abs=2e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, s: upper_confidence_bound(m, s, 2.0),
        lambda m, s: log_expected_improvement(m, s, 0.5),
        lambda m, s: log_probability_of_improvement(m, s, 0.5),
        lambda m, s: max_variance(s),
        lambda m, s: straddle(m, s, 0.3, 1.96),
        lambda m, s: novelty(m, s, np.array([0.0, 1.0])),
        lambda m, s: max_value_entropy(m, s, np.array([2.0, 3.0])),
    ],
    ids=["ucb", "ei", "pi", "variance", "straddle", "novelty", "entropy"],
)
def test_single_precision_comes_back_single_and_agrees_with_double(function):
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=20_001).astype(np.float32), rng.uniform(0.1, 2.0, 20_001).astype(np.float32)
    before = mean.copy(), std.copy()
    single, double = function(mean, std), function(mean.astype(float), std.astype(float))
    assert single.dtype == np.float32
    assert double.dtype == np.float64
    np.testing.assert_allclose(single, double, rtol=2e-6, atol=2e-6)
    np.testing.assert_array_equal((mean, std), before)


def test_thompson_chooses_each_candidate_as_often_as_it_is_the_best():
    x, pool = np.array([[0.0], [4.0]]), np.array([[1.0], [3.4], [8.0]])
    model = GaussianProcess(groups=((0,),))
    model.attach(pool)
    model.fit(x, np.array([0.0, 1.0]), np.full(2, 0.05))
    rng = np.random.default_rng(0)
    picks = np.bincount([int(np.argmax(thompson(model, rng))) for _ in range(400)], minlength=3) / 400
    mean, _ = model.pool_posterior()
    prior = model._fitted().prior
    both = np.concatenate([x, pool])
    joint = prior.covariance(both, both)
    gain = joint[2:, :2] @ np.linalg.inv(joint[:2, :2] + np.diag(model._fitted().noise_variance + prior.jitter))
    covariance = (joint[2:, 2:] - gain @ joint[:2, 2:]) * model._scaling_.factor**2
    draws = np.random.default_rng(1).multivariate_normal(mean, covariance, size=20_000)
    expected = np.bincount(draws.argmax(axis=1), minlength=3) / 20_000
    np.testing.assert_allclose(picks, expected, atol=0.08)
