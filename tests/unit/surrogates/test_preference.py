"""The model of what people prefer: BoTorch's, without its chance."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscope.errors import ModelError
from autoscope.surrogates.preference import PreferenceModel
from tests.figures.preferences import Taste, learnt

BOTORCH = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def compared(seed, count):
    person = Taste(seed)
    pairs = [person.rng.choice(person.shown, 2, replace=False) for _ in range(count)]
    return person, np.array([person.answer(int(a), int(b)) for a, b in pairs])


@BOTORCH
@pytest.mark.parametrize("seed", [0, 1])
def test_predictions_are_those_of_botorch_with_the_same_hyperparameters(seed):
    from botorch.models.pairwise_gp import PairwiseGP

    person, answers = compared(seed, 12)
    ours = PreferenceModel(np.round(person.features, 3), answers)
    used, rows = np.unique(answers, return_inverse=True)
    kernel = ours._model.covar_module
    theirs = PairwiseGP(
        torch.tensor(np.round(person.features[used], 3)), torch.tensor(rows.reshape(-1, 2)), covar_module=kernel
    ).eval()
    with torch.no_grad():
        posterior = theirs.posterior(torch.tensor(person.features))
    mean, std = ours.predict(person.features)
    joint, covariance = ours.joint(person.features[:40])
    np.testing.assert_allclose(mean, posterior.mean[:, 0], atol=2e-4)
    np.testing.assert_allclose(std**2, posterior.variance[:, 0], atol=2e-4)
    np.testing.assert_allclose(joint, mean[:40], atol=1e-9)
    np.testing.assert_allclose(np.diagonal(covariance), std[:40] ** 2, atol=1e-5)


@BOTORCH
def test_learning_hyperparameters_is_worth_it_by_botorchs_own_measure():
    from botorch.models.pairwise_gp import PairwiseLaplaceMarginalLogLikelihood

    person, answers = compared(3, 30)

    def worth(model):
        mll = PairwiseLaplaceMarginalLogLikelihood(model.likelihood, model).train()
        return mll(model(*model.train_inputs), model.train_targets).item()

    learnt_, expected = (PreferenceModel(person.features, answers, fit=fit)._model for fit in (True, False))
    assert worth(learnt_) > worth(expected)


def test_the_same_answers_give_the_same_model_to_the_bit_whatever_was_drawn_meanwhile():
    person, answers = compared(2, 15)
    first = PreferenceModel(person.features, answers)
    told = [first.predict(person.features) for _ in range(2)]
    np.random.seed(5)  # noqa: NPY002 - BoTorch draws from it
    torch.manual_seed(5)
    told.append(PreferenceModel(person.features, answers).predict(person.features))
    for mean, std in told[1:]:
        assert mean.tobytes() == told[0][0].tobytes()
        assert std.tobytes() == told[0][1].tobytes()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 12))
def test_turning_every_answer_round_turns_the_utility_round(seed, count):
    person, answers = compared(seed, count)
    mean, std = PreferenceModel(person.features, answers, fit=False).predict(person.features)
    turned, same = PreferenceModel(person.features, answers[:, ::-1], fit=False).predict(person.features)
    np.testing.assert_allclose(turned, -mean, atol=1e-5)
    np.testing.assert_allclose(same, std, atol=1e-5)


def test_things_that_look_the_same_are_as_good_as_each_other():
    features = np.array([[0.0, 1.0], [0.0, 1.0], [2.0, 0.0]])
    mean, _ = PreferenceModel(features, np.array([[0, 1], [1, 2]])).predict(features)
    assert mean[0] == mean[1] > mean[2]
    mean, std = PreferenceModel(features, np.array([[0, 1]])).predict(features)  # it tells nothing
    assert mean.tolist() == [0.0] * 3
    np.testing.assert_allclose(std, 1.0, rtol=1e-6)


@pytest.mark.parametrize("pairs", [np.zeros((0, 2), int), np.array([[0, 3]]), np.array([[0, -1]])])
def test_what_was_not_compared_cannot_be_learnt_from(pairs):
    with pytest.raises(ModelError):
        PreferenceModel(np.eye(3), pairs)


def test_more_answers_of_a_simulated_person_teach_more_of_its_taste():
    found = [learnt(seed, "order", at=(3, 12)) for seed in range(3)]
    assert np.mean([one[12][0] for one in found]) > np.mean([one[3][0] for one in found]) + 0.1
