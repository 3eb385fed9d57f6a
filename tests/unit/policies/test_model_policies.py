"""What the policies with a model do with what they learn."""

import os
from pathlib import Path

import numpy as np
import pytest

from autoscope.acquisition.rule import AcquisitionRule
from autoscope.errors import FitFailed, ModelError
from autoscope.records import Finish, Measure
from autoscope.surrogates.features import coordinates
from autoscope.surrogates.gp import GaussianProcess
from policies.deep_kernel import DeepKernelPolicy
from policies.gp import GaussianProcessPolicy
from policies.pixels import PixelGrid
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


# --- nothing but what was told decides ---


class Anticipated:
    """A policy that is always prepared while its act is under way."""

    def __init__(self, policy, world):
        self.policy, self.world, self.prepared = policy, world, 0

    def ask(self, view):
        return self.policy.ask(view)

    def tell(self, decision, result):
        if self.world.told:
            self.policy.prepare(self.world.view([decision.action]))
            self.prepared += 1
        self.policy.tell(decision, result)


@pytest.mark.parametrize(
    ("rule", "seed"),
    [*[("upper_confidence_bound", seed) for seed in (1, 2, 3)], ("integrated_variance", 4), ("thompson", 5)],
)
def test_a_decision_is_the_same_whether_it_was_prepared_or_not(make, make_world, same, seed, rule):
    settings = {"initial": 4, "refit_every": 3, "acquisition": AcquisitionRule(name=rule)}
    failing = set(np.random.default_rng(seed).permutation(396)[:130].tolist())
    runs = []
    for prepared in (True, False):
        world = make_world(failing=failing)
        policy = make(GaussianProcessPolicy, seed, **settings)
        runs.append(world.run(Anticipated(policy, world) if prepared else policy, 26))
        assert 4 <= len(policy._values_) < 25
    for one, other in zip(*runs, strict=True):
        same(one, other)


@pytest.mark.parametrize("told_at_once", [False, True])
def test_decisions_made_ahead_of_an_outcome_follow_from_what_was_told_before(make, make_world, same, told_at_once):
    world = make_world(failing=set(range(0, 396, 5)))
    original, prepared = (make(GaussianProcessPolicy, initial=4, refit_every=3) for _ in range(2))
    pending = []
    for _ in range(22):
        view = world.view([d.action for d in pending])
        decision = original.ask(view)
        same(prepared.ask(view), decision)
        if not told_at_once:
            prepared.prepare(world.view([d.action for d in (*pending, decision)]))
        pending.append(decision)
        while len(pending) > 1 or not isinstance(pending[0].action, Measure):
            done = pending.pop(0)
            result = world.do(done)
            original.tell(done, result)
            prepared.tell(done, result)
            world.told.append((done, result))
            if not pending:
                break
    assert len(set(world.measured())) >= 15


class SickPolicy(GaussianProcessPolicy):
    """Its models are certain of a pattern that has nothing to do with the target."""

    def _make_members(self, table):
        groups = {"gp": (table.components, table.place), "coordinates": (table.place,)}
        return {name: SickProcess(columns, "matern52") for name, columns in groups.items()}


class SickProcess(GaussianProcess):
    def predict(self, x):
        spread = self._scaling_.factor
        pattern = self._scaling_.shift + 2.0 * spread * np.sin(40.0 * x.sum(axis=1, dtype=np.float64))
        return pattern, np.full(len(x), 0.02 * spread)


def test_a_restored_policy_goes_on_as_one_told_everything_also_after_remedies(make, make_world, same, through_json):
    world = make_world(failing=set(range(0, 396, 7)))
    settings = {"initial": 4, "refit_every": 4, "patch_px": 5}
    original, states = make(SickPolicy, **settings), {}
    for n in range(1, 41):
        world.run(original, 1)
        states[n] = through_json(original.state())
    rungs = {state["model"]["learnt"]["health"]["verdict"]["rung"] for n, state in states.items() if n > 8}
    assert rungs >= {"ok", "refit_cold", "roll_back", "space_filling"}
    told, end = list(world.told), original.ask(world.view())
    for n in (6, 13, 20, 33, 40):
        restored, folded = make(SickPolicy, seed=77, **settings), make(SickPolicy, **settings)
        restored.restore(states[n])
        for k, (decision, result) in enumerate(told):
            folded.tell(decision, result)
            if k >= n:
                restored.tell(decision, result)
        same(restored.ask(world.view()), end)
        same(folded.ask(world.view()), end)


@pytest.mark.parametrize("cls", [GaussianProcessPolicy, DeepKernelPolicy])
def test_every_decision_of_a_model_but_the_first_says_how_honest_its_forecasts_were(make, world, cls):
    settings = TINY if cls is DeepKernelPolicy else {"initial": 5}
    modelled = [d for d in world.run(make(cls, **settings), 18) if getattr(d, "predicted_mean", None) is not None]
    assert len(modelled) == 12
    assert modelled[0].calibration is None
    assert [d.calibration.n for d in modelled[1:]] == list(range(1, 12))


def test_calibration_in_decisions_is_recomputed_from_the_journal_alone(make, world):
    world.target = world.target + 0.2 * np.random.default_rng(5).normal(size=world.target.shape)
    policy = make(GaussianProcessPolicy, features="coordinates", initial=6, refit_every=1000)
    decisions = world.run(policy, 40)
    values = world.target.ravel()[world.measured()]
    z, inside = [], []
    for n in range(6, 38):
        decision, after = decisions[n + 1], decisions[n + 2]
        jitter = decision.fit.hyperparameters["jitter"] * np.var(values[: decision.fit.n])
        if decision.calibration is None:  # the factor in force at the first forecast is not written down
            z.append(after.calibration.mean_z)
        else:
            noise = decision.calibration.scale * np.sqrt(world.std**2 + jitter)
            z.append((values[n] - decision.predicted_mean) / np.hypot(decision.predicted_std, noise))
        inside.append(abs(z[-1]) < 1.6448536)
        card = after.calibration
        assert card.n == len(z)
        assert card.mean_z == pytest.approx(np.mean(z), abs=1e-3)
        assert card.std_z == pytest.approx(np.std(z), rel=1e-3, abs=1e-3)
        assert card.coverage_90 == pytest.approx(np.mean(inside))


def test_a_model_told_of_places_that_are_no_candidates_decides_all_the_same(make, world):
    policy = make(GaussianProcessPolicy, initial=4, stride_px=2)
    world.run(policy, 1)
    grid = PixelGrid(world.scan)
    template = policy.ask(world.view())
    for pixel in (23, 31, 101, 155, 207, 343):  # odd rows and columns: between the candidates
        x_m, y_m = grid.position(pixel)
        by_hand = template.replace(action=template.action.replace(x_m=x_m, y_m=y_m), decided_by="human")
        result = world.do(by_hand)
        policy.tell(by_hand, result)
        world.told.append((by_hand, result))
    taken = set(grid.strided(2).tolist())
    assert not taken & set(world.measured())
    decisions = world.run(policy, 4)
    assert any(d.predicted_mean is not None for d in decisions)
    assert all(world.pixel(d.action) in taken for d in decisions)


def test_the_fit_of_a_decision_is_that_of_the_member_it_names_on_the_rung_that_decides(make, world):
    policy = make(SickPolicy, initial=4, refit_every=1000, patch_px=5)
    world.run(policy, 5)
    rungs = set()
    for _ in range(36):
        (decision,) = world.run(policy, 1)
        committee = policy._committee
        assert decision.fit.rung == committee.verdict.rung
        if decision.predicted_mean is not None:
            learnt = committee.leader.state()["prior"]
            assert decision.fit.hyperparameters["jitter"] == learnt["jitter"]
            assert sum(k.startswith("outputscale") for k in decision.fit.hyperparameters) == len(learnt["groups"])
        rungs.add(decision.fit.rung)
    assert rungs >= {"ok", "refit_cold", "roll_back", "space_filling"}
