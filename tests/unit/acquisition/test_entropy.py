"""Max-value entropy against Monte Carlo, BoTorch and closed forms."""

import importlib
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import norm, spearmanr

from autoscope.acquisition.entropy import draw_maxima, max_value_entropy, maximum_as_gumbel
from autoscope.acquisition.rule import AcquisitionRule
from autoscope.surrogates.gp import GaussianProcess
from autoscope.surrogates.posterior import ExactPosterior
from autoscope.surrogates.prior import Prior


def mutual_information(y, maxima):
    """Return I(y; maxima) in nats of draws of both, by counting in equally filled bins."""
    edges = [np.quantile(v, np.linspace(0, 1, 31)) for v in (y, maxima)]
    joint, _, _ = np.histogram2d(y, maxima, bins=edges)
    joint /= joint.sum()
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    return float((joint[joint > 0] * np.log(joint[joint > 0] / apart[joint > 0])).sum())


def test_candidates_are_ranked_much_as_by_the_mutual_information_with_the_maximum():
    rng = np.random.default_rng(0)
    pool, x = np.linspace(0, 6, 61)[:, None], np.array([[0.5], [2.0], [4.5]])
    prior = Prior("rbf", ((0,),), ((0.6,),), (1.0,), jitter=1e-4)
    posterior = ExactPosterior(prior, x, np.array([0.2, 1.0, -0.5]), np.zeros(3))
    mean, variance = posterior.predict(pool)
    gain = np.linalg.solve(prior.covariance(x, x) + 1e-4 * np.eye(3), prior.covariance(x, pool)).T
    covariance = prior.covariance(pool, pool) - gain @ prior.covariance(x, pool)
    drawn = mean + rng.normal(size=(30_000, 61)) @ np.linalg.cholesky(covariance + 1e-8 * np.eye(61)).T
    truth = np.array([mutual_information(drawn[:, k], drawn.max(axis=1)) for k in range(61)])
    values = max_value_entropy(mean, np.sqrt(variance), draw_maxima(mean, np.sqrt(variance), 1000, rng))
    assert spearmanr(values, truth).statistic > 0.7
    assert truth[values.argmax()] > np.quantile(truth, 0.75)


def test_information_of_the_only_candidate_far_above_all_others_about_the_maximum_given_is_the_closed_form():
    z = np.array([0.5, 1.0, 2.0])
    expected = z * norm.pdf(z) / (2 * norm.cdf(z)) - norm.logcdf(z)
    got = [max_value_entropy(np.array([7.0]), np.array([2.0]), np.array([7.0 + 2.0 * k]))[0] for k in z]
    np.testing.assert_allclose(got, expected, rtol=1e-8)


@pytest.mark.parametrize("case", ["equal", "mixed", "one", "spread"])
def test_the_gumbel_distribution_has_the_quartiles_of_the_maximum(case):
    rng = np.random.default_rng(2)
    mean, std = {
        "equal": (np.zeros(3000), np.ones(3000)),
        "mixed": (rng.normal(size=2000), rng.uniform(0.0, 2.0, 2000)),
        "one": (np.array([4.0]), np.array([0.3])),
        "spread": (rng.normal(size=30) * 10.0, np.full(30, 0.1)),
    }[case]
    location, scale = maximum_as_gumbel(mean, std)
    for q in (0.25, 0.75):
        y = location - scale * np.log(-np.log(q))
        assert norm.logcdf((y - mean) / np.maximum(std, 1e-300)).sum() == pytest.approx(np.log(q), abs=1e-5)


def test_the_distribution_of_the_maximum_of_a_large_pool_is_as_good_from_a_part_of_it():
    rng = np.random.default_rng(3)
    mean, std = rng.normal(size=60_000) * 0.2, rng.uniform(0.8, 1.2, 60_000)
    location, scale = maximum_as_gumbel(mean, std)
    for q in (0.25, 0.75):
        y = location - scale * np.log(-np.log(q))
        assert norm.logcdf((y - mean) / std).sum() == pytest.approx(np.log(q), rel=0.02)


def test_a_pool_of_certain_candidates_has_a_certain_maximum():
    mean = np.array([1.0, 3.0, 2.0])
    assert maximum_as_gumbel(mean, np.zeros(3)) == (3.0, 0.0)
    assert set(draw_maxima(mean, np.zeros(3), 5, np.random.default_rng(0))) == {3.0}
    np.testing.assert_array_equal(max_value_entropy(mean, np.zeros(3), np.array([3.0])), np.zeros(3))


def test_drawn_maxima_are_never_below_what_is_known():
    drawn = draw_maxima(np.zeros(5), np.ones(5), 200, np.random.default_rng(0), least=1.5)
    assert drawn.min() == 1.5
    assert drawn.max() > 1.5


def test_entropy_ranks_candidates_as_botorch_does_on_the_same_posterior():
    with warnings.catch_warnings():  # torch.jit is deprecated, and BoTorch's dependencies still use it
        warnings.simplefilter("ignore")
        search = importlib.import_module("botorch.acquisition.max_value_entropy_search")
        models = importlib.import_module("botorch.models")
        gpytorch = importlib.import_module("gpytorch")
    rng = np.random.default_rng(5)
    x, pool = rng.uniform(0, 6, (8, 1)), np.linspace(0, 6, 100)[:, None]
    y = np.sin(x[:, 0])
    theirs_model = models.SingleTaskGP(
        torch.tensor(x),
        torch.tensor(y)[:, None],
        train_Yvar=torch.full((8, 1), 1e-4, dtype=torch.float64),
        covar_module=gpytorch.kernels.RBFKernel(),
        outcome_transform=None,
    ).eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        posterior = theirs_model.posterior(torch.tensor(pool))
        mean, std = posterior.mean[:, 0].numpy(), posterior.variance[:, 0].sqrt().numpy()
        rule = search.qMaxValueEntropy(
            theirs_model, torch.tensor(pool), num_fantasies=1, num_mv_samples=400, num_y_samples=64
        )
        theirs = rule(torch.tensor(pool)[:, None, :]).numpy()
    ours = max_value_entropy(mean, std, draw_maxima(mean, std, 400, np.random.default_rng(0)))
    clear = theirs > 2e-3  # below, their noise and their floor of 5e-6 decide
    assert clear.sum() > 15
    assert spearmanr(ours[clear], theirs[clear]).statistic > 0.98
    assert theirs[np.argmax(ours)] > 0.95 * theirs.max()


def test_the_choice_does_not_depend_on_the_unit_of_the_target():
    rng = np.random.default_rng(6)
    mean, std = rng.normal(size=500), rng.uniform(0.1, 1.0, 500)
    rule, model = AcquisitionRule(name="max_value_entropy"), GaussianProcess(groups=((0,),))
    evaluate = lambda a, b: rule.evaluate(  # noqa: E731
        a * mean + b,
        a * std,
        measured_mean=np.array([b]),
        seen=np.array([b]),
        model=model,
        rng=np.random.default_rng(9),
    )
    np.testing.assert_allclose(evaluate(1.0, 0.0), evaluate(3e-7, 1e-3), rtol=1e-4)
