"""The deep kernel: repeatable, learning what fixed kernels cannot, and caught when it diverges."""

import json

import numpy as np
import pytest
import torch

from autoscope.errors import Diverged, ModelError
from autoscope.surrogates.deep_kernel import DeepKernel
from autoscope.surrogates.gp import GaussianProcess
from autoscope.surrogates.ladder import FitLadder

COLUMNS = (0, 1, 2, 3)


def data(n=30, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5))
    return x, np.abs(x[:, 0] - x[:, 1]) + 0.5 * x[:, 4], np.full(n, 0.01)


def small(seed=1, **changes):
    return DeepKernel(COLUMNS, seed, direct=(4,), hidden=16, **({"cold_steps": 40, "warm_steps": 10} | changes))


def test_the_same_seed_and_data_give_the_same_model_and_another_seed_another():
    x, y, noise = data()
    predictions = []
    for seed in (1, 1, 2):
        torch.rand(3)  # disturb the global generator in between
        model = small(seed)
        model.fit(x, y, noise)
        predictions.append(model.predict(x + 0.1)[0])
    np.testing.assert_array_equal(predictions[0], predictions[1])
    assert np.abs(predictions[0] - predictions[2]).max() > 1e-6


def test_fitting_leaves_global_chance_and_threads_as_they_were():
    chance, threads = torch.random.get_rng_state(), torch.get_num_threads()
    small().fit(*data())
    assert torch.equal(torch.random.get_rng_state(), chance)
    assert torch.get_num_threads() == threads


def test_training_raises_the_evidence():
    x, y, noise = data(60)
    little, much = (small(cold_steps=steps).fit(x, y, noise) for steps in (20, 80))
    assert much.log_evidence > little.log_evidence + 10.0


def test_it_predicts_a_ridge_it_was_never_shown_the_direction_of():
    x, y, noise = data(100)
    model = small(cold_steps=120)
    model.fit(x, y, noise)
    new, truth, _ = data(200, seed=5)
    mean, _ = model.predict(new)
    assert np.mean((mean - truth) ** 2) < 0.15 * np.var(truth)


def test_a_warm_fit_goes_on_from_the_last_in_fewer_steps():
    x, y, noise = data()
    model = small()
    assert model.fit(x, y, noise).iterations == 40
    first = model.fit(x, y, noise)
    assert first.iterations == 10
    assert first.log_evidence > small(cold_steps=10).fit(x, y, noise).log_evidence


def test_a_state_passes_through_json_and_gives_the_same_predictions():
    x, y, noise = data()
    first, second = small(), small(seed=9)
    first.fit(x, y, noise)
    second.recall(json.loads(json.dumps(first.state())), x, y, noise)
    for a, b in zip(first.predict(x), second.predict(x), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_pool_is_kept_in_the_learnt_features():
    x, y, noise = data()
    model = small()
    model.attach(x)
    model.fit(x[:20], y[:20], noise[:20])
    model.pool_posterior()
    model.condition(x[20:25], y[20:25], noise[20:25])
    np.testing.assert_allclose(model.pool_posterior()[0], model.predict(x)[0], atol=1e-4)


@pytest.mark.parametrize("rate", [1e200])
def test_a_training_that_diverges_is_an_error_and_not_a_model(rate):
    model = small(learning_rate=rate)
    with pytest.raises(ModelError):
        model.fit(*data())
    with pytest.raises(ModelError, match="fitted"):
        model.predict(np.zeros((1, 5)))


def test_a_model_certain_and_wrong_about_its_own_data_has_diverged(monkeypatch):
    monkeypatch.setattr(
        "autoscope.surrogates.posterior.ExactPosterior.leave_one_out", lambda p: (p.y + 1.0, 0 * p.y + 0.01)
    )
    with pytest.raises(Diverged, match="certain and wrong"):
        small().fit(*data())


def test_a_failed_refit_keeps_the_last_good_model():
    x, y, noise = data()
    model = small()
    model.fit(x, y, noise)
    before = model.predict(x)[0]
    with pytest.raises(ModelError):
        model.fit(x, np.full(30, np.nan), noise)
    np.testing.assert_array_equal(model.predict(x)[0], before)


def ladder(deep):
    return FitLadder([("deep_kernel", deep), ("gp", GaussianProcess(groups=(COLUMNS, (4,))))])


def test_the_ladder_stays_on_its_first_rung_while_that_holds():
    steps = ladder(small())
    assert steps.fit(*data()).rung == "ok"
    assert isinstance(steps.model, DeepKernel)


def test_the_ladder_falls_to_the_plain_process_when_the_deep_kernel_diverges():
    steps = ladder(small(learning_rate=1e200))
    summary = steps.fit(*data())
    assert (summary.rung, summary.model) == ("gp", "gaussian_process")
    assert isinstance(steps.model, GaussianProcess)


def test_the_ladder_ends_at_space_filling_and_can_climb_again():
    x, y, noise = data()
    steps = ladder(small())
    summary = steps.fit(x, np.full(30, np.inf), noise)
    assert (summary.rung, steps.model) == ("space_filling", None)
    assert steps.fit(x, y, noise).rung == "ok"


def test_a_ladder_is_recalled_on_the_rung_it_stood_on():
    x, y, noise = data()
    first, second = ladder(small(learning_rate=1e200)), ladder(small())
    first.fit(x, y, noise)
    second.recall(json.loads(json.dumps(first.state())), x, y, noise)
    assert isinstance(second.model, GaussianProcess)
    np.testing.assert_array_equal(second.model.predict(x)[0], first.model.predict(x)[0])
