"""Batches chosen together: against exact conditioning, and against BoTorch's joint improvement."""

import importlib
import itertools
import warnings

import numpy as np
import pytest
import torch

from autoscope.acquisition.batch import choose_batch
from autoscope.acquisition.rule import AcquisitionRule
from autoscope.errors import ModelError
from autoscope.surrogates.gp import GaussianProcess

X = np.array([[0.3], [1.4], [2.2], [3.6]])
Y = np.sin(2.0 * X[:, 0])
POOL = np.linspace(0.0, 4.0, 81)[:, None]
RULES = [
    "upper_confidence_bound",
    "expected_improvement",
    "probability_of_improvement",
    "max_value_entropy",
    "max_variance",
    "thompson",
    "straddle",
    "novelty",
]


def fitted(pool=POOL):
    model = GaussianProcess(groups=((0,),))
    model.attach(pool)
    model.fit(X, Y, np.full(4, 0.02))
    return model


def batch(rule, model, count, pool=POOL, forbidden=None, **changes):
    measured, _ = model.predict(X)
    settings = {
        "forbidden": np.zeros(len(pool), dtype=bool) if forbidden is None else forbidden,
        "noise_std": 0.02,
        "measured_mean": measured,
        "seen": Y,
        "rng": np.random.default_rng(0),
    }
    return choose_batch(rule, model, pool, count, **(settings | changes))


@pytest.mark.parametrize("name", RULES)
def test_a_batch_has_different_open_candidates_and_stops_when_none_is_left(name):
    rule = AcquisitionRule(name=name, level=0.2 if name == "straddle" else None)
    forbidden = np.ones(81, dtype=bool)
    forbidden[[3, 40, 41, 77]] = False
    picks = [p.index for p in batch(rule, fitted(), 9, forbidden=forbidden)]
    assert sorted(picks) == [3, 40, 41, 77]
    assert forbidden.sum() == 77


def test_no_open_candidate_is_an_error():
    with pytest.raises(ModelError, match="no candidate"):
        batch(AcquisitionRule(), fitted(), 2, forbidden=np.ones(81, dtype=bool))


def test_each_pick_is_the_best_of_a_model_told_its_own_prediction_of_those_before():
    picks = batch(AcquisitionRule(kappa=1.5), fitted(), 4)
    told = fitted()
    closed = np.zeros(81, dtype=bool)
    for pick in picks:
        mean, std = told.pool_posterior()
        values = np.where(closed, -np.inf, mean + 1.5 * std)
        assert values[pick.index] == pytest.approx(values.max(), abs=1e-6)
        assert pick.mean == pytest.approx(mean[pick.index], abs=1e-6)
        assert pick.std == pytest.approx(std[pick.index], abs=1e-6)
        told.condition(POOL[[pick.index]], mean[[pick.index]], np.array([0.02]))
        closed[pick.index] = True


def test_pending_measurements_push_the_batch_elsewhere():
    rule = AcquisitionRule(name="max_variance")
    free = batch(rule, fitted(), 1)[0]
    aware = batch(rule, fitted(), 1, pending=POOL[[free.index]])[0]
    assert aware.index != free.index
    assert aware.std < free.std


def test_a_batch_spreads_more_than_the_best_few_by_themselves():
    model, rule = fitted(), AcquisitionRule(name="max_variance")
    together = sorted(POOL[p.index, 0] for p in batch(rule, model, 3))
    _, std = model.pool_posterior()
    alone = sorted(POOL[np.argsort(-std)[:3], 0])
    assert np.diff(together).min() > 3.0 * np.diff(alone).min()


def test_a_dear_candidate_is_left_out_of_the_batch():
    rule, free = AcquisitionRule(), batch(AcquisitionRule(), fitted(), 3)
    cost = np.ones(81)
    cost[free[0].index - 3 : free[0].index + 4] = 1e6
    picks = {p.index for p in batch(rule, fitted(), 3, cost=cost)}
    assert not picks & set(range(free[0].index - 3, free[0].index + 4))


def test_greedy_improvement_is_near_that_of_the_best_pair_by_botorch():
    with warnings.catch_warnings():  # torch.jit is deprecated, and BoTorch's dependencies still use it
        warnings.simplefilter("ignore")
        logei = importlib.import_module("botorch.acquisition.logei")
        models = importlib.import_module("botorch.models.model")
        posteriors = importlib.import_module("botorch.posteriors.gpytorch")
        distributions = importlib.import_module("gpytorch.distributions")
        samplers = importlib.import_module("botorch.sampling.normal")
    pool = POOL[::5]
    model = fitted(pool)
    exact, factor = model._fitted(), model._scaling_.factor
    best = float(model.predict(X)[0].max())

    class Ours(models.Model):
        num_outputs = 1
        batch_shape = torch.Size()

        def posterior(self, X, **_):
            flat = X.numpy().reshape(-1, X.shape[-2], 1)
            means, covariances = [], []
            for x in flat:
                solved = exact._solve(x)
                covariance = exact.prior.covariance(x, x) - solved.T @ solved + 1e-9 * np.eye(len(x))
                means.append(model.predict(x)[0])
                covariances.append(covariance * factor**2)
            mean = torch.as_tensor(np.array(means)).reshape(X.shape[:-1])
            covariance = torch.as_tensor(np.array(covariances)).reshape(*X.shape[:-1], X.shape[-2])
            return posteriors.GPyTorchPosterior(distributions.MultivariateNormal(mean, covariance))

    pairs = np.array(list(itertools.combinations(range(len(pool)), 2)))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rule = logei.qLogExpectedImprovement(
            Ours(), best_f=best, sampler=samplers.SobolQMCNormalSampler(torch.Size([512]), seed=0)
        )
        joint = rule(torch.as_tensor(pool[pairs])).exp().numpy()
    picks = sorted(p.index for p in batch(AcquisitionRule(name="expected_improvement"), model, 2, pool=pool))
    ours = joint[int(np.flatnonzero((pairs == picks).all(axis=1))[0])]
    assert ours >= (1.0 - 1.0 / np.e) * joint.max()
    assert ours >= np.quantile(joint, 0.9)
