"""The health ladder: right models are left alone, useless ones stepped over, recovered ones brought back."""

import json
import math

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from autoscope.errors import ModelError
from autoscope.surrogates.health import (
    HEDGE,
    UNUSABLE,
    HealthMonitor,
    Rung,
    bet,
    judged_std,
    log_density,
    reference_log_density,
    student_log_density,
)
from autoscope.surrogates.recalibration import Recalibrator


def stream(seed, useful, spread, inflation=1.0, steps=200, burn_in=10):
    """Yield values with a model's forecast and the density that the running mean and spread gave."""
    rng = np.random.default_rng(seed)
    seen = []
    for step in range(burn_in + steps):
        mean = rng.normal()
        value = mean + inflation * spread * rng.normal() if useful else rng.normal() * math.hypot(1.0, spread)
        if step >= burn_in:
            n, width = len(seen), np.std(seen, ddof=1) * math.sqrt(1.0 + 1.0 / len(seen))
            yield value, mean, spread, student_log_density(value, float(np.mean(seen)), float(width), n - 1.0)
        seen.append(value)


def first_demotion(seed, recalibrate=True, **planted):
    monitor, learner = HealthMonitor(), Recalibrator()
    for step, (value, mean, std, reference) in enumerate(stream(seed, **planted), start=1):
        judged = judged_std(std, learner.scale()) if recalibrate else std
        if monitor.tell({"full": log_density(value, mean, judged)}, reference).changed:
            return step
        learner.tell(mean, std, value)
    return math.inf


# --- densities ---


def test_densities_are_those_of_the_normal_and_of_student():
    assert log_density(1.3, 0.2, 2.0) == pytest.approx(norm.logpdf(1.3, 0.2, 2.0))
    assert student_log_density(1.3, 0.2, 2.0, 4.0) == pytest.approx(student.logpdf(1.3, 4.0, 0.2, 2.0))


@pytest.mark.parametrize(("mean", "std"), [(np.nan, 1.0), (0.0, np.nan), (0.0, 0.0), (0.0, np.inf), (0.0, -1.0)])
def test_a_forecast_that_is_none_has_the_worst_density(mean, std):
    assert log_density(0.0, mean, std) == UNUSABLE


def field(seed, n=40, smooth=True):
    rng = np.random.default_rng(seed)
    places = rng.uniform(size=(n + 1, 2))
    values = np.sin(4 * places[:, 0]) + places[:, 1] if smooth else rng.normal(size=n + 1)
    return float(values[-1]), places[-1], places[:-1], values[:-1]


def test_the_reference_density_integrates_to_one():
    _, place, places, values = field(0)
    grid = np.linspace(-10.0, 12.0, 1501)
    density = [math.exp(reference_log_density(float(v), place, places[:12], values[:12])) for v in grid]
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=0.005)


def test_the_reference_gains_from_neighbours_in_a_smooth_field_and_loses_little_in_noise():
    def gain(smooth):
        gains = []
        for seed in range(60):
            value, place, places, values = field(seed, smooth=smooth)
            width = float(np.std(values, ddof=1)) * math.sqrt(1.0 + 1.0 / len(values))
            plain = student_log_density(value, float(np.mean(values)), width, len(values) - 1.0)
            gains.append(reference_log_density(value, place, places, values) - plain)
        return np.array(gains)

    assert np.mean(gain(smooth=True)) > 0.5
    assert np.mean(gain(smooth=False)) > -0.1
    assert np.min(gain(smooth=False)) > -math.log(2.0) - 1e-9


def test_the_reference_does_not_depend_on_the_unit_of_length():
    value, place, places, values = field(1)
    here = reference_log_density(value, place, places, values)
    assert reference_log_density(value, place * 1e-9, places * 1e-9, values) == pytest.approx(here, rel=1e-9)


@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
def test_constant_values_and_repeated_places_still_have_a_reference(values):
    places = np.zeros((len(values), 2))
    assert math.isfinite(reference_log_density(values[0], np.zeros(2), places, np.array(values)))
    assert math.isfinite(reference_log_density(7.0, np.ones(2), places, np.array(values)))


def test_a_reference_without_past_is_refused():
    with pytest.raises(ModelError, match="needs a past"):
        reference_log_density(0.0, np.zeros(2), np.zeros((2, 2)), np.zeros(2))


# --- the bet ---


@pytest.mark.parametrize("other", [norm(1.0, 1.0), norm(0.0, 3.0), norm(0.2, 0.3), norm(5.0, 0.1)])
def test_against_a_right_model_no_bet_is_expected_to_gain(other):
    y = np.linspace(-12.0, 12.0, 40_001)
    gains = np.array([math.exp(bet(float(d))) for d in other.logpdf(y) - norm.logpdf(y)])
    assert np.trapezoid(gains * norm.pdf(y), y) <= 1.0 + 1e-9


def test_no_single_value_speaks_louder_than_the_hedge_allows():
    assert bet(1e6) == pytest.approx(-math.log(HEDGE))
    assert bet(-1e6) == pytest.approx(-1e6, rel=1e-4)


# --- the ladder ---


@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_a_right_model_is_hardly_ever_demoted_in_two_hundred_steps(spread):
    alarms = [first_demotion(seed, recalibrate=False, useful=True, spread=spread) <= 200 for seed in range(80)]
    assert np.mean(alarms) < 0.05


def test_a_useful_model_may_be_over_confident_by_a_half():
    alarms = [first_demotion(seed, useful=True, spread=0.3, inflation=1.5) <= 200 for seed in range(40)]
    assert np.mean(alarms) < 0.05


@pytest.mark.parametrize(("spread", "usually", "nearly_always"), [(0.2, 8, 16), (0.3, 12, 22)])
def test_an_over_confident_model_unrelated_to_the_truth_is_demoted_soon(spread, usually, nearly_always):
    steps = [first_demotion(seed, useful=False, spread=spread) for seed in range(100)]
    assert np.median(steps) <= usually
    assert np.quantile(steps, 0.95) <= nearly_always


def test_a_model_that_fails_late_is_found_as_soon_as_one_that_fails_at_once():
    delays = []
    for seed in range(40):
        monitor = HealthMonitor()
        for value, mean, std, reference in stream(seed, useful=True, spread=0.3, steps=150):
            monitor.tell({"full": log_density(value, mean, std)}, reference)
        bad = stream(1000 + seed, useful=False, spread=0.3, steps=60)
        changed = [monitor.tell({"full": log_density(v, m, s)}, r).changed for v, m, s, r in bad]
        delays.append(changed.index(True) + 1)
    assert np.quantile(delays, 0.9) <= 20


def test_one_wild_value_demotes_nobody():
    monitor = HealthMonitor()
    assert monitor.tell({"full": -1e5}, -1.0).rung == "ok"
    assert monitor.tell({"full": -1.0}, -2.0).rung == "ok"
    assert monitor.tell({"full": -1e5}, -1.0).rung == "ok"


def until_changed(monitor, forecasts, reference=-1.0, limit=200):
    for step in range(1, limit + 1):
        verdict = monitor.tell(forecasts, reference)
        if verdict.changed:
            return verdict, step
    raise AssertionError("nothing changed")


def test_every_remedy_is_tried_in_turn_before_space_is_filled():
    monitor, rungs = HealthMonitor(), []
    for _ in range(4):
        verdict, _ = until_changed(
            monitor, {"full": -5.0, "coordinates": -1.0} if len(rungs) < 3 else {"coordinates": -9}
        )
        rungs.append(verdict.rung)
    assert rungs == ["refit_cold", "roll_back", "coordinates", "space_filling"]
    assert monitor.tell({}, -1.0).rung == "space_filling"


def test_a_rung_whose_own_forecasts_fail_is_stepped_over():
    monitor, rungs = HealthMonitor(), []
    for _ in range(3):
        rungs.append(until_changed(monitor, {"full": -5.0, "coordinates": -6.0})[0].rung)
    assert rungs == ["refit_cold", "roll_back", "space_filling"]


def test_forecasts_told_in_the_shadow_bring_a_recovered_model_back():
    monitor = HealthMonitor()
    until_changed(monitor, {"full": -9.0})
    until_changed(monitor, {"full": -9.0})
    assert until_changed(monitor, {"full": -9.0, "coordinates": -0.9})[0].rung == "coordinates"
    verdict, steps = until_changed(monitor, {"full": 0.5, "coordinates": -0.9})
    assert verdict.rung == "ok"
    assert verdict.statistic >= verdict.threshold
    assert steps >= 6


def test_a_remedy_that_worked_is_forgotten_once_the_model_has_proved_itself():
    monitor = HealthMonitor()
    assert until_changed(monitor, {"full": -9.0})[0].rung == "refit_cold"
    assert until_changed(monitor, {"full": 1.0})[0].rung == "ok"


def test_every_relapse_doubles_the_wait_for_promotion():
    monitor, waits = HealthMonitor(patience=10), []
    for _ in range(4):
        until_changed(monitor, {"full": -9.0})
        waits.append(until_changed(monitor, {"full": 9.0})[1])
    assert waits == [10, 20, 40, 80]


def test_a_demoted_model_that_is_no_better_than_the_reference_stays_down():
    for seed in range(20):
        monitor = HealthMonitor((Rung(name="ok", forecaster="full"), Rung(name="space_filling", forecaster=None)))
        until_changed(monitor, {"full": -9.0})
        for value, mean, std, reference in stream(seed, useful=False, spread=0.5):
            verdict = monitor.tell({"full": log_density(value, mean, std)}, reference)
        assert verdict.rung == "space_filling"


def test_an_exception_steps_down_at_once_and_ends_at_the_bottom():
    monitor = HealthMonitor()
    verdict = monitor.fail("the covariance cannot be factorised")
    assert (verdict.rung, verdict.changed) == ("refit_cold", True)
    assert "factorised" in verdict.reason
    assert [monitor.fail("again").rung for _ in range(4)] == ["roll_back", "coordinates", *["space_filling"] * 2]


def test_a_verdict_says_in_words_what_the_figures_say():
    verdict, _ = until_changed(HealthMonitor(), {"full": -9.0})
    assert verdict.threshold == pytest.approx(math.log(200 / 0.05))
    assert f"{verdict.statistic:.1f} nats" in verdict.reason
    assert "refit_cold" in verdict.reason


def test_forecasts_that_are_not_finite_count_as_unusable():
    monitor = HealthMonitor()
    assert until_changed(monitor, {"full": math.nan})[1] == 3


@pytest.mark.parametrize(("forecasts", "reference"), [({"nobody": 0.0}, 0.0), ({"full": 0.0}, math.nan)])
def test_strangers_and_broken_references_are_refused(forecasts, reference):
    with pytest.raises(ModelError, match="cannot be judged"):
        HealthMonitor().tell(forecasts, reference)


@pytest.mark.parametrize("settings", [{"rungs": ()}, {"false_alarm": 0.0}, {"horizon": 0}, {"patience": -1}])
def test_settings_without_sense_are_refused(settings):
    with pytest.raises(ModelError, match="cannot be judged so"):
        HealthMonitor(**settings)


def test_a_restored_monitor_goes_on_to_the_bit():
    rows = [
        ({"full": log_density(v, m, s), "coordinates": r - 0.1}, r) for v, m, s, r in stream(3, False, 0.3, steps=60)
    ]
    whole, half, resumed = HealthMonitor(), HealthMonitor(), HealthMonitor()
    verdicts = [whole.tell(*row) for row in rows]
    for row in rows[:31]:
        half.tell(*row)
    resumed.restore(json.loads(json.dumps(half.state())))
    assert resumed.verdict == verdicts[30]
    assert [resumed.tell(*row) for row in rows[31:]] == verdicts[31:]
    assert resumed.state() == whole.state()
    assert len({v.rung for v in verdicts}) > 1
