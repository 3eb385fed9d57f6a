"""What is kept between two questions is never out of date."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from autoscope.surrogates.calibration import rank_correlation
from autoscope.surrogates.contest import Contest
from autoscope.surrogates.recalibration import PSEUDO_MEDIANS, Recalibrator, honest_scale, robust_mean_square


@pytest.fixture
def z():
    return np.random.default_rng(3).normal(scale=3.0, size=40)


def test_a_factor_asked_after_every_forecast_is_that_of_all_forecasts_so_far(z):
    learner, left_out = Recalibrator(), z[::-1].copy()
    for k, error in enumerate(z):
        assert learner.scale(left_out) == honest_scale(z[:k], left_out)
        assert learner.scale() == learner.scale() == honest_scale(z[:k])
        learner.tell(0.0, 1.0, error)


def test_a_factor_follows_the_leave_one_out_errors_it_is_given(z):
    learner = Recalibrator()
    small, large = 0.1 * z, 10.0 * z
    assert [learner.scale(each) for each in (small, large, small)] == [
        honest_scale(np.empty(0), each) for each in (small, large, small)
    ]


def test_a_factor_asked_before_a_restore_is_not_that_asked_after_it(z):
    learner, other = Recalibrator(), Recalibrator()
    for error in z:
        learner.tell(0.0, 1.0, error)
    assert other.scale() == 1.0
    other.restore(json.loads(json.dumps(learner.state())))
    assert other.scale() == learner.scale() > 1.0


@pytest.mark.parametrize("count", [1, 2, 3, 10, 11])
def test_the_robust_mean_square_rests_on_the_median_numpy_finds(z, count):
    size = np.abs(z[:count])
    median = np.median(np.concatenate([size, np.full(PSEUDO_MEDIANS, 0.6744897501960817)]))
    clipped = np.minimum(size, 2.5 * median / 0.6744897501960817)
    assert robust_mean_square(z[:count], PSEUDO_MEDIANS) / robust_mean_square(np.array([1e-9]), PSEUDO_MEDIANS) == (
        pytest.approx(np.mean(clipped**2) / 1e-18, rel=1e-12)
    )


def test_a_standing_follows_forecasts_appraisals_and_restored_states():
    contest, fresh = Contest(["a", "b"]), Contest(["a", "b"])
    before = contest.standing()
    contest.tell({"a": -3.0, "b": -1.0})
    after = contest.standing()
    assert after.weight("b") > before.weight("b")
    contest.appraise({"a": -1.0, "b": -9.0}, 4)
    assert contest.standing().weight("b") < after.weight("b")
    assert fresh.standing() == before
    fresh.restore(json.loads(json.dumps(contest.state())))
    assert fresh.standing() == contest.standing() == contest.standing()


@pytest.mark.parametrize("levels", [4, 30, 10**6])
def test_rank_correlation_with_ties_is_that_of_scipy(levels):
    rng = np.random.default_rng(levels)
    a, b = rng.integers(levels, size=(2, 50)).astype(np.float64)
    b = b + 0.5 * a
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert rank_correlation(a, -a) == pytest.approx(-1.0)
