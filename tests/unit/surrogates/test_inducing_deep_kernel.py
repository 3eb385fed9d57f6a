"""What a deep kernel for many measurements promises: what the exact one says, at a cost that does not grow."""

import json

import numpy as np
import pytest

from autoscope.errors import ModelError
from autoscope.surrogates.deep_kernel import DeepKernel
from autoscope.surrogates.inducing_deep_kernel import InducingDeepKernel


def data(count=160, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 4)).astype(np.float32)
    return x, np.tanh(2.0 * x[:, 0] * x[:, 1]) + 0.5 * x[:, 3] + 0.05 * rng.normal(size=count), np.full(count, 0.05)


def kernel():
    return DeepKernel((0, 1, 2), 3, direct=(3,), hidden=16, cold_steps=80, warm_steps=10)


def grown(inducing=100, fit_points=120):
    return InducingDeepKernel(kernel(), inducing=inducing, fit_points=fit_points)


def test_it_predicts_about_as_well_as_the_exact_one():
    x, y, noise = data()
    new, truth, _ = data(200, seed=9)
    errors = []
    for model in (kernel(), grown()):
        model.fit(x, y, noise)
        errors.append(float(np.sqrt(np.mean((model.predict(new)[0] - truth) ** 2))))
    assert errors[1] < 1.25 * errors[0] + 0.02


def test_the_network_learns_from_no_more_measurements_than_allowed():
    model = grown(fit_points=50)
    assert model.fit(*data()).n == 160
    assert model.state()["network"]["built"] == 50


def test_the_pool_is_that_of_single_predictions_through_conditioning_and_pending():
    x, y, noise = data()
    pool, model = data(40, seed=4)[0], grown()
    model.attach(pool)
    model.fit(x[:150], y[:150], noise[:150])
    model.pool_posterior()
    pending = model.pool_std_given(x[150:152], noise[150:152])
    model.condition(x[150:152], y[150:152], noise[150:152])
    np.testing.assert_allclose(model.pool_posterior()[1], pending, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(model.pool_posterior()[0], model.predict(pool)[0], atol=1e-3)


def test_a_recalled_state_goes_on_to_the_bit():
    x, y, noise = data()
    pool, first, second = data(40, seed=4)[0], grown(), grown()
    for model in (first, second):
        model.attach(pool)
    first.fit(x[:140], y[:140], noise[:140])
    second.recall(json.loads(json.dumps(first.state())), x[:140], y[:140], noise[:140])
    for model in (first, second):
        model.pool_posterior()
        model.condition(x[140:], y[140:], noise[140:])
    np.testing.assert_array_equal(first.pool_posterior(), second.pool_posterior())
    for model in (first, second):
        model.fit(x, y, noise)
    np.testing.assert_array_equal(first.pool_posterior(), second.pool_posterior())


def test_a_state_without_anything_learnt_is_refused():
    with pytest.raises(ModelError):
        grown().recall({"network": None, "process": None}, *data())
