"""Inducing points against the exact process, GPyTorch's SGPR and rebuilding; the take-over without a jump."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from autoscope.errors import FitFailed, ModelError
from autoscope.surrogates.gp import GaussianProcess
from autoscope.surrogates.inducing import GrowingGaussianProcess, InducingGaussianProcess
from autoscope.surrogates.prior import Prior
from autoscope.surrogates.sparse_evidence import SparseEvidence, gpytorch, maximise_bound, sparse_numerics
from autoscope.surrogates.sparse_posterior import SparsePosterior, select_inducing

PRIORS = {
    shape: Prior(shape, ((0, 1), (2,)), ((0.8, 1.7), (0.6,)), (1.3, 0.4), mean=0.2, jitter=1e-3)
    for shape in ("rbf", "matern52")
}


@pytest.fixture(params=sorted(PRIORS))
def prior(request):
    return PRIORS[request.param]


def data(n=60, m=50, seed=0):
    rng = np.random.default_rng(seed)
    x, pool = rng.normal(size=(n, 3)), rng.normal(size=(m, 3))
    return x, np.sin(x[:, 0]) + 0.3 * x[:, 2], rng.uniform(0.001, 0.02, n), pool


def exact(prior, x, y, noise, at):
    """Return mean and variance by the textbook formula."""
    weights = np.linalg.solve(
        prior.covariance(x, x) + np.diag(noise + prior.jitter), np.c_[y - prior.mean, prior.covariance(x, at)]
    )
    cross = prior.covariance(at, x)
    return prior.mean + cross @ weights[:, 0], prior.variance - np.einsum("ij,ji->i", cross, weights[:, 1:])


def pool_of(posterior):
    return posterior.pool.mean.copy(), posterior.pool.variance.copy()


def test_with_every_measurement_an_inducing_point_the_posterior_is_exact(prior):
    x, y, noise, pool = data()
    posterior = SparsePosterior(prior, x, y, noise, x)
    for ours, theirs in zip(posterior.predict(pool), exact(prior, x, y, noise, pool), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    covariance = prior.covariance(x, x) + np.diag(noise + prior.jitter)
    evidence = multivariate_normal(np.full(len(y), prior.mean), covariance).logpdf(y)
    assert posterior.log_bound() == pytest.approx(evidence, abs=1e-4)


def test_fewer_inducing_points_bound_the_evidence_from_below_and_more_tighten_it(prior):
    x, y, noise, _ = data()
    order = select_inducing(prior, x, 60)
    bounds = [SparsePosterior(prior, x, y, noise, x[order[:u]]).log_bound() for u in (5, 15, 30, 60)]
    covariance = prior.covariance(x, x) + np.diag(noise + prior.jitter)
    evidence = multivariate_normal(np.full(len(y), prior.mean), covariance).logpdf(y)
    assert (np.diff([*bounds[:-1], evidence]) > 0).all()


def test_predictions_and_bound_equal_those_of_gpytorch(prior):
    x, y, noise, pool = data()
    inducing = x[select_inducing(prior, x, 20)]
    with sparse_numerics():
        model = SparseEvidence(prior, x, y, noise, inducing)
        hyperpriors = sum(p.log_prob(c(m)).sum() for _, m, p, c, _ in model.named_priors())
        bound = float((-model.loss() * len(y) - hyperpriors).detach())
        model.eval()
        with torch.no_grad(), gpytorch.settings.sgpr_diagonal_correction(False):
            theirs = model(torch.as_tensor(pool))
            mean, variance = theirs.mean.numpy(), theirs.variance.numpy()
    posterior = SparsePosterior(prior, x, y, noise, inducing)
    cross = prior.covariance(pool, inducing)
    through = np.einsum("ij,ji->i", cross, np.linalg.solve(prior.covariance(inducing, inducing), cross.T))
    ours = posterior.predict(pool)
    np.testing.assert_allclose(ours[0], mean, atol=1e-5)
    # with the same training bound as ours, theirs leaves out what the inducing points do not know
    np.testing.assert_allclose(ours[1], variance + prior.variance - through, atol=1e-5)
    assert posterior.log_bound() == pytest.approx(bound, rel=1e-5)


def test_a_pool_kept_by_updates_equals_a_rebuild(prior):
    x, y, noise, pool = data(n=200)
    inducing = x[select_inducing(prior, x[:50], 30)]
    grown = SparsePosterior(prior, x[:50], y[:50], noise[:50], inducing)
    grown.attach(pool)
    for k in range(50, 200):
        grown.extend(x[k], y[k], noise[k])
    fresh = SparsePosterior(prior, x, y, noise, inducing)
    for kept, predicted in zip(pool_of(grown), fresh.predict(pool), strict=True):
        np.testing.assert_allclose(kept, predicted, atol=2e-5)
    for updated, predicted in zip(grown.predict(pool), fresh.predict(pool), strict=True):
        np.testing.assert_allclose(updated, predicted, atol=1e-8)
    assert (grown.n, len(grown.inducing)) == (200, 30)


def test_a_place_the_inducing_points_do_not_know_joins_them_as_if_it_had_been_one_from_the_start(prior):
    x, y, noise, pool = data(n=90)
    grown = SparsePosterior(prior, x[:50], y[:50], noise[:50], x[select_inducing(prior, x[:50], 20)], spare=5)
    grown.attach(pool)
    for k in range(50, 90):
        grown.extend(x[k], y[k], noise[k])
    assert len(grown.inducing) == 25
    fresh = SparsePosterior(prior, x, y, noise, grown.inducing)
    for kept, updated, predicted in zip(pool_of(grown), grown.predict(pool), fresh.predict(pool), strict=True):
        np.testing.assert_allclose(updated, predicted, atol=1e-8)
        np.testing.assert_allclose(kept, predicted, atol=2e-5)


def test_each_inducing_point_is_the_least_known_given_those_before(prior):
    x, *_ = data(n=40)
    order = select_inducing(prior, x, 10)
    for k in range(1, 10):
        known = x[order[:k]]
        cross = prior.covariance(x, known)
        left = prior.variance - np.einsum("ij,ji->i", cross, np.linalg.solve(prior.covariance(known, known), cross.T))
        assert left[order[k]] == pytest.approx(left.max(), abs=1e-9)


def test_twins_are_not_both_chosen(prior):
    x, *_ = data(n=20)
    order = select_inducing(prior, np.concatenate([x, x]), 40)
    assert len(order) == len(set(order % 20)) <= 20


def test_pool_variance_given_more_points_equals_measuring_them(prior):
    x, y, noise, pool = data()
    posterior = SparsePosterior(prior, x, y, noise, x[select_inducing(prior, x, 25)])
    posterior.attach(pool)
    before = pool_of(posterior)
    given = posterior.pool_variance_given(pool[:3], np.array([0.01, 0.0, 0.1]))
    np.testing.assert_array_equal(pool_of(posterior), before)
    for k, noise_variance in enumerate((0.01, 0.0, 0.1)):
        posterior.extend(pool[k], 0.7, noise_variance)
    np.testing.assert_allclose(given, pool_of(posterior)[1], atol=1e-5)


def test_pool_covariance_with_a_point_is_that_of_the_exact_process_when_all_are_inducing(prior):
    x, y, noise, pool = data()
    posterior = SparsePosterior(prior, x, y, noise, x)
    posterior.attach(pool)
    both = prior.covariance(pool, pool[:1])[:, 0] - prior.covariance(pool, x) @ np.linalg.solve(
        prior.covariance(x, x) + np.diag(noise + prior.jitter), prior.covariance(x, pool[:1])[:, 0]
    )
    np.testing.assert_allclose(posterior.pool_covariance(pool[0]), both, atol=2e-5)


def test_drawn_functions_have_the_mean_and_spread_of_the_posterior(prior):
    x, y, noise, pool = data(m=12)
    posterior = SparsePosterior(prior, x, y, noise, x[select_inducing(prior, x, 25)])
    posterior.attach(pool)
    rng = np.random.default_rng(0)
    drawn = np.array([posterior.sample_pool(rng, waves=128) for _ in range(500)])
    mean, variance = posterior.predict(pool)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=5 * np.sqrt(variance.max() / 500))
    np.testing.assert_allclose(drawn.std(0), np.sqrt(variance), rtol=0.25)


def smooth(n, seed=0, noise=0.05):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, size=(n, 2))
    return x, 40.0 + 7.0 * np.sin(1.3 * x[:, 0]) * np.cos(x[:, 1]) + 7.0 * rng.normal(0, noise, n), np.full(n, 0.35)


def model(**options):
    return InducingGaussianProcess(groups=((0, 1),), inducing=60, fit_inducing=40, **options)


def test_hyperparameters_through_inducing_points_approach_those_of_the_exact_evidence():
    x, y, std = smooth(300)
    ours, exactly = model(), GaussianProcess(groups=((0, 1),))
    summary = ours.fit(x, y, std)
    truth = exactly.fit(x, y, std)
    assert summary.log_evidence == pytest.approx(truth.log_evidence, abs=3.0)
    for name in ("lengthscale_0_0", "lengthscale_0_1"):
        assert summary.hyperparameters[name] == pytest.approx(truth.hyperparameters[name], rel=0.25)


def test_a_warm_fit_needs_fewer_iterations_than_a_cold_one():
    x, y, std = smooth(200)
    learner = model(cold_iterations=60, warm_iterations=60)
    cold = learner.fit(x, y, std)
    warm = learner.fit(x, y, std)
    assert warm.iterations < cold.iterations


def test_predictions_are_in_the_units_of_the_target_and_cover_it():
    x, y, std = smooth(400)
    learner = model()
    learner.fit(x, y, std)
    at, _, _ = smooth(300, seed=9)
    mean, deviation = learner.predict(at)
    truth = 40.0 + 7.0 * np.sin(1.3 * at[:, 0]) * np.cos(at[:, 1])
    assert np.abs(mean - truth).max() < 1.0
    assert (np.abs(mean - truth) < 2.5 * deviation).mean() > 0.85


def test_how_measurements_arrive_does_not_matter_and_a_recalled_state_goes_on_to_the_bit():
    x, y, std = smooth(150)
    pool, _, _ = smooth(500, seed=4)
    one, other, restored = model(), model(), model()
    for learner in (one, other):
        learner.fit(x[:100], y[:100], std[:100])
    restored.recall(one.state(), x[:100], y[:100], std[:100])
    for learner in (one, other, restored):
        learner.attach(pool.astype(np.float32))
        learner.pool_posterior()
    one.condition(x[100:], y[100:], std[100:])
    for k in range(100, 150):
        other.condition(x[k : k + 1], y[k : k + 1], std[k : k + 1])
    restored.condition(x[100:], y[100:], std[100:])
    for learner in (other, restored):
        np.testing.assert_array_equal(learner.pool_posterior(), one.pool_posterior())
        np.testing.assert_array_equal(
            learner.sample_pool(np.random.default_rng(1)), one.sample_pool(np.random.default_rng(1))
        )
    assert one.n == 150


@pytest.mark.parametrize("target", [np.zeros(30), np.full(30, 1e9)], ids=["nothing", "offset"])
def test_a_constant_target_is_predicted_as_such(target):
    x, _, _ = smooth(30)
    learner = model()
    learner.fit(x, target, np.full(30, 0.1))
    assert np.abs(learner.predict(x)[0] - target).max() < 0.05


def test_data_that_are_no_data_are_refused():
    x, y, std = smooth(20)
    for wrong in ((x, y[1:], std), (x, y, -std), (x * np.nan, y, std), (x[:0], y[:0], std[:0])):
        with pytest.raises(FitFailed):
            model().fit(*wrong)
    with pytest.raises(ModelError):
        model().predict(x)
    fitted = model()
    fitted.fit(x, y, std)
    with pytest.raises(ModelError):
        fitted.pool_posterior()


def test_the_bound_never_falls_in_a_search():
    x, y, std = smooth(120)
    y, noise = (y - y.mean()) / y.std(), (std / y.std()) ** 2
    start = Prior("rbf", ((0, 1),), ((3.0, 3.0),), (1.0,))
    inducing = x[select_inducing(start, x, 30)]
    found, _ = maximise_bound(start, x, y, noise, inducing, 20)

    def loss(prior):
        with sparse_numerics():
            return float(SparseEvidence(prior, x, y, noise, inducing).loss().detach())

    assert loss(found) < loss(start) - 0.1


def test_the_exact_model_hands_over_at_the_limit_without_a_jump():
    x, y, std = smooth(260)
    pool, _, _ = smooth(400, seed=5)
    growing = GrowingGaussianProcess(GaussianProcess(groups=((0, 1),)), model(), limit=250)
    growing.attach(pool)
    assert growing.fit(x[:249], y[:249], std[:249]).model == "gaussian_process"
    growing.condition(x[249:250], y[249:250], std[249:250])
    before, spread = growing.pool_posterior()
    assert growing.fit(x[:250], y[:250], std[:250]).model == "inducing_gaussian_process"
    after, after_spread = growing.pool_posterior()
    assert np.abs(after - before).max() < 0.05 * y.std()
    np.testing.assert_allclose(after_spread, spread, rtol=0.3, atol=0.01 * y.std())
    growing.condition(x[250:], y[250:], std[250:])
    again = GrowingGaussianProcess(GaussianProcess(groups=((0, 1),)), model(), limit=250)
    again.attach(pool)
    again.recall(growing.state(), x[:250], y[:250], std[:250])
    again.pool_posterior()
    again.condition(x[250:], y[250:], std[250:])
    np.testing.assert_array_equal(again.pool_posterior(), growing.pool_posterior())
    np.testing.assert_array_equal(again.predict(x[:9]), growing.predict(x[:9]))
    noise = np.array([0.3])
    np.testing.assert_array_equal(again.pool_std_given(x[:1], noise), growing.pool_std_given(x[:1], noise))


def test_a_hand_over_that_fails_leaves_the_exact_model_in_force():
    class Failing(InducingGaussianProcess):
        def fit(self, x, y, noise_std):
            raise FitFailed("no")

    x, y, std = smooth(60)
    growing = GrowingGaussianProcess(GaussianProcess(groups=((0, 1),)), Failing(groups=((0, 1),)), limit=50)
    growing.fit(x[:40], y[:40], std[:40])
    before = growing.predict(x)
    with pytest.raises(FitFailed):
        growing.fit(x, y, std)
    np.testing.assert_array_equal(growing.predict(x), before)
    assert growing.state()["stage"] == "exact"


def test_leave_one_out_equals_leaving_each_out_with_the_same_inducing_points(prior):
    x, y, noise, _ = data()
    inducing = x[select_inducing(prior, x, 20)]
    values, mean, variance = SparsePosterior(prior, x, y, noise, inducing).leave_one_out()
    np.testing.assert_allclose(values, y, atol=1e-12)
    for k in range(0, len(y), 7):
        rest = np.arange(len(y)) != k
        m, v = SparsePosterior(prior, x[rest], y[rest], noise[rest], inducing).predict(x[k : k + 1])
        assert mean[k] == pytest.approx(m[0], abs=1e-8)
        assert variance[k] == pytest.approx(v[0] + noise[k] + prior.jitter, abs=1e-8)


def test_covariance_between_points_of_the_pool_is_that_with_each_of_them(prior):
    x, y, noise, pool = data()
    posterior = SparsePosterior(prior, x[:50], y[:50], noise[:50], x[select_inducing(prior, x[:50], 20)], spare=3)
    posterior.attach(pool)
    for k in range(50, 60):
        posterior.extend(x[k], y[k], noise[k])
    one, other = np.array([2, 30]), np.array([30, 1, 7])
    between = posterior.covariance_between(one, other)
    for k in range(2):
        np.testing.assert_allclose(between[k], posterior.pool_covariance(pool[one[k]])[other], atol=2e-5)
    assert between[1, 0] <= posterior.pool.variance[30] + 2e-5  # what inducing points do not know is not shared


def test_a_pool_attached_late_equals_one_kept_from_the_start(prior):
    x, y, noise, pool = data(n=90)
    kept, late = (
        SparsePosterior(prior, x[:50], y[:50], noise[:50], x[select_inducing(prior, x[:50], 20)], spare=5)
        for _ in range(2)
    )
    kept.attach(pool)
    for k in range(50, 90):
        kept.extend(x[k], y[k], noise[k])
        late.extend(x[k], y[k], noise[k])
    late.attach(pool)
    for one, other in zip(pool_of(kept), pool_of(late), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def planted(kind, n, seed):
    """Return features (n, 4), of which two are the place, values and noise of a smooth or a rough field."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.7, 1.7, size=(n, 4))
    steep = {"smooth": 1.3, "rough": 4.0}[kind]
    return x, np.sin(steep * x[:, 2]) * np.cos(steep * x[:, 3]) + 0.3 * x[:, 0] + 0.15 * rng.normal(size=n), 0.15


@pytest.mark.parametrize("kind", ["smooth", "rough"])
def test_learning_by_the_evidence_of_some_foretells_no_worse_than_by_the_bound_on_all(kind):
    x, y, noise = planted(kind, 900, seed=1)
    std, scores = np.full(len(y), noise), {}
    for learn_by in ("evidence", "bound"):
        learner = InducingGaussianProcess(groups=((0, 1), (2, 3)), inducing=128, fit_points=256, learn_by=learn_by)
        learner.fit(x[:600], y[:600], std[:600])
        mean, deviation = learner.predict(x[600:])
        spread = np.sqrt(deviation**2 + noise**2 + learner.jitter_std**2)
        scores[learn_by] = norm.logpdf(y[600:], mean, spread).mean()
    assert scores["evidence"] > scores["bound"] - 0.02


def test_the_two_models_of_a_growing_one_and_itself_answer_all_that_a_surrogate_must():
    x, y, std = smooth(60)
    growing = GrowingGaussianProcess(GaussianProcess(groups=((0, 1),)), model(), limit=50)
    growing.attach(x)
    noises = []
    for n in (40, 60):
        growing.fit(x[:n], y[:n], std[:n])
        values, foretold, spread = growing.leave_one_out()
        np.testing.assert_allclose(values, y[:n], rtol=1e-9)
        assert np.abs((values - foretold) / spread).max() < 5.0
        assert growing.pool_covariance(x[3])[3] == pytest.approx(
            growing.covariance_between(np.array([3]), np.array([3]))[0, 0], rel=1e-3
        )
        noises.append(growing.typical_noise_std)
        assert noises[-1] == pytest.approx(np.hypot(0.35, growing.jitter_std), rel=1e-6)
    growing.forget()
    assert growing.state() == {"stage": "inducing", "learnt": {"prior": None}}


def test_more_is_learnt_of_a_rough_field_by_the_model_that_takes_over_as_it_grows():
    x, y, noise = planted("rough", 900, seed=2)
    errors = []
    for n in (150, 600):
        learner = InducingGaussianProcess(groups=((0, 1), (2, 3)))
        learner.fit(x[:n], y[:n], np.full(n, noise))
        errors.append(np.sqrt(np.mean((learner.predict(x[600:])[0] - y[600:]) ** 2)))
    assert errors[1] < 0.75 * errors[0]
