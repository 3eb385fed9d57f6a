"""What the policies with a model do with what they learn."""

import os
from pathlib import Path

import numpy as np
import pytest

from autoscope.acquisition.rule import AcquisitionRule
from autoscope.errors import FitFailed, ModelError
from autoscope.records import Finish
from autoscope.surrogates.features import coordinates
from autoscope.surrogates.gp import GaussianProcess
from policies.deep_kernel import DeepKernelPolicy
from policies.gp import GaussianProcessPolicy
from policies.random import RandomPolicy

DATA = Path(os.environ.get("AUTOSCOPE_DATA", Path(__file__).parents[4] / "shared" / "data"))
TINY = {"initial": 5, "cold_steps": 20, "warm_steps": 5, "hidden": 8}


def found_at(world, of=0.95):
    """Return after how many spectra the target was within a share of its maximum."""
    values = world.target.ravel()[world.measured()]
    hits = np.flatnonzero(values >= of * world.target.max())
    return int(hits[0]) + 1 if len(hits) else 10**6


@pytest.mark.parametrize("features", ["image", "both"])
def test_the_process_finds_the_brightest_place_long_before_chance_would(make, make_world, features):
    counts = []
    for seed in range(2):
        world = make_world()
        policy = make(GaussianProcessPolicy, seed, features=features, initial=6, patch_px=5, refit_every=8, points=32)
        world.run(policy, 40)
        counts.append(found_at(world))
    bright = (world.target >= 0.95 * world.target.max()).sum()
    assert np.mean(counts) < 0.25 * 18 * 22 / (bright + 1)


def test_by_place_alone_a_peak_seen_from_afar_is_found_long_before_chance_would(make, make_world):
    y, x = np.mgrid[:18, :22]
    counts, expected = [], []
    for seed in range(6):
        world, rng = make_world(), np.random.default_rng(seed)
        centres = zip(rng.uniform(0, 18, 6), rng.uniform(0, 22, 6), rng.uniform(0.3, 1.0, 6), strict=True)
        world.target = sum(h * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 18.0) for cy, cx, h in centres)
        policy = make(GaussianProcessPolicy, seed, features="coordinates", initial=6, refit_every=8, points=32)
        world.run(policy, 40)
        counts.append(found_at(world))
        expected.append(18 * 22 / ((world.target >= 0.95 * world.target.max()).sum() + 1))
    assert np.median(np.array(counts) / expected) < 0.5


def test_low_values_are_found_when_low_values_are_wanted(make, world):
    world.target = -world.target
    rule = AcquisitionRule(goal="minimise")
    world.run(make(GaussianProcessPolicy, acquisition=rule, initial=6, patch_px=5, refit_every=8), 35)
    assert world.target.ravel()[world.measured()].min() < 0.95 * world.target.min()


def test_mapping_by_variance_predicts_the_map_better_than_it_began(make, world):
    policy = make(
        GaussianProcessPolicy, acquisition=AcquisitionRule(name="max_variance"), initial=6, patch_px=5, refit_every=8
    )
    errors = []
    for steps in (7, 35):
        world.run(policy, steps)
        mean, _ = policy.estimate()
        errors.append(np.sqrt(np.mean((mean - world.target.ravel()) ** 2)))
    assert errors[1] < 0.5 * errors[0]


def test_a_modelled_decision_reports_prediction_rule_and_fit(make, world):
    decisions = world.run(make(GaussianProcessPolicy, initial=5, refit_every=4), 20)
    for decision in decisions[1:6]:
        assert decision.acquisition == "diverse"
        assert decision.fit is None
    for decision in decisions[6:]:
        mean, std = decision.predicted_mean, decision.predicted_std
        assert decision.acquisition == "upper_confidence_bound"
        assert decision.acquisition_parameters == {"kappa": 2.0}
        assert decision.acquisition_value == pytest.approx(mean + 2.0 * std)
        assert all(c.value <= decision.acquisition_value for c in decision.runners_up)
        assert decision.fit.rung == "ok"
        assert "counts" in decision.reason
        assert "upper confidence bound" in decision.reason
    assert [d.fit.n for d in decisions[6:]] == [5] * 5 + [9] * 4 + [13] * 4 + [17]


def test_predictions_of_decisions_are_those_of_a_model_told_all_data(make, world):
    policy = make(GaussianProcessPolicy, features="coordinates", initial=5, refit_every=50)
    world.run(policy, 16)
    decision = policy.ask(world.view())
    pixels, values = world.measured(), world.target.ravel()
    model = GaussianProcess(((0, 1),), "matern52")
    place = coordinates(*world.target.shape).astype(np.float32)
    model.fit(place[pixels[:5]], values[pixels[:5]], np.full(5, world.std))
    model.condition(place[pixels[5:]], values[pixels[5:]], np.full(10, world.std))
    mean, std = model.predict(place[[world.pixel(decision.action)]])
    assert decision.predicted_mean == pytest.approx(mean[0], abs=1e-4)
    assert decision.predicted_std == pytest.approx(std[0] * decision.calibration.scale, abs=1e-4)


def test_the_estimate_is_what_decisions_are_made_from(make, world):
    policy = make(GaussianProcessPolicy, initial=5)
    with pytest.raises(ModelError, match="no model yet"):
        policy.estimate()
    world.run(policy, 16)
    decision = policy.ask(world.view())
    mean, std = policy.estimate()
    assert mean.shape == std.shape == (18 * 22,)
    assert decision.predicted_mean == mean[world.pixel(decision.action)]
    assert decision.predicted_std == std[world.pixel(decision.action)]


def test_starting_points_are_unlike_each_other_in_the_image(make, make_world):
    spreads = {}
    for cls in (GaussianProcessPolicy, RandomPolicy):
        brightness = []
        for seed in range(4):
            world = make_world()
            world.run(make(cls, seed, **({"initial": 10} if cls is GaussianProcessPolicy else {})), 11)
            brightness.append(np.ptp(world.image.ravel()[world.measured()]))
        spreads[cls] = np.mean(brightness)
    assert spreads[GaussianProcessPolicy] > 1.2 * spreads[RandomPolicy]


def test_places_pending_are_taken_for_known_when_the_next_is_chosen(make, world):
    policy = make(GaussianProcessPolicy, acquisition=AcquisitionRule(name="max_variance"), initial=5, patch_px=5)
    world.run(policy, 10)
    first = policy.ask(world.view())
    second = policy.ask(world.view([first.action]))
    beside = [c for c in first.runners_up if world.pixel(c.action) == world.pixel(second.action)]
    assert second.predicted_std <= first.predicted_std
    assert all(second.predicted_std <= c.std for c in beside)


def test_a_deep_kernel_that_diverges_hands_over_and_says_so(make, world):
    decisions = world.run(make(DeepKernelPolicy, learning_rate=1e200, **TINY), 9)
    assert decisions[-1].fit.rung in ("gp", "coordinates")
    assert decisions[-1].fit.model == decisions[-1].fit.rung
    assert decisions[-1].predicted_mean is not None


def test_when_no_model_can_be_fitted_space_is_filled(make, world, monkeypatch, through_json, same):
    def broken(*_):
        raise FitFailed("planted")

    policy = make(DeepKernelPolicy, **TINY)
    with monkeypatch.context() as planted:
        planted.setattr("autoscope.surrogates.evidence.Evidence.loss_and_gradients", broken)
        decisions = world.run(policy, 10)
        assert decisions[-1].fit.rung == "space_filling"
        assert decisions[-1].predicted_mean is None
        assert "No model" in decisions[-1].reason
        assert len(set(world.measured())) == 9
        with pytest.raises(ModelError, match="no model"):
            policy.estimate()
        restored = make(DeepKernelPolicy, seed=5, **TINY)
        restored.restore(through_json(policy.state()))
        same(restored.ask(world.view()), policy.ask(world.view()))
    decisions = world.run(policy, 8)  # and climbs again when a fit succeeds
    assert decisions[-1].predicted_mean is not None
    assert decisions[-1].fit.rung != "space_filling"


def test_a_state_taken_from_a_state_is_the_same_state(make, world, through_json):
    policy = make(DeepKernelPolicy, **TINY)
    world.run(policy, 9)
    policy.ask(world.view())
    state = through_json(policy.state())
    other = make(DeepKernelPolicy, seed=3, **TINY)
    other.restore(state)
    assert through_json(other.state()) == state


@pytest.mark.real_data
def test_on_plasmonic_nanocubes_the_process_reaches_the_maximum_early(make, make_world):
    path = DATA / "eels_nanocubes_dkl_scalar.npz"
    if not path.exists():
        pytest.skip("needs the nanocube set; set AUTOSCOPE_DATA")
    stored = np.load(path)
    world = make_world(std=0.0)
    world.image, world.target = stored["image"].astype(float), stored["target"].astype(float)
    *_, last = world.run(make(GaussianProcessPolicy, points=45), 70)
    assert isinstance(last, Finish)
    assert found_at(world) <= 45
