"""Calibration figures against draws whose answer is known."""

import json

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kstest, norm

from autoscope.errors import ModelError
from autoscope.surrogates.calibration import (
    Prequential,
    bias_test,
    calibration,
    clustering_test,
    coverage,
    crps,
    log_densities,
    log_score,
    pit_histogram,
    spread_test,
    z_scores,
)
from autoscope.surrogates.posterior import ExactPosterior
from autoscope.surrogates.prior import Prior
from autoscope.surrogates.recalibration import (
    Recalibrator,
    honest_scale,
    posterior_scale,
    robust_mean_square,
)


def draws(n=20_000, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    mean, std = rng.normal(size=n), rng.uniform(0.5, 2.0, n)
    return mean + spread * std * rng.normal(size=n), mean, std


def told(tracker, y, mean, std):
    for row in zip(mean.tolist(), std.tolist(), y.tolist(), strict=True):
        tracker.tell(*row)
    return tracker


# --- figures ---


def test_an_honest_forecaster_has_standard_z_and_covers_ninety_per_cent():
    found = calibration(*draws())
    assert found.n == 20_000
    assert found.mean_z == pytest.approx(0.0, abs=0.03)
    assert found.std_z == pytest.approx(1.0, abs=0.03)
    assert found.coverage_90 == pytest.approx(0.9, abs=0.01)
    assert found.sharpness == pytest.approx(1.25, abs=0.02)


@pytest.mark.parametrize(("spread", "level"), [(2.0, 0.9), (0.5, 0.9), (1.0, 0.5)])
def test_coverage_of_a_misjudged_spread_is_what_the_normal_law_says(spread, level):
    expected = 2.0 * norm.cdf(norm.ppf(0.5 + level / 2.0) / spread) - 1.0
    assert coverage(*draws(spread=spread), level) == pytest.approx(expected, abs=0.01)


def test_log_score_prefers_the_honest_spread():
    y, mean, std = draws()
    assert log_score(y, mean, std) > max(log_score(y, mean, 2.0 * std), log_score(y, mean, 0.5 * std))
    assert log_score(np.zeros(1), np.zeros(1), np.ones(1)) == pytest.approx(-0.5 * np.log(2 * np.pi))


def test_log_densities_are_those_of_the_normal_law():
    y, mean, std = draws(50)
    np.testing.assert_allclose(log_densities(y, mean, std), norm.logpdf(y, mean, std), rtol=1e-12)


def test_z_scores_undo_scale_and_shift():
    y, mean, std = draws(100)
    np.testing.assert_allclose(z_scores(3 * y + 5, 3 * mean + 5, 3 * std), z_scores(y, mean, std))


@pytest.mark.parametrize(("y", "mean", "std"), [(0.3, 0.0, 1.0), (-2.0, 1.0, 0.5), (7.0, 2.0, 3.0)])
def test_crps_is_the_integrated_squared_error_of_the_distribution_function(y, mean, std):
    below, _ = quad(lambda x: norm.cdf(x, mean, std) ** 2, mean - 12 * std, y)
    above, _ = quad(lambda x: norm.sf(x, mean, std) ** 2, y, mean + 12 * std)
    assert crps(np.array([y]), np.array([mean]), np.array([std]))[0] == pytest.approx(below + above, abs=1e-6)


def test_pit_histogram_is_flat_for_the_honest_and_a_valley_for_the_over_confident():
    honest = pit_histogram(*draws()) / 20_000
    np.testing.assert_allclose(honest, 0.1, atol=0.01)
    bold = pit_histogram(*draws(spread=3.0))
    assert min(bold[0], bold[-1]) > 3 * bold[4:6].max()
    assert bold.sum() == 20_000


# --- is it chance? ---


@pytest.mark.parametrize("test", [spread_test, bias_test, clustering_test])
def test_honest_forecasts_are_rejected_as_rarely_as_the_level_says(test):
    rng = np.random.default_rng(1)
    rejected = np.mean([test(rng.normal(size=50), level=0.95).rejected for _ in range(1500)])
    assert 0.03 < rejected < 0.07  # 0.05 with binomial standard error 0.0056, and an approximation in the third


@pytest.mark.parametrize(
    ("test", "wrong"),
    [
        (spread_test, lambda rng: 1.6 * rng.normal(size=50)),
        (spread_test, lambda rng: 0.6 * rng.normal(size=50)),
        (bias_test, lambda rng: 0.8 + rng.normal(size=50)),
        (clustering_test, lambda rng: np.repeat([0.1, 4.0] * 2, [12, 12, 13, 13]) * rng.normal(size=50)),
    ],
)
def test_each_fault_is_found_by_its_test(test, wrong):
    rng = np.random.default_rng(2)
    assert np.mean([test(wrong(rng)).rejected for _ in range(200)]) > 0.75


def test_over_confidence_alone_is_not_called_bias():
    rng = np.random.default_rng(3)
    assert np.mean([bias_test(4.0 * rng.normal(size=50)).rejected for _ in range(500)]) < 0.09


# --- tracked ---


def test_totals_agree_with_figures_of_the_whole_series_at_once():
    y, mean, std = draws(137)
    total, at_once = told(Prequential(window=20), y, mean, std).total(), calibration(y, mean, std)
    for name in ("n", "mean_z", "std_z", "coverage_90", "sharpness", "log_score"):
        assert getattr(total.record(), name) == pytest.approx(getattr(at_once, name), rel=1e-10)
    assert total.crps == pytest.approx(crps(y, mean, std).mean())
    assert total.relative_sharpness == pytest.approx(std.mean() / y.std())
    np.testing.assert_allclose(total.pit, pit_histogram(y, mean, std) / 137)
    assert total.coverage_50 == pytest.approx(coverage(y, mean, std, 0.5))


def test_recent_figures_are_those_of_the_last_window_only():
    y, mean, std = draws(90)
    recent = told(Prequential(window=30), y, mean, std).recent()
    late = calibration(y[-30:], mean[-30:], std[-30:])
    assert recent.n == 30
    assert recent.log_score == pytest.approx(late.log_score)
    assert recent.std_z == pytest.approx(late.std_z)


def test_forgetting_weighs_each_forecast_by_its_age():
    y, mean, std = draws(12)
    weights = 0.8 ** np.arange(11, -1, -1)
    recent = told(Prequential(forgetting=0.8), y, mean, std).recent()
    assert recent.mean_z == pytest.approx(np.average(z_scores(y, mean, std), weights=weights))
    assert recent.crps == pytest.approx(np.average(crps(y, mean, std), weights=weights))


def test_nothing_is_said_before_the_first_forecast_and_no_test_made_of_a_few():
    track = Prequential()
    assert track.total() is None
    assert track.recent() is None
    track.tell(0.0, 1.0, 0.5)
    assert track.total().relative_sharpness is None
    assert track.tests() == ()
    assert [t.name for t in told(track, *draws(10)).tests()] == ["spread", "bias", "clustering"]


def test_a_record_carries_the_factor_and_survives_json():
    record = told(Prequential(), *draws(5)).recent().record(scale=1.7)
    assert record.scale == 1.7
    assert type(record).model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize("forecast", [(np.nan, 1.0, 0.0), (0.0, 0.0, 0.0), (0.0, 1.0, np.inf), (0.0, -1.0, 0.0)])
@pytest.mark.parametrize("kind", [Prequential, Recalibrator])
def test_what_cannot_be_scored_is_refused_and_changes_nothing(kind, forecast):
    tracker = told(kind(), *draws(3))
    before = tracker.state()
    with pytest.raises(ModelError, match="no forecast"):
        tracker.tell(*forecast)
    assert tracker.state() == before


@pytest.mark.parametrize("make", [lambda: Prequential(window=0), lambda: Prequential(forgetting=0.0)])
def test_a_tracker_that_sees_nothing_is_refused(make):
    with pytest.raises(ModelError, match="look back"):
        make()


# --- recalibration ---


def test_robust_mean_square_of_honest_errors_is_one_and_one_blunder_hardly_moves_it():
    z = np.random.default_rng(4).normal(size=20_000)
    assert robust_mean_square(z) == pytest.approx(1.0, abs=0.03)
    few = z[:50]
    assert abs(robust_mean_square(np.append(few, 1e9)) - robust_mean_square(few)) < 0.25
    assert robust_mean_square(np.empty(0)) == 1.0


def test_posterior_scale_is_the_mixture_computed_by_quadrature():
    n, squares, c, doubt = 12.0, 30.0, 1.0, 0.3

    def likelihood(v):
        return v ** (-n / 2) * np.exp(-squares / (2 * v))

    def slab(v):  # inverse-gamma(c/2, c/2)
        return (c / 2) ** (c / 2) / np.sqrt(np.pi) * v ** (-c / 2 - 1) * np.exp(-c / (2 * v))

    evidence, _ = quad(lambda v: likelihood(v) * slab(v), 0, np.inf)
    precision, _ = quad(lambda v: likelihood(v) * slab(v) / v, 0, np.inf)
    wrong = doubt * evidence / (doubt * evidence + (1 - doubt) * likelihood(1.0))
    expected = np.sqrt(1 - wrong + wrong * evidence / precision)  # the slab's variance: 1 / E[1/v]
    assert posterior_scale(n, squares, doubt, c) == pytest.approx(expected, rel=1e-6)


def scales(n, spread, seeds=200, blunder=False):
    found = []
    for seed in range(seeds):
        z = spread * np.random.default_rng(seed).normal(size=n)
        if blunder:
            z[n // 2] = 1e3
        found.append(told(Recalibrator(), z, np.zeros(n), np.ones(n)).scale())
    return np.array(found)


def test_an_honest_stream_is_left_within_ten_per_cent():
    assert np.mean(np.abs(scales(50, 1.0) - 1.0) < 0.1) > 0.92
    assert np.mean(np.abs(scales(100, 1.0) - 1.0) < 0.1) > 0.95


def test_one_blunder_among_fifty_honest_forecasts_changes_little():
    assert np.quantile(scales(50, 1.0, blunder=True), 0.9) < 1.15


@pytest.mark.parametrize(("n", "median_within"), [(20, (0.83, 0.93)), (50, (0.87, 0.92)), (100, (0.88, 0.92))])
def test_coverage_returns_after_threefold_over_confidence(n, median_within):
    covered = 2.0 * norm.cdf(norm.ppf(0.95) * scales(n, 3.0) / 3.0) - 1.0
    low, high = median_within
    assert low < np.median(covered) < high
    if n == 100:
        assert np.mean((covered > 0.85) & (covered < 0.95)) > 0.9


def test_timid_forecasts_are_sharpened():
    assert np.median(scales(50, 0.4)) == pytest.approx(0.4, abs=0.05)


def test_leave_one_out_scores_moderate_what_selection_exaggerates():
    rng = np.random.default_rng(5)
    picked, rest = rng.normal(-1.2, 1.0, 40), rng.normal(size=50)
    alone, both = honest_scale(picked), honest_scale(picked, rest)
    assert alone > 1.3
    assert 1.0 < both < alone - 0.05


def test_leave_one_out_scores_speak_before_the_first_prediction():
    loo = 3.0 * np.random.default_rng(6).normal(size=20)
    assert Recalibrator().scale() == 1.0
    assert 1.5 < Recalibrator().scale(loo.tolist()) < 4.0


def hunt(seed, true_lengthscale, believed_lengthscale, noise_std=0.05, picks=30):
    """Return prequential z of picks by upper confidence bound in a drawn field, and leave-one-out z at the end."""
    rng, side = np.random.default_rng(seed), np.linspace(0.0, 1.0, 14)
    pool = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    truth, belief = (
        Prior("matern52", ((0, 1),), ((scale, scale),), (1.0,), 0.0, 0.0)
        for scale in (true_lengthscale, believed_lengthscale)
    )
    covariance = truth.covariance(pool, pool) + 1e-8 * np.eye(len(pool))
    y = np.linalg.cholesky(covariance) @ rng.normal(size=len(pool)) + noise_std * rng.normal(size=len(pool))
    seen, z = rng.choice(len(pool), 10, replace=False).tolist(), []
    model = ExactPosterior(belief, pool[seen], y[seen], np.full(10, noise_std**2))
    for _ in range(picks):
        mean, variance = model.predict(pool)
        hope = mean + 2.0 * np.sqrt(variance)
        hope[seen] = -np.inf
        pick = int(np.argmax(hope))
        z.append((y[pick] - mean[pick]) / np.sqrt(variance[pick] + noise_std**2))
        seen.append(pick)
        model.extend(pool[pick], float(y[pick]), noise_std**2)
    mean, variance = model.leave_one_out()
    return np.array(z), (model.y - mean) / np.sqrt(variance)


def test_picks_of_an_acquisition_are_honest_forecasts_where_the_model_is_right():
    z = np.concatenate([hunt(seed, 0.3, 0.3)[0] for seed in range(30)])
    assert abs(z.mean()) < 0.1  # 900 forecasts: standard error 0.033
    assert z.std() == pytest.approx(1.0, abs=0.07)


def test_where_the_model_is_wrong_picks_are_biased_and_leave_one_out_much_less():
    runs = [hunt(seed, 0.15, 0.5) for seed in range(30)]
    picked, rest = (float(np.mean([run[i].mean() for run in runs])) for i in (0, 1))
    assert picked < -0.3
    assert abs(rest) < 0.5 * abs(picked)
    assert all(honest_scale(z, loo) > 2.0 for z, loo in runs)


@pytest.mark.parametrize(("z", "bound"), [(np.full(50, 1e6), 4.0), (np.zeros(500), 0.25)])
def test_the_factor_stays_in_bounds(z, bound):
    assert honest_scale(z) == bound


def test_the_recalibrator_forgets_what_is_older_than_its_window():
    learner = told(Recalibrator(window=30), 5.0 * np.ones(40), np.zeros(40), np.ones(40))
    assert learner.scale() == 4.0
    z = np.random.default_rng(7).normal(size=30)
    assert told(learner, z, np.zeros(30), np.ones(30)).scale() == honest_scale(z)


@pytest.mark.parametrize("make", [lambda: Recalibrator(window=0), lambda: Recalibrator(doubt=1.0)])
def test_a_recalibrator_that_cannot_learn_is_refused(make):
    with pytest.raises(ModelError, match="cannot learn"):
        make()


def test_pit_of_recalibrated_forecasts_is_uniform():
    y, mean, std = draws(400, spread=2.0, seed=8)
    factor = told(Recalibrator(window=200), y, mean, std).scale()
    assert kstest(z_scores(y, mean, std * factor), "norm").pvalue > 0.01
    assert kstest(z_scores(y, mean, std), "norm").pvalue < 1e-6


@pytest.mark.parametrize("make", [lambda: Prequential(window=7, forgetting=0.9), lambda: Recalibrator(window=7)])
def test_a_restored_tracker_goes_on_to_the_bit(make):
    first, second = draws(11, seed=9), draws(5, seed=10)
    whole = told(told(make(), *first), *second)
    resumed = make()
    resumed.restore(json.loads(json.dumps(told(make(), *first).state())))
    assert told(resumed, *second).state() == whole.state()
