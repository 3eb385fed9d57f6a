"""A pool of tensors against the same pool of arrays, and what happens where there is no GPU."""

import numpy as np
import pytest
import torch

from autoscope.errors import ModelError
from autoscope.surrogates.device import TorchMemory
from autoscope.surrogates.gp import GaussianProcess
from autoscope.surrogates.inducing import InducingGaussianProcess
from autoscope.surrogates.pool import MAIN_MEMORY, PoolKernel, home_of
from autoscope.surrogates.posterior import ExactPosterior
from autoscope.surrogates.prior import Prior
from autoscope.surrogates.sparse_posterior import SparsePosterior, select_inducing

SINGLE = 2e-5
PRIORS = {
    shape: Prior(shape, ((0, 1), (2,)), ((0.8, 1.7), (0.6,)), (1.3, 0.4), mean=0.2, jitter=1e-3)
    for shape in ("rbf", "matern52")
}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.fixture(params=sorted(PRIORS))
def prior(request):
    return PRIORS[request.param]


@pytest.fixture(params=DEVICES)
def tensors(request):
    return TorchMemory(request.param)


def data(n=40, m=300, seed=0):
    rng = np.random.default_rng(seed)
    x, pool = rng.normal(size=(n, 3)), rng.normal(size=(m, 3))
    return x, np.sin(x[:, 0]) + 0.3 * x[:, 2], rng.uniform(0.001, 0.02, n), pool


def exact(prior, home):
    x, y, noise, pool = data()
    posterior = ExactPosterior(prior, x[:25], y[:25], noise[:25])
    posterior.attach(pool, home=home)
    return posterior


def sparse(prior, home):
    x, y, noise, pool = data()
    chosen = x[select_inducing(prior, x[:25], 12)]
    posterior = SparsePosterior(prior, x[:25], y[:25], noise[:25], chosen, spare=5)
    posterior.attach(pool, home)
    return posterior


def between(posterior, at, against):
    ask = posterior.pool.covariance if isinstance(posterior, ExactPosterior) else posterior.covariance_between
    return ask(at, against)


def test_kernel_rows_and_the_pool_with_itself_are_those_of_the_prior(prior, tensors):
    x, _, _, pool = data()
    one, other = np.array([4, 0, 7]), np.array([1, 4])
    for home in (MAIN_MEMORY, tensors):
        kernel = PoolKernel(pool, prior, home)
        np.testing.assert_allclose(home.get(kernel.rows(x)), prior.covariance(x, pool), atol=SINGLE)
        expected = prior.covariance(pool[one], pool[other])
        for _ in range(2):  # asking must not spoil what is kept
            np.testing.assert_allclose(home.get(kernel.between(one, other)), expected, atol=SINGLE)


@pytest.mark.parametrize("build", [exact, sparse])
def test_a_pool_of_tensors_equals_one_of_arrays_built_and_updated(prior, tensors, build):
    x, y, noise, pool = data()
    one, other = build(prior, MAIN_MEMORY), build(prior, tensors)
    at, against = np.array([3, 1, 250]), np.arange(0, 300, 40)
    for k in range(25, 40):
        for posterior in (one, other):
            posterior.extend(x[k], y[k], noise[k])
        for held, array in zip((other.pool.mean, other.pool.variance), (one.pool.mean, one.pool.variance), strict=True):
            assert isinstance(held, np.ndarray)
            np.testing.assert_allclose(held, array, atol=SINGLE)
    pending = np.array([0.01, 0.02])
    np.testing.assert_allclose(
        other.pool_variance_given(x[:2] + 0.5, pending), one.pool_variance_given(x[:2] + 0.5, pending), atol=SINGLE
    )
    np.testing.assert_allclose(other.pool_covariance(pool[5]), one.pool_covariance(pool[5]), atol=SINGLE)
    np.testing.assert_allclose(between(other, at, against), between(one, at, against), atol=SINGLE)


def test_what_was_read_of_a_pool_does_not_change_with_the_pool(tensors):
    x, y, noise, _ = data()
    posterior = exact(PRIORS["rbf"], tensors)
    before = posterior.pool.variance
    kept = before.copy()
    posterior.extend(x[30], y[30], noise[30])
    np.testing.assert_array_equal(before, kept)


def test_memory_is_used_again_only_on_its_own_device(tensors):
    store = tensors.empty(5, 30)
    assert tensors.fits(store, 5, 30)
    assert not tensors.fits(store, 6, 30)
    assert not tensors.fits(np.zeros((5, 30), dtype=np.float32), 5, 30)
    assert not MAIN_MEMORY.fits(store, 5, 30)
    assert not tensors.fits(None, 1, 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("make", [GaussianProcess, InducingGaussianProcess])
def test_a_gpu_that_is_not_there_is_refused_with_a_remedy_and_auto_does_without(make):
    with pytest.raises(ModelError, match="CUDA") as caught:
        make(groups=((0,),), device="cuda")
    assert "auto" in caught.value.remedy
    make(groups=((0,),), device="auto")
    assert home_of("auto") is MAIN_MEMORY


def test_a_name_that_is_no_device_is_refused():
    with pytest.raises(ModelError, match="device"):
        home_of("abacus")


@pytest.mark.parametrize("make", [GaussianProcess, InducingGaussianProcess])
def test_a_model_answers_alike_wherever_its_pool_is(make, tensors, monkeypatch):
    x, y, _, pool = data()
    monkeypatch.setattr("autoscope.surrogates.device.has_gpu", lambda: True)
    monkeypatch.setattr("autoscope.surrogates.device.TorchMemory", lambda _: tensors)
    answers = []
    for device in ("cpu", "auto"):
        model = make(groups=((0, 1), (2,)), device=device)
        model.attach(pool)
        for _ in range(2):  # the second fit is offered the memory of the first
            model.fit(x[:30], y[:30], np.full(30, 0.05))
            model.pool_posterior()
        model.condition(x[30:], y[30:], np.full(10, 0.05))
        given = model.pool_std_given(x[:1] + 1.0, np.array([0.1]))
        answers.append([*model.pool_posterior(), given, model.sample_pool(np.random.default_rng(0))])
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)  # a spread is the root of a variance
