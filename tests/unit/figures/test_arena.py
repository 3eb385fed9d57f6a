"""The arena scores by the truth, never repeats a campaign, and tells methods apart only where they differ."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from autoscope.records import Measure, Scan
from policies.pixels import PixelGrid
from tests.figures.arena.campaign import Campaign, Trace, digest, score
from tests.figures.arena.compare import difference
from tests.figures.arena.metrics import calibration, map_error, measurements_to_level, rank_correlation, share_of_top
from tests.figures.arena.ours import _Watch, run_ours
from tests.figures.arena.sets import arena_set, names
from tests.figures.peers import recorded
from tests.figures.quality import SEARCHED, best_peer, values


@pytest.fixture(scope="module")
def field() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.gamma(1.0, size=400), rng.permutation(400)[:60]


def test_measurements_to_level_are_those_a_plain_loop_counts(field):
    truth, order = field
    for share in (0.2, 0.5, 0.95):
        level = truth.min() + share * (truth.max() - truth.min())
        counted = next((i + 1 for i, pixel in enumerate(order) if truth[pixel] >= level), None)
        assert measurements_to_level(order, truth, share) == counted


def test_share_of_the_top_is_that_of_a_plain_loop(field):
    truth, order = field
    best = sorted(range(400), key=lambda i: -truth[i])[:40]
    assert share_of_top(order, truth, top=0.1) == pytest.approx(sum(i in set(order.tolist()) for i in best) / 40)
    assert share_of_top(np.array(best[:5]), truth, top=0.1) == 1.0


def test_map_error_of_a_constant_offset_is_the_offset_over_the_range():
    truth = np.linspace(2.0, 6.0, 11)
    assert map_error(truth + 1.0, truth) == pytest.approx(0.25)
    assert rank_correlation(np.exp(truth), truth) == pytest.approx(1.0)
    assert rank_correlation(np.zeros(11), truth) == 0.0


def test_calibration_of_an_honest_model_is_one_and_ninety_percent_and_ignores_what_is_measured():
    rng = np.random.default_rng(1)
    mean, std = rng.normal(size=20_000), rng.uniform(0.5, 2.0, size=20_000)
    measured = mean + std * rng.normal(size=20_000)
    measured[:50] = 1e9
    z, covered = calibration(mean, std, measured, np.arange(50))
    assert z == pytest.approx(1.0, abs=0.02)
    assert covered == pytest.approx(0.9, abs=0.01)
    assert calibration(mean, std / 2, measured, np.arange(50))[0] == pytest.approx(2.0, abs=0.04)


@pytest.mark.parametrize("name", ["plasmon", "catalyst", "crystal"])
def test_a_simulated_set_is_64_pixels_square_counted_around_its_truth_and_always_the_same(name):
    arena = arena_set(name)
    for values_ in (arena.image, arena.truth, arena.measured, arena.noise_std):
        assert values_.shape == (64, 64)
        assert np.isfinite(values_).all()
    assert arena.stride == 1
    assert not arena.derived
    error = arena.measured - arena.truth
    assert 0 < np.abs(error.mean()) + error.std() < 0.05 * np.ptp(arena.truth)
    arena_set.cache_clear()
    assert np.array_equal(arena_set(name).measured, arena.measured)


@pytest.mark.real_data
@pytest.mark.parametrize("name", [n for n in names() if n not in ("plasmon", "catalyst", "crystal")])
def test_a_stored_set_fits_together_and_offers_at_most_five_thousand_candidates(name):
    arena = arena_set(name)
    assert arena.image.shape == arena.truth.shape == arena.measured.shape == arena.noise_std.shape
    assert len(arena.rows) <= 5000
    assert arena.pool(arena.truth).shape == arena.rows.shape
    assert (arena.noise_std >= 0).all()
    assert arena.derived == (name == "BEPS")


def _campaign(seed: int, to_95: int | None, *, method: str = "random", n: int = 100, set_: str = "plasmon") -> Campaign:
    made = digest(recorded.settings_of(method, n), arena_set(set_).recipe)
    plain = {"top": {}, "nrmse": {}, "rho": {}, "z_std": {}, "coverage": {}, "cpu_s": 0.0, "failures": 0}
    rest = {"order": [1, 2], "settings": {}, "versions": {}}
    return Campaign(set=set_, method=method, digest=made, seed=seed, n=n, to_95=to_95, **plain, **rest)


def test_a_recorded_campaign_is_read_back_and_not_run_again(tmp_path: Path):
    path = tmp_path / "recorded.jsonl"
    recorded.append(_campaign(0, 7), path)
    recorded.append(_campaign(0, 7, n=200), path)
    recorded.append(_campaign(2, None), path)
    assert {(c.seed, c.n) for c in recorded.read(path)} == {(0, 200), (2, 100)}
    left = list(recorded.missing(["plasmon"], ["random"], range(4), 100, path))
    assert left == [("plasmon", "random", 1), ("plasmon", "random", 3)]
    assert ("plasmon", "random", 2) in recorded.missing(["plasmon"], ["random"], range(4), 150, path)
    assert len(list(recorded.missing(["crystal"], ["random"], range(4), 100, path))) == 4


def test_a_peer_s_process_measures_each_pixel_once_and_starts_where_every_peer_starts(tmp_path: Path):
    path = tmp_path / "recorded.jsonl"
    random = recorded.run("plasmon", "random", 3, 60, path)
    sobol = recorded.run("plasmon", "sobol", 3, 60, path)
    assert len(set(random.order)) == len(set(sobol.order)) == 60
    shuffled = np.random.default_rng(3).permutation(4096)
    assert random.order == shuffled[:60].tolist()
    assert sobol.nrmse.keys() == {"50"}
    assert len(recorded.read(path)) == 2
    rows, columns = np.divmod(np.array(sobol.order[:16]), 64)
    assert len(set(zip(rows // 16, columns // 16, strict=True))) >= 13


def test_our_engine_takes_exactly_the_pixels_that_are_scored():
    campaign = run_ours("crystal", "random", {"policy": "random"}, 1, 20)
    truth = arena_set("crystal").pool(arena_set("crystal").truth)
    assert len(set(campaign.order)) == campaign.n == 20
    assert campaign.to_95 == measurements_to_level(np.array(campaign.order), truth)
    assert campaign.cpu_s > 0


def test_a_map_that_is_the_truth_scores_no_error():
    arena = arena_set("plasmon")
    truth, std = arena.pool(arena.truth), arena.pool(arena.noise_std)
    trace = Trace(np.arange(50), np.ones(50), {50: (truth, std)})
    campaign = score(arena, "oracle", {}, 0, trace)
    assert campaign.nrmse == {"50": 0.0}
    assert campaign.rho == {"50": pytest.approx(1.0)}
    assert campaign.coverage["50"] == pytest.approx(0.9, abs=0.08)


def test_paired_bootstrap_finds_a_planted_difference_and_not_a_null_one():
    rng = np.random.default_rng(2)
    luck = rng.normal(scale=10.0, size=20)
    theirs = {s: float(luck[s]) for s in range(20)}
    better = {s: theirs[s] - 1.0 + rng.normal(scale=0.5) for s in range(20)}
    same = {s: theirs[s] + rng.normal(scale=0.5) for s in range(20)}
    found = difference(better, theirs)
    assert found is not None
    assert found.paired
    assert found.high < 0
    assert found.worse(lower_is_better=False)
    assert not found.worse(lower_is_better=True)
    null = difference(same, theirs)
    assert null is not None
    assert null.low < 0 < null.high


def test_a_null_difference_is_called_worse_in_about_one_of_forty_trials():
    rng = np.random.default_rng(3)
    called = 0
    for _ in range(200):
        ours, theirs = ({s: float(v) for s, v in enumerate(rng.normal(size=20))} for _ in range(2))
        found = difference(ours, theirs)
        assert found is not None
        called += found.worse(lower_is_better=True)
    assert called <= 14


def test_few_seeds_are_compared_without_pairing_and_none_at_all_not():
    few = difference({s: float(s) for s in range(20)}, {0: 100.0, 1: 90.0})
    assert few is not None
    assert not few.paired
    assert few.n == 2
    assert few.high < 0
    assert difference({0: 1.0}, {}) is None


def test_one_lucky_seed_of_a_peer_is_no_certain_difference():
    ours = {s: 20.0 + s for s in range(20)}
    lucky = difference(ours, {0: 21.0})
    assert lucky is not None
    assert not lucky.worse(lower_is_better=True)
    far = difference(ours, {0: -40.0})
    assert far is not None
    assert far.worse(lower_is_better=True)


def test_a_peer_stopped_early_does_not_pass_for_the_fastest():
    ours = [_campaign(s, 20, n=200) for s in range(6)]
    theirs = [_campaign(0, None, method="vidkl", n=50)]
    theirs += [_campaign(s, 70, method="gpytorch_dkl") for s in range(6)]
    found = best_peer(ours, theirs, SEARCHED[0])
    assert found is not None
    assert found[:2] == ("gpytorch_dkl", 70.0)


def test_counts_are_censored_at_the_shorter_of_two_campaigns():
    ours = [_campaign(s, 150, n=200) for s in range(6)]
    theirs = [_campaign(s, None, method="botorch_xy", n=100) for s in range(6)]
    assert values(ours, "to_95", 100) == dict.fromkeys(range(6), 101.0)
    found = best_peer(ours, theirs, SEARCHED[0])
    assert found is not None
    method, value, gap = found
    assert (method, value, gap.value) == ("botorch_xy", 101.0, 0.0)


def test_the_best_peer_is_the_one_with_the_best_value():
    ours = [_campaign(s, 20 + s, n=100) for s in range(6)]
    theirs = [_campaign(s, 50 + s, method="botorch_xy") for s in range(6)]
    theirs += [_campaign(s, 30 + s, method="gpytorch_dkl") for s in range(6)]
    found = best_peer(ours, theirs, SEARCHED[0])
    assert found is not None
    assert found[0] == "gpytorch_dkl"
    assert found[2].value == pytest.approx(-10.0)


def test_a_policy_s_map_is_scored_with_measurement_noise_added_and_none_is_no_map():
    arena = arena_set("plasmon")

    class Believes:
        def estimate(self):
            return (arena.pool(arena.truth), np.zeros(len(arena.rows))) if len(watch.order) == 50 else None

    watch = _Watch(arena, SimpleNamespace(policy=Believes()))
    pixels = np.random.default_rng(4).permutation(4096)[:100]
    grid = PixelGrid(Scan(fov_m=arena.data.fov_m, width_px=64, height_px=64, dwell_s=1e-6))
    for pixel in pixels:
        x_m, y_m = grid.position(int(pixel))
        action = Measure(x_m=x_m, y_m=y_m, dwell_s=0.1, signals=("EELS",))
        watch.on_step(
            SimpleNamespace(
                decision=SimpleNamespace(action=action), outcome=SimpleNamespace(status="done"), latency_s=1.0
            )
        )
    assert watch.order == pixels.tolist()
    assert watch.maps.keys() == {50}
    assert np.array_equal(watch.maps[50][1], arena.pool(arena.noise_std))
