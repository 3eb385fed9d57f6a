"""Constrained improvement against BoTorch, closed forms and Monte Carlo."""

import importlib
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import norm

from autoscope.acquisition.constraints import log_constrained_expected_improvement, log_probability_of_feasibility


def test_feasibility_is_the_probability_between_the_bounds_even_far_out():
    mean, std = np.array([0.0, 2.0, -3.0, 0.4]), np.array([1.0, 0.5, 2.0, 0.1])
    got = log_probability_of_feasibility(mean, std, -0.5, 1.0)
    np.testing.assert_allclose(np.exp(got), norm.cdf((1.0 - mean) / std) - norm.cdf((-0.5 - mean) / std), rtol=1e-9)
    np.testing.assert_allclose(log_probability_of_feasibility(mean, std, at_least=1.0), norm.logsf((1 - mean) / std))
    np.testing.assert_allclose(log_probability_of_feasibility(mean, std, at_most=1.0), norm.logcdf((1 - mean) / std))
    far = log_probability_of_feasibility(np.array([-60.0, -50.0, 50.0, 60.0]), np.ones(4), 0.0, 1.0)
    assert np.isfinite(far).all()
    assert far[0] < far[1]
    assert far[2] > far[3]
    np.testing.assert_allclose(far[0], norm.logsf(60.0), rtol=1e-6)


def test_a_certain_candidate_is_feasible_or_not():
    mean = np.array([0.0, 1.0, 2.0], dtype=np.float32)
    got = log_probability_of_feasibility(mean, np.zeros(3, dtype=np.float32), 0.0, 1.5)
    assert list(got) == [0.0, 0.0, -np.inf]
    assert got.dtype == np.float32


def test_constrained_improvement_equals_botorch():
    with warnings.catch_warnings():  # torch.jit is deprecated, and BoTorch's dependencies still use it
        warnings.simplefilter("ignore")
        analytic = importlib.import_module("botorch.acquisition.analytic")
        models = importlib.import_module("botorch.models.model")
        posteriors = importlib.import_module("botorch.posteriors.gpytorch")
        distributions = importlib.import_module("gpytorch.distributions")

    class Told(models.Model):
        num_outputs = 3

        def posterior(self, X, **_):
            each = [distributions.MultivariateNormal(X[..., k], torch.diag_embed(X[..., k + 3] ** 2)) for k in range(3)]
            return posteriors.GPyTorchPosterior(distributions.MultitaskMultivariateNormal.from_independent_mvns(each))

    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=(40, 3)), rng.uniform(0.1, 2.0, (40, 3))
    rule = analytic.LogConstrainedExpectedImprovement(Told(), 0.3, 0, {1: (-0.2, None), 2: (-1.0, 0.4)})
    with torch.no_grad():
        theirs = rule(torch.tensor(np.concatenate([mean, std], axis=1))[:, None]).numpy()
    feasible = log_probability_of_feasibility(mean[:, 1], std[:, 1], at_least=-0.2)
    feasible = feasible + log_probability_of_feasibility(mean[:, 2], std[:, 2], -1.0, 0.4)
    ours = log_constrained_expected_improvement(mean[:, 0], std[:, 0], 0.3, feasible)
    np.testing.assert_allclose(ours, theirs, rtol=1e-7)


def test_constrained_improvement_is_the_mean_over_draws_that_are_feasible():
    rng = np.random.default_rng(1)
    target, other = rng.normal(0.2, 0.7, 400_000), rng.normal(0.5, 1.0, 400_000)
    drawn = (np.maximum(target - 0.4, 0.0) * (other >= 1.0)).mean()
    feasible = log_probability_of_feasibility(np.array([0.5]), np.ones(1), at_least=1.0)
    got = log_constrained_expected_improvement(np.array([0.2]), np.array([0.7]), 0.4, feasible)
    assert np.exp(got[0]) == pytest.approx(drawn, rel=0.02)


def test_until_something_is_feasible_the_likeliest_to_be_is_wanted():
    feasible = np.array([-3.0, -1.0, -2.0])
    got = log_constrained_expected_improvement(
        np.array([9.0, 0.0, 0.0]), np.ones(3), np.inf, feasible, any_feasible=False
    )
    assert int(np.argmax(got)) == 1
