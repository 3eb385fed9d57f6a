"""Which pair is asked next."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import entr, ndtr

from autoscope.acquisition.pairs import answer_information, next_pair, utility_of_best


def posterior(seed, k=5):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(k, k))
    return rng.normal(size=k), root @ root.T + 0.1 * np.eye(k)


@given(st.integers(0, 10_000))
def test_the_utility_of_the_better_one_is_that_of_sampling(seed):
    mean, covariance = posterior(seed, 3)
    drawn = np.random.default_rng(seed).multivariate_normal(mean, covariance, 40_000)
    found = utility_of_best(mean, covariance)
    for a, b in [(0, 1), (2, 1)]:
        best = drawn[:, [a, b]].max(axis=1)
        assert found[a, b] == pytest.approx(best.mean(), abs=6 * best.std() / 200)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_the_utility_of_the_better_one_is_botorchs():
    from botorch.acquisition.preference import AnalyticExpectedUtilityOfBestOption

    from autoscope.surrogates.preference import PreferenceModel

    features = np.random.default_rng(0).normal(size=(8, 2))
    model = PreferenceModel(features, np.array([[0, 1], [2, 3], [4, 5], [0, 6]]))
    acquisition = AnalyticExpectedUtilityOfBestOption(pref_model=model._model)
    ours = utility_of_best(*model.joint(features))
    for a, b in [(0, 7), (1, 5), (3, 6)]:
        theirs = acquisition(torch.tensor(features[[a, b]])[None]).item()
        assert ours[a, b] == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.3), (0.0, 2.0), (1.0, 1.0), (-2.0, 3.0), (3.0, 0.5)])
def test_the_information_of_an_answer_is_the_mutual_information_by_quadrature(mean, std):
    def gap(value):
        return math.exp(-0.5 * ((value - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))

    def unsure(chance):
        return float(entr(chance) + entr(1 - chance))

    span = (mean - 9 * std, mean + 9 * std)
    chance = quad(lambda v: gap(v) * ndtr(v / math.sqrt(2)), *span)[0]
    known = quad(lambda v: gap(v) * unsure(ndtr(v / math.sqrt(2))), *span)[0]
    found = answer_information(np.array([mean, 0.0]), np.diag([std**2, 0.0]))[0, 1]
    assert found == pytest.approx(unsure(chance) - known, abs=0.01)  # Houlsby's approximation of the entropy


@given(st.integers(0, 10_000), st.sampled_from(["best", "order"]))
def test_each_pair_is_asked_once_until_none_is_left(seed, ask_for):
    mean, covariance = posterior(seed)
    asked = []
    rng = np.random.default_rng(seed)
    while (pair := next_pair(mean, covariance, asked, ask_for, rng)) is not None:
        asked.append(pair)
    assert len({frozenset(pair) for pair in asked}) == len(asked) == 10


def test_where_nothing_is_known_the_pair_is_a_matter_of_chance():
    drawn = [next_pair(np.zeros(4), np.eye(4), [], "best", np.random.default_rng(s)) for s in range(200)]
    assert len(set(drawn)) == 12  # either order
