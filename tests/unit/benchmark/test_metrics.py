"""Every metric against an oracle: brute force, scipy, or numerical integration."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from autoscope.benchmark.metrics import BestSoFarArea, SimpleRegret, TargetCoverage, ToLevel, TopFound
from autoscope.benchmark.metrics_effort import DecisionLatency, Dose, InstrumentTime, PeakMemory, Travel
from autoscope.benchmark.metrics_map import (
    CRPS,
    CalibrationError,
    IntervalCoverage,
    MapError,
    RankCorrelation,
    Sharpness,
    gaussian_crps,
)
from autoscope.benchmark.trace import Metric, Trace, Truth
from autoscope.registry import available, load

ROWS, COLUMNS = 8, 10
POOL = ROWS * COLUMNS


@pytest.fixture
def truth():
    values = np.random.default_rng(5).gamma(2.0, 3.0, POOL) - 2.0
    xy_m = np.stack(np.divmod(np.arange(POOL), COLUMNS)[::-1], axis=1) * 1e-9
    return Truth("planted", values, xy_m, (ROWS, COLUMNS), "counts")


@pytest.fixture
def trace(truth):
    rng = np.random.default_rng(6)
    chosen = rng.permutation(POOL)[:30]
    std = rng.uniform(0.1, 0.4, 30)
    mean = truth.values[chosen] + rng.normal(0.0, 0.5, 30)
    return Trace(
        chosen=chosen,
        value=truth.values[chosen] + std * rng.normal(size=30),
        std=std,
        time_s=np.cumsum(rng.uniform(0.1, 0.2, 30)),
        dose_e=np.cumsum(rng.uniform(1e6, 2e6, 30)),
        travel_m=np.cumsum(rng.uniform(0.0, 1e-8, 30)),
        latency_s=rng.exponential(0.01, 30),
        mean=np.where(np.arange(30) < 5, np.nan, mean),
        sd=np.where(np.arange(30) < 5, np.nan, 0.5),
        maps={n: (truth.values + rng.normal(0.0, 0.7, POOL), rng.uniform(0.4, 1.0, POOL)) for n in (10, 30)},
        peak_rss_bytes=123456,
    )


def made(cls, **settings):
    return cls(cls.Config(**settings))


def test_every_registered_metric_keeps_the_protocol_and_gives_a_finite_number(trace, truth):
    names = [plugin.name for plugin in available("metrics") if plugin.distribution == "autoscope"]
    assert len(names) >= 16
    for name in names:
        metric = made(load("metrics", name))
        assert isinstance(metric, Metric)
        assert metric.better in ("higher", "lower")
        assert math.isfinite(metric(trace, truth)), name


def test_regret_is_what_is_missing_to_the_best_of_the_truth_not_of_the_noisy_draw(trace, truth):
    value = made(SimpleRegret)(trace, truth)
    best = max(truth.values[k] for k in trace.chosen)
    assert value == pytest.approx((max(truth.values) - best) / (max(truth.values) - min(truth.values)))
    loud = Trace(**{**vars(trace), "value": trace.value + 100.0})
    assert made(SimpleRegret)(loud, truth) == value


def test_inference_regret_believes_the_measured_values(trace, truth):
    value = made(SimpleRegret, recommended=True)(trace, truth)
    at = trace.chosen[np.argmax(trace.value)]
    assert value == pytest.approx((truth.values.max() - truth.values[at]) / np.ptp(truth.values))
    assert value >= made(SimpleRegret)(trace, truth)


def test_best_so_far_area_is_the_mean_of_the_running_best(trace, truth):
    running, best = [], -math.inf
    for k in trace.chosen:
        best = max(best, truth.values[k])
        running.append((best - truth.values.min()) / np.ptp(truth.values))
    assert made(BestSoFarArea)(trace, truth) == pytest.approx(sum(running) / len(running))


@pytest.mark.parametrize("per", ["measurement", "time", "dose"])
def test_to_level_counts_what_was_spent_until_the_first_place_of_that_level(trace, truth, per):
    level = truth.values.min() + 0.5 * np.ptp(truth.values)
    first = next(k for k, place in enumerate(trace.chosen) if truth.values[place] >= level)
    spent = {"measurement": first + 1, "time": trace.time_s[first], "dose": trace.dose_e[first]}[per]
    assert made(ToLevel, level=0.5, per=per)(trace, truth) == spent


def test_to_level_is_infinite_where_it_was_never_reached_and_knows_when_it_was_censored(trace, truth):
    metric, worst = made(ToLevel), np.argsort(truth.values)[:30]
    never = Trace(**{**vars(trace), "chosen": worst})
    assert metric(never, truth) == math.inf
    assert metric.horizon(never) == 30
    assert made(ToLevel, per="dose").horizon(never) == trace.dose_e[-1]


def test_top_found_counts_the_best_places_that_could_have_been_found(trace, truth):
    best = set(np.argsort(-truth.values)[:8].tolist())
    assert made(TopFound, top=0.1)(trace, truth) == len(best & set(trace.chosen.tolist())) / 8
    four = made(TopFound, top=0.1, after=4)(trace, truth)
    assert four == len(best & set(trace.chosen[:4].tolist())) / 4


def test_places_as_good_as_the_worst_of_the_best_count_as_found(truth, trace):
    flat = Truth("flat", np.ones(POOL), truth.xy_m, truth.shape)
    assert made(TopFound, top=0.1)(trace, flat) == 1.0
    assert made(SimpleRegret)(trace, flat) == 0.0
    assert made(RankCorrelation)(trace, flat) == 0.0


def test_target_coverage_is_the_share_of_levels_seen(trace, truth):
    edges = np.linspace(truth.values.min(), truth.values.max(), 21)
    bins = np.clip(np.digitize(truth.values, edges) - 1, 0, 19)
    assert made(TargetCoverage)(trace, truth) == len({bins[k] for k in trace.chosen}) / len(set(bins))


def test_map_error_and_rank_correlation_agree_with_scipy(trace, truth):
    mean = trace.maps[30][0]
    rmse = math.sqrt(sum((mean - truth.values) ** 2) / POOL)
    assert made(MapError, normalised=False)(trace, truth) == pytest.approx(rmse)
    assert made(MapError)(trace, truth) == pytest.approx(rmse / np.ptp(truth.values))
    assert made(RankCorrelation)(trace, truth) == pytest.approx(stats.spearmanr(mean, truth.values).statistic)
    assert made(RankCorrelation, after=10)(trace, truth) == pytest.approx(
        stats.spearmanr(trace.maps[10][0], truth.values).statistic
    )


def test_without_a_map_there_is_no_map_error_and_beyond_the_end_no_number_at_all(trace, truth):
    blind = Trace(**{**vars(trace), "maps": {}})
    for cls in (MapError, RankCorrelation, IntervalCoverage, CalibrationError, Sharpness, CRPS):
        assert made(cls)(blind, truth) is None
        assert made(cls, after=20)(trace, truth) is None
    for cls in (SimpleRegret, BestSoFarArea, TopFound, TargetCoverage, Travel, DecisionLatency):
        assert made(cls, after=31)(trace, truth) is None


def test_crps_agrees_with_its_definition_as_an_integral():
    for mean, std, outcome in [(0.0, 1.0, 0.3), (2.0, 0.5, -1.0), (-3.0, 4.0, 5.0)]:

        def score(x, mean=mean, std=std, outcome=outcome):
            return (stats.norm.cdf(x, mean, std) - (x >= outcome)) ** 2

        whole = [integrate.quad(score, *ends)[0] for ends in ((-60.0, outcome), (outcome, 60.0))]
        found = gaussian_crps(np.array([mean]), np.array([std]), np.array([outcome]))[0]
        assert found == pytest.approx(sum(whole), rel=1e-6)


def test_calibration_is_judged_on_places_not_measured_against_the_truth(trace, truth):
    left = [k for k in range(POOL) if k not in trace.chosen]
    mean, std = trace.maps[30]
    z = np.abs(truth.values - mean)[left] / std[left]
    assert made(IntervalCoverage)(trace, truth) == pytest.approx(np.mean(z <= stats.norm.ppf(0.95)))
    assert made(Sharpness)(trace, truth) == pytest.approx(std[left].mean() / np.ptp(truth.values))
    levels = [0.05 * k for k in range(1, 20)]
    gaps = [abs(np.mean(z <= stats.norm.ppf(0.5 + level / 2)) - level) for level in levels]
    assert made(CalibrationError)(trace, truth) == pytest.approx(np.mean(gaps))


def test_forecasts_are_judged_by_what_was_measured_with_its_noise(trace, truth):
    made_at = range(5, 30)
    inside = [
        abs(trace.value[k] - trace.mean[k]) <= stats.norm.ppf(0.95) * math.hypot(0.5, trace.std[k]) for k in made_at
    ]
    assert made(IntervalCoverage, of="forecasts")(trace, truth) == pytest.approx(np.mean(inside))
    silent = Trace(**{**vars(trace), "mean": np.full(30, np.nan)})
    assert made(CRPS, of="forecasts")(silent, truth) is None


def test_an_honest_forecaster_covers_what_it_promises():
    rng = np.random.default_rng(0)
    values = rng.normal(size=4000)
    xy_m, std = np.zeros((4000, 2)), rng.uniform(0.5, 2.0, 4000)
    true = Truth("wide", values + std * rng.normal(size=4000), xy_m, (40, 100))
    one = np.ones(1)
    trace = Trace(np.zeros(1, int), one, one, one, one, one, one, one, one, maps={1: (values, std)})
    assert made(IntervalCoverage)(trace, true) == pytest.approx(0.9, abs=0.02)
    assert made(CalibrationError)(trace, true) < 0.02
    bold = Trace(**{**vars(trace), "maps": {1: (values, 0.3 * std)}})
    assert made(CalibrationError)(bold, true) > 0.2
    assert made(CRPS)(bold, true) > made(CRPS)(trace, true)


def test_effort_is_what_was_spent_by_then(trace, truth):
    assert made(Travel)(trace, truth) == trace.travel_m[-1]
    assert made(Dose, after=7)(trace, truth) == trace.dose_e[6]
    assert made(InstrumentTime)(trace, truth) == trace.time_s[-1]
    assert made(DecisionLatency)(trace, truth) == pytest.approx(np.median(trace.latency_s))
    assert made(DecisionLatency, quantile=0.99)(trace, truth) == pytest.approx(np.percentile(trace.latency_s, 99))
    assert made(PeakMemory)(trace, truth) == 123456
    assert made(PeakMemory)(Trace(**{**vars(trace), "peak_rss_bytes": 0}), truth) is None


def test_names_tell_settings_apart():
    names = [
        made(SimpleRegret).name,
        made(SimpleRegret, after=50).name,
        made(SimpleRegret, recommended=True).name,
        made(ToLevel).name,
        made(ToLevel, per="dose", level=0.8).name,
        made(TopFound, top=0.05).name,
        made(IntervalCoverage, level=0.5).name,
        made(IntervalCoverage, of="forecasts").name,
        made(DecisionLatency, quantile=0.99).name,
    ]
    assert names == [
        "simple_regret",
        "simple_regret@50",
        "inference_regret",
        "measurements_to_0.95",
        "dose_to_0.8",
        "top_5_percent_found",
        "map_coverage_50",
        "forecast_coverage_90",
        "latency_p99",
    ]
