"""Calibration figures against draws whose answer is known."""

import numpy as np
import pytest
from scipy.stats import norm

from autoscope.surrogates.calibration import calibration, coverage, log_score, z_scores


def draws(n=20_000, spread=1.0):
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=n), rng.uniform(0.5, 2.0, n)
    return mean + spread * std * rng.normal(size=n), mean, std


def test_an_honest_forecaster_has_standard_z_and_covers_ninety_per_cent():
    found = calibration(*draws())
    assert found.n == 20_000
    assert found.mean_z == pytest.approx(0.0, abs=0.03)
    assert found.std_z == pytest.approx(1.0, abs=0.03)
    assert found.coverage_90 == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(("spread", "level"), [(2.0, 0.9), (0.5, 0.9), (1.0, 0.5)])
def test_coverage_of_a_misjudged_spread_is_what_the_normal_law_says(spread, level):
    expected = 2.0 * norm.cdf(norm.ppf(0.5 + level / 2.0) / spread) - 1.0
    assert coverage(*draws(spread=spread), level) == pytest.approx(expected, abs=0.01)


def test_log_score_prefers_the_honest_spread():
    y, mean, std = draws()
    assert log_score(y, mean, std) > max(log_score(y, mean, 2.0 * std), log_score(y, mean, 0.5 * std))
    assert log_score(np.zeros(1), np.zeros(1), np.ones(1)) == pytest.approx(-0.5 * np.log(2 * np.pi))


def test_z_scores_undo_scale_and_shift():
    y, mean, std = draws(100)
    np.testing.assert_allclose(z_scores(3 * y + 5, 3 * mean + 5, 3 * std), z_scores(y, mean, std))
