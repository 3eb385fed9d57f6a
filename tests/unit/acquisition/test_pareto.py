"""Fronts, hypervolumes and what a measurement adds to them, against BoTorch, Monte Carlo and brute force."""

import importlib
import warnings

import numpy as np
import pytest
import torch

from autoscope.acquisition.pareto import (
    Belief,
    Boxes,
    hypervolume,
    log_noisy_hypervolume_improvement,
    nondominated,
    promising,
)
from autoscope.errors import ModelError


def library(name):
    with warnings.catch_warnings():  # torch.jit is deprecated, and BoTorch's dependencies still use it
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def points(targets, seed, count=12):
    return np.random.default_rng(seed).uniform(0.0, 1.0, (count, targets))


@pytest.mark.parametrize("targets", [2, 3])
def test_the_front_is_what_nothing_dominates(targets):
    values = np.round(points(targets, 0, 60), 1)
    brute = [not any((o >= v).all() and (o > v).any() for o in values) for v in values]
    assert list(nondominated(values)) == brute


@pytest.mark.parametrize("targets", [1, 2, 3])
def test_hypervolume_is_the_share_of_the_cube_below_the_front(targets):
    values, reference = points(targets, 1), np.full(targets, 0.1)
    dots = np.random.default_rng(0).uniform(0.1, 1.0, (100_000, targets))
    share = np.zeros(len(dots), dtype=bool)
    for value in values:
        share |= (dots <= value).all(axis=1)
    assert hypervolume(values, reference) == pytest.approx(share.mean() * 0.9**targets, abs=0.005)
    assert hypervolume(values - 2.0, reference) == 0.0


@pytest.mark.parametrize("targets", [2, 3])
def test_hypervolume_gained_is_the_difference_of_hypervolumes(targets):
    values, reference = points(targets, 2), np.full(targets, 0.05)
    boxes = Boxes.beyond(values, reference)
    new = np.random.default_rng(1).uniform(-0.2, 1.5, (40, targets))
    expected = [hypervolume(np.vstack([values, n]), reference) - hypervolume(values, reference) for n in new]
    np.testing.assert_allclose(boxes.gained(new), expected, atol=1e-12)
    assert 5 < (np.array(expected) > 0).sum() < 40


@pytest.mark.parametrize("targets", [2, 3])
@pytest.mark.parametrize("measured", [0, 1, 9])
def test_expected_gain_equals_botorch(targets, measured):
    analytic = library("botorch.acquisition.multi_objective.analytic")
    partitions = library("botorch.utils.multi_objective.box_decompositions.non_dominated")
    distributions, posteriors = library("gpytorch.distributions"), library("botorch.posteriors.gpytorch")
    models = library("botorch.models.model")
    values, reference = points(targets, 3, measured), np.full(targets, 0.05)
    rng = np.random.default_rng(4)
    mean, std = rng.uniform(0, 1, (25, targets)), rng.uniform(0.01, 0.5, (25, targets))

    class Told(models.Model):
        num_outputs = targets

        def posterior(self, X, **_):
            centre, spread = X[..., :targets], X[..., targets:]
            each = [
                distributions.MultivariateNormal(centre[..., k], torch.diag_embed(spread[..., k] ** 2))
                for k in range(targets)
            ]
            return posteriors.GPyTorchPosterior(distributions.MultitaskMultivariateNormal.from_independent_mvns(each))

    cells = partitions.NondominatedPartitioning(torch.tensor(reference), Y=torch.tensor(values))
    with torch.no_grad():
        rule = analytic.ExpectedHypervolumeImprovement(Told(), reference.tolist(), cells)
        theirs = rule(torch.tensor(np.concatenate([mean, std], axis=1))[:, None]).numpy()
    ours = Boxes.beyond(values, reference).log_expected(mean, std)
    np.testing.assert_allclose(np.exp(ours), theirs, rtol=1e-6, atol=1e-12)


def test_expected_gain_is_the_mean_of_gains_drawn_and_follows_units():
    values, reference = points(2, 5), np.zeros(2)
    mean, std = np.array([[0.6, 0.9]]), np.array([[0.2, 0.3]])
    drawn = np.random.default_rng(0).normal(size=(200_000, 2)) * std + mean
    boxes = Boxes.beyond(values, reference)
    expected = np.log(boxes.gained(drawn).mean())
    assert boxes.log_expected(mean, std)[0] == pytest.approx(expected, abs=0.02)
    a, b = np.array([1e3, 1e-6]), np.array([5.0, -1e-7])
    scaled = Boxes.beyond(a * values + b, a * reference + b).log_expected(a * mean + b, a * std)[0]
    assert scaled == pytest.approx(boxes.log_expected(mean, std)[0] + np.log(a).sum(), abs=1e-6)


def test_hopeless_candidates_keep_their_order_and_certain_ones_count_what_they_add():
    boxes = Boxes.beyond(np.array([[1.0, 1.0]]), np.zeros(2))
    far = boxes.log_expected(np.array([[-50.0, 0.0], [-40.0, 0.0], [-30.0, 0.0]]), np.ones((3, 2)))
    assert np.isfinite(far).all()
    assert (np.diff(far) > 0).all()
    certain = boxes.log_expected(np.array([[2.0, 0.5], [0.5, 0.5]]), np.zeros((2, 2)))
    np.testing.assert_allclose(np.exp(certain), [0.5, 0.0])


def test_only_two_or_three_targets_are_weighed():
    with pytest.raises(ModelError, match="two or three"):
        Boxes.beyond(np.zeros((1, 4)), np.zeros(4))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_best_candidate_is_among_the_promising_few(dtype):
    rng = np.random.default_rng(6)
    mean, std = rng.normal(size=(5000, 2)).astype(dtype), rng.uniform(0.05, 0.6, (5000, 2)).astype(dtype)
    boxes = Boxes.beyond(mean[:40].astype(float), np.full(2, -2.0))
    open_ = np.flatnonzero(rng.random(5000) < 0.9)
    few = promising(mean, std, boxes, open_, 200)
    best = open_[int(np.argmax(boxes.log_expected(mean[open_], std[open_])))]
    assert best in few
    assert len(np.unique(few)) == 200
    assert np.isin(few, open_).all()
    assert list(promising(mean, std, boxes, open_[:7], 200)) == list(open_[:7])


def test_where_nothing_can_be_gained_the_nearest_to_gaining_are_promising():
    mean = np.stack([np.linspace(-3.0, -1.0, 50)] * 2, axis=1)
    boxes = Boxes.beyond(np.array([[5.0, 5.0]]), np.full(2, -9.0))
    few = promising(mean, np.zeros((50, 2)), boxes, np.arange(50), 5)
    assert list(few) == [45, 46, 47, 48, 49]


def joint(seed, candidates, known):
    rng = np.random.default_rng(seed)
    places = np.sort(rng.uniform(0, 3, candidates + known))
    rng.shuffle(places)
    covariance = 0.2 * np.exp(-0.5 * (places[:, None] - places) ** 2 / 0.4**2)
    mean = rng.normal(size=candidates + known) * 0.4
    base = slice(candidates, None)
    belief = Belief(
        mean[:candidates],
        np.sqrt(np.diag(covariance)[:candidates]),
        mean[base],
        covariance[base, base],
        covariance[:candidates, base],
    )
    return belief, mean, covariance


@pytest.mark.parametrize("targets", [2, 3])
def test_gain_over_an_uncertain_front_agrees_with_botorch(targets):
    nehvi = library("botorch.acquisition.multi_objective.monte_carlo")
    samplers, models = library("botorch.sampling.normal"), library("botorch.models.model")
    distributions, posteriors = library("gpytorch.distributions"), library("botorch.posteriors.gpytorch")
    told = [joint(seed, 12, 5) for seed in range(targets)]
    reference = np.full(targets, -1.0)

    class Told(models.Model):
        num_outputs = targets
        batch_shape = torch.Size()

        def posterior(self, X, **_):
            at = X[..., 0].long().numpy()
            each = []
            for _, mean, covariance in told:
                matrix = covariance[at[..., :, None], at[..., None, :]] + 1e-8 * np.eye(at.shape[-1])
                each.append(distributions.MultivariateNormal(torch.tensor(mean[at]), torch.tensor(matrix)))
            return posteriors.GPyTorchPosterior(distributions.MultitaskMultivariateNormal.from_independent_mvns(each))

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rule = nehvi.qNoisyExpectedHypervolumeImprovement(
            Told(),
            reference.tolist(),
            torch.arange(12, 17, dtype=torch.float64)[:, None],
            sampler=samplers.SobolQMCNormalSampler(torch.Size([1024 if targets == 2 else 64]), seed=0),
            cache_root=False,
            prune_baseline=False,
        )
        theirs = rule(torch.arange(12, dtype=torch.float64)[:, None, None]).log().numpy()
    ours = log_noisy_hypervolume_improvement([b for b, _, _ in told], reference, np.random.default_rng(0), draws=500)
    np.testing.assert_allclose(ours, theirs, atol=0.25 if targets == 2 else 0.5)
    assert theirs[np.argmax(ours)] > theirs.max() - 0.1


def test_a_candidate_beside_a_pending_place_is_worth_less():
    alone = Belief(np.full(2, 1.0), np.full(2, 0.4), np.zeros(1), np.eye(1) * 1e-4, np.zeros((2, 1)))
    cross = np.array([[0.0, 0.158], [0.0, 0.0]])
    pending = Belief(alone.mean, alone.std, np.array([0.0, 1.0]), np.diag([1e-4, 0.16]), cross)
    rng = np.random.default_rng
    free = log_noisy_hypervolume_improvement([alone] * 2, np.full(2, -1.0), rng(0), 200)
    aware = log_noisy_hypervolume_improvement([pending] * 2, np.full(2, -1.0), rng(0), 200)
    assert free[0] == pytest.approx(free[1])
    assert aware[0] < aware[1] - 1.0
    assert aware[1] < free[1]


def test_a_certain_front_makes_the_noisy_gain_the_plain_one():
    values = np.array([[0.0, 1.0], [1.0, 0.0]])
    mean, std = np.random.default_rng(0).normal(size=(20, 2)), np.full((20, 2), 0.3)
    beliefs = [Belief(mean[:, k], std[:, k], values[:, k], np.zeros((2, 2)), np.zeros((20, 2))) for k in range(2)]
    got = log_noisy_hypervolume_improvement(beliefs, np.full(2, -1.0), np.random.default_rng(0), 3)
    np.testing.assert_allclose(got, Boxes.beyond(values, np.full(2, -1.0)).log_expected(mean, std), rtol=1e-9)
