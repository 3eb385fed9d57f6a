"""The closed-form evidence is GPyTorch's, its gradient that of finite differences, and the search as good."""

import numpy as np
import pytest

from autoscope.errors import FitFailed
from autoscope.surrogates.evidence import Evidence, maximise
from autoscope.surrogates.prior import default_prior
from tests import gpytorch_oracle

GROUPS = ((0, 1, 2), (3, 4))


def problem(shape, seed=0, n=40):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5))
    y = np.sin(2 * x[:, 0]) + 0.5 * x[:, 3] + 0.1 * rng.normal(size=n)
    noise = rng.uniform(1e-3, 1e-1, n)
    return Evidence(shape, GROUPS, x, (y - y.mean()) / y.std(), noise)


def somewhere(evidence, seed=1):
    start = evidence.pack(default_prior(evidence.shape, evidence.groups))
    return start + 0.3 * np.random.default_rng(seed).normal(size=len(start))


@pytest.mark.parametrize("shape", ["rbf", "matern52"])
def test_the_loss_is_that_of_gpytorch(shape):
    evidence = problem(shape)
    flat = somewhere(evidence)
    with gpytorch_oracle.exact_numerics():
        oracle = gpytorch_oracle.Evidence(evidence.unpack(flat), evidence.x, evidence.y, evidence.noise_variance)
        assert evidence.loss(flat)[0] == pytest.approx(float(oracle.loss().detach()), abs=1e-7)


@pytest.mark.parametrize("shape", ["rbf", "matern52"])
def test_the_gradient_is_that_of_finite_differences(shape):
    evidence = problem(shape)
    flat = somewhere(evidence)
    steps = 1e-5 * np.eye(len(flat))
    numeric = [(evidence.loss(flat + e)[0] - evidence.loss(flat - e)[0]) / 2e-5 for e in steps]
    np.testing.assert_allclose(evidence.loss(flat)[1], numeric, atol=1e-8)


@pytest.mark.parametrize("shape", ["rbf", "matern52"])
def test_the_gradient_by_the_inputs_is_that_of_finite_differences(shape):
    evidence = problem(shape, n=6)
    flat = somewhere(evidence)
    numeric = np.empty_like(evidence.x)
    for place in np.ndindex(evidence.x.shape):
        there = [evidence.x.copy(), evidence.x.copy()]
        there[0][place] += 1e-5
        there[1][place] -= 1e-5
        up, down = (Evidence(shape, GROUPS, x, evidence.y, evidence.noise_variance).loss(flat)[0] for x in there)
        numeric[place] = (up - down) / 2e-5
    np.testing.assert_allclose(evidence.loss_and_gradients(flat)[2], numeric, atol=1e-8)


def test_packing_and_unpacking_a_prior_changes_nothing():
    evidence = problem("rbf")
    prior = default_prior("rbf", GROUPS)
    again = evidence.unpack(evidence.pack(prior))
    np.testing.assert_allclose(list(again.flat().values()), list(prior.flat().values()), rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_search_ends_where_the_gradient_vanishes_or_a_bound_holds(seed):
    evidence = problem("rbf", seed)
    prior = maximise(default_prior("rbf", GROUPS), evidence.x, evidence.y, evidence.noise_variance, 200).prior
    flat = evidence.pack(prior)
    _, gradient = evidence.loss(flat)
    low, high = np.array(evidence.bounds()).T
    inside = (flat > low + 1e-6) & (flat < high - 1e-6)
    assert np.abs(gradient[inside]).max() < 1e-3


def test_no_more_iterations_are_used_than_allowed():
    evidence = problem("rbf")
    assert maximise(default_prior("rbf", GROUPS), evidence.x, evidence.y, evidence.noise_variance, 3)[1] <= 3


def test_a_covariance_that_is_not_positive_definite_is_a_failed_fit():
    evidence = problem("rbf")
    bad = Evidence("rbf", GROUPS, evidence.x, evidence.y, np.full(len(evidence.y), -5.0))
    with pytest.raises(FitFailed, match="factorised"):
        bad.loss(somewhere(bad))
