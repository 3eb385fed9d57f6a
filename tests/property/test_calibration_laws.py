"""Laws of calibration, recalibration, health and contest that hold for any data."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscope.surrogates.calibration import Prequential, crps, log_densities, pit_histogram
from autoscope.surrogates.contest import Contest, moment_match, softmax, stacking_weights
from autoscope.surrogates.health import HealthMonitor, bet
from autoscope.surrogates.recalibration import (
    SCALE_BOUNDS,
    Recalibrator,
    honest_scale,
    posterior_scale,
    robust_mean_square,
)

numbers = st.floats(-50.0, 50.0)
spreads = st.floats(0.05, 20.0)
factors = st.floats(0.1, 10.0)
scores = st.lists(numbers, min_size=1, max_size=40).map(np.array)
forecasts = st.lists(st.tuples(numbers, spreads, numbers), min_size=1, max_size=30)
nats = st.floats(-30.0, 10.0)


def told(tracker, rows):
    for row in rows:
        tracker.tell(*row)
    return tracker


@given(forecasts, factors, numbers)
def test_figures_do_not_depend_on_the_unit_of_the_target(rows, factor, shift):
    plain = told(Prequential(window=10), rows).recent()
    changed = told(Prequential(window=10), [(factor * m + shift, factor * s, factor * y + shift) for m, s, y in rows])
    figures = changed.recent()
    assert figures.mean_z == pytest.approx(plain.mean_z, abs=1e-6)
    assert figures.sharpness == pytest.approx(factor * plain.sharpness)
    assert figures.crps == pytest.approx(factor * plain.crps, abs=1e-6)
    assert figures.log_score == pytest.approx(plain.log_score - math.log(factor), abs=1e-3)


@given(forecasts)
def test_shares_lie_between_zero_and_one_and_fill_the_histogram(rows):
    total = told(Prequential(), rows).total()
    assert 0.0 <= total.coverage_50 <= total.coverage_90 <= 1.0
    assert sum(total.pit) == pytest.approx(1.0)
    mean, std, y = np.array(rows).T
    assert pit_histogram(y, mean, std).sum() == len(rows)


@given(numbers, spreads, numbers)
def test_crps_lies_between_zero_and_the_absolute_error_plus_the_spread(mean, std, y):
    found = float(crps(np.array([y]), np.array([mean]), np.array([std]))[0])
    assert -1e-12 <= found <= abs(y - mean) + std


@given(numbers, spreads, factors)
def test_honest_spread_scores_best_on_average(mean, std, factor):
    z = np.linspace(-8.0, 8.0, 2001)
    weight = np.exp(-0.5 * z * z)
    y = mean + std * z
    honest, other = (log_densities(y, np.full(2001, mean), np.full(2001, s)) for s in (std, factor * std))
    assert weight @ honest >= weight @ other - 1e-9


@given(scores, factors)
def test_the_robust_mean_square_is_homogeneous_of_degree_two(z, factor):
    assert robust_mean_square(factor * z) == pytest.approx(factor**2 * robust_mean_square(z), rel=1e-9, abs=1e-300)


@given(scores, st.lists(st.floats(1.0, 5.0), min_size=40, max_size=40), st.integers(0, 5))
@settings(max_examples=60)
def test_larger_errors_never_give_a_smaller_spread_or_factor(z, stretch, pseudo):
    larger = z * np.array(stretch)[: len(z)]
    assert robust_mean_square(larger, pseudo) >= robust_mean_square(z, pseudo) * (1 - 1e-12)
    assert honest_scale(larger) >= honest_scale(z) * (1 - 1e-9)


@given(scores)
def test_the_sign_and_order_of_errors_do_not_matter_to_the_factor(z):
    assert honest_scale(np.sort(-z)) == pytest.approx(honest_scale(z), rel=1e-12)


@given(st.floats(0.0, 500.0), st.floats(0.0, 5000.0), st.floats(0.01, 0.99), st.floats(0.1, 20.0))
def test_the_factor_lies_between_one_and_the_plain_estimate_within_bounds(count, squares, doubt, prior_count):
    found = posterior_scale(count, squares, doubt, prior_count)
    plain = math.sqrt((prior_count + squares) / (prior_count + count))
    low, high = min(1.0, plain), max(1.0, plain)
    assert SCALE_BOUNDS[0] <= found <= SCALE_BOUNDS[1]
    assert max(low, SCALE_BOUNDS[0]) - 1e-9 <= found <= min(high, SCALE_BOUNDS[1]) + 1e-9


@given(st.floats(0.3, 3.0), st.integers(0, 2**32 - 1))
def test_dividing_predicted_spreads_by_a_constant_multiplies_the_factor_by_it(constant, seed):
    z = np.random.default_rng(seed).normal(size=2000)
    plain, stretched = math.sqrt(robust_mean_square(z)), honest_scale(constant * z)
    assert stretched == pytest.approx(constant * plain, rel=0.06)


@given(forecasts, forecasts)
def test_trackers_are_folds(first, second):
    for make in (lambda: Prequential(window=5, forgetting=0.9), lambda: Recalibrator(window=5)):
        resumed = make()
        resumed.restore(json.loads(json.dumps(told(make(), first).state())))
        assert told(resumed, second).state() == told(make(), first + second).state()


steps = st.lists(st.tuples(nats, nats, nats), min_size=1, max_size=40)


@given(steps, st.integers(0, 40))
def test_the_health_monitor_is_a_fold_and_moves_one_verdict_at_a_time(rows, cut):
    whole, half = HealthMonitor(), HealthMonitor()
    rung = whole.verdict.rung
    for full, simple, reference in rows:
        verdict = whole.tell({"full": full, "coordinates": simple}, reference)
        assert verdict.changed == (verdict.rung != rung)
        rung = verdict.rung
    for full, simple, reference in rows[:cut]:
        half.tell({"full": full, "coordinates": simple}, reference)
    resumed = HealthMonitor()
    resumed.restore(json.loads(json.dumps(half.state())))
    for full, simple, reference in rows[cut:]:
        resumed.tell({"full": full, "coordinates": simple}, reference)
    assert resumed.state() == whole.state()


@given(steps)
@settings(max_examples=40)
def test_a_model_never_worse_than_the_reference_is_never_demoted(rows):
    monitor = HealthMonitor()
    for full, _, reference in rows * 5:
        assert monitor.tell({"full": max(full, reference)}, reference).rung == "ok"


@given(st.floats(-1e3, 1e3), st.floats(0.0, 1e3))
def test_a_bet_never_falls_when_the_lead_grows(lead, more):
    assert bet(lead + more) >= bet(lead) - 1e-12


mixtures = st.lists(st.tuples(numbers, spreads, st.floats(0.01, 1.0)), min_size=1, max_size=5)


@given(mixtures, factors, numbers)
def test_a_mixture_spreads_at_least_as_its_members_do_on_average_and_moves_with_the_unit(members, factor, shift):
    means, stds = ([np.array([row[i]]) for row in members] for i in (0, 1))
    weights = np.array([row[2] for row in members]) / sum(row[2] for row in members)
    mean, std = moment_match(means, stds, weights)
    within = math.sqrt(sum(w * s[0] ** 2 for w, s in zip(weights, stds, strict=True)))
    assert std[0] >= within * (1 - 1e-9)
    assert min(m[0] for m in means) - 1e-9 <= mean[0] <= max(m[0] for m in means) + 1e-9
    moved, wider = moment_match([factor * m + shift for m in means], [factor * s for s in stds], weights)
    assert moved[0] == pytest.approx(factor * mean[0] + shift, abs=1e-6)
    assert wider[0] == pytest.approx(factor * std[0], rel=1e-6)


tables = st.lists(st.tuples(nats, nats, nats), min_size=1, max_size=15)


@given(tables)
@settings(max_examples=40)
def test_stacking_never_foretells_worse_than_the_best_single_rival(rows):
    log = np.array(rows)
    weights = stacking_weights(log)
    assert weights.sum() == pytest.approx(1.0)
    relative = np.exp(log - log.max(axis=1, keepdims=True))
    reached = np.mean(np.log(np.maximum(relative @ weights, 1e-300)))
    assert reached >= np.max(np.mean(np.log(relative), axis=0)) - 1e-4


@given(tables, st.floats(-100.0, 100.0))
def test_what_all_rivals_gain_together_changes_no_weight(rows, shift):
    plain, shifted = Contest("abc"), Contest("abc")
    for row in rows:
        plain.tell(dict(zip("abc", row, strict=True)))
        shifted.tell({name: value + shift for name, value in zip("abc", row, strict=True)})
    assert sum(plain.standing().weights) == pytest.approx(1.0)
    np.testing.assert_allclose(plain.standing().weights, shifted.standing().weights, atol=1e-6)


@given(tables, st.integers(0, 15))
def test_the_contest_is_a_fold(rows, cut):
    whole, half, resumed = Contest("abc"), Contest("abc"), Contest("abc")
    for row in rows:
        whole.tell(dict(zip("abc", row, strict=True)))
    for row in rows[:cut]:
        half.tell(dict(zip("abc", row, strict=True)))
    resumed.restore(json.loads(json.dumps(half.state())))
    for row in rows[cut:]:
        resumed.tell(dict(zip("abc", row, strict=True)))
    assert resumed.state() == whole.state()


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=6), st.floats(-1e4, 1e4))
def test_weights_sum_to_one_and_keep_the_order_of_scores(values, shift):
    weights = softmax(values)
    assert weights.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(softmax(np.array(values) + shift), weights, atol=1e-9)
    assert weights[int(np.argmax(values))] == weights.max()
