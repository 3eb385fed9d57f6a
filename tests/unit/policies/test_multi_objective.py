"""What the search for compromises promises."""

import numpy as np
import pytest
from pydantic import ValidationError

from autoscope.acquisition.pareto import hypervolume
from autoscope.records import Finish, Measure, Scalar
from policies.multi_objective import Constraint, ParetoConfig, ParetoPolicy
from policies.random import RandomPolicy

SMALL = {"initial": 5, "refit_every": 4, "patch_px": 5}


def two_peaks(height=14, width=16):
    """Return an image and two targets, each with its peak where the other has fallen off, over a common ridge."""
    y, x = np.mgrid[:height, :width]
    a = np.exp(-((y - 4) ** 2 + (x - 4) ** 2) / 18.0)
    b = np.exp(-((y - 9) ** 2 + (x - 10) ** 2) / 18.0)
    return a + b + 0.01 * np.random.default_rng(0).normal(size=(height, width)), a, 3.0 * b + 2.0


@pytest.fixture
def twin(make_world):
    """Return a maker of worlds with two targets, brightness and colour."""

    def made(silent=()):
        world = make_world()
        image, a, b = two_peaks()
        world.image, world.target, world.other = image, a, b
        told = world.do

        def do(decision):
            result = told(decision)
            if not isinstance(decision.action, Measure) or result.outcome.status != "done":
                return result
            pixel = world.pixel(decision.action)
            if pixel in silent:
                return result
            value = float(b.ravel()[pixel])
            colour = Scalar(name="colour", value=value, std=0.01, unit="eV", scalarizer="planted/1/0")
            return world.result(decision.action, values=(*result.outcome.values, colour))

        world.do = do
        return world

    return made


@pytest.fixture
def pareto(make):
    wanted = {"brightness": "maximise", "colour": "maximise"}
    return lambda seed=1, **changes: make(ParetoPolicy, seed, **(SMALL | {"targets": wanted} | changes))


def dominated(world, reference=(0.0, 2.0)):
    pixels = world.measured()
    values = np.stack([world.target.ravel()[pixels], world.other.ravel()[pixels]], axis=1)
    return hypervolume(values, np.array(reference))


def test_the_front_is_found_faster_than_by_chance(pareto, make, twin):
    whole = np.stack([two_peaks()[1].ravel(), two_peaks()[2].ravel()], axis=1)
    share = {"pareto": [], "random": []}
    for seed in range(20):
        for name in share:
            world = twin()
            world.run(pareto(seed, refit_every=7) if name == "pareto" else make(RandomPolicy, seed), 17)
            share[name].append(dominated(world) / hypervolume(whole, np.array([0.0, 2.0])))
    better = np.array(share["pareto"]) > np.array(share["random"])
    assert np.median(share["pareto"]) > 0.93
    assert np.median(share["random"]) < 0.9
    assert better.sum() >= 17


def test_a_decision_tells_the_front_its_volume_and_what_is_expected_of_every_target(pareto, twin):
    world = twin()
    decisions = world.run(pareto(), 16)
    assert [d.acquisition for d in decisions[1:6]] == ["diverse"] * 5
    volumes = [d.acquisition_parameters["hypervolume"] for d in decisions[6:]]
    assert volumes[-1] > 1.2 * volumes[0]
    for decision in decisions[6:]:
        assert decision.acquisition == "log_noisy_hypervolume_improvement"
        assert decision.acquisition_parameters["front"] >= 1
        assert "brightness" in decision.reason
        assert "colour" in decision.reason
        assert " eV" in decision.reason
        assert decision.fit.rung == "ok"
        assert {k.split(".")[0] for k in decision.fit.hyperparameters} == {"brightness", "colour"}
        assert all(c.value <= decision.acquisition_value for c in decision.runners_up)
    assert len(set(world.measured())) == 15


def test_low_values_are_found_where_low_values_are_wanted(pareto, twin):
    world = twin()
    world.target = -world.target
    world.run(pareto(targets={"brightness": "minimise", "colour": "maximise"}), 22)
    world.target = -world.target
    assert dominated(world) > 0.9 * dominated_by_all()


def dominated_by_all():
    _, a, b = two_peaks()
    return hypervolume(np.stack([a.ravel(), b.ravel()], axis=1), np.array([0.0, 2.0]))


def test_a_given_reference_is_kept(pareto, twin):
    decisions = twin().run(pareto(reference={"colour": 3.5}), 9)
    assert decisions[-1].acquisition_parameters["reference_colour"] == 3.5


def test_places_that_break_a_bound_are_left_alone_once_that_is_known(pareto, twin):
    world, free = twin(), twin()
    bounded = pareto(constraints=[Constraint(target="colour", at_least=4.0)])
    world.run(bounded, 24)
    free.run(pareto(), 24)
    broken = [np.mean(w.other.ravel()[w.measured()][12:] < 4.0) for w in (world, free)]
    assert broken[0] < 0.7 * broken[1]
    allowed = np.where(world.other >= 4.0, world.target, 0.0)
    assert allowed.ravel()[world.measured()].max() > 0.9 * allowed.max()


def test_until_a_bound_is_kept_the_likeliest_place_to_keep_it_is_next(pareto, twin):
    world = twin()
    decisions = world.run(pareto(constraints=[Constraint(target="colour", at_least=7.0)]), 8)
    assert decisions[-1].acquisition == "log_probability_of_feasibility"
    assert decisions[-1].acquisition_value <= 0.0
    assert "No measured place keeps the bounds" in decisions[-1].reason


def test_asking_twice_gives_the_same_answer(pareto, twin, same):
    world, policy = twin(), pareto()
    world.run(policy, 9)
    same(policy.ask(world.view()), policy.ask(world.view()))


@pytest.mark.parametrize("told", [0, 1, 4, 8, 13])
def test_a_restored_policy_decides_as_one_told_everything_again(pareto, twin, told, same, through_json):
    world, original = twin(), pareto()
    world.run(original, told)
    folded, restored = pareto(), pareto(seed=99)
    for decision, result in world.told:
        folded.tell(decision, result)
    restored.restore(through_json(original.state()))
    assert through_json(restored.state()) == through_json(original.state())
    for _ in range(4):
        expected = original.ask(world.view())
        result = world.do(expected)
        for policy in (folded, restored):
            same(policy.ask(world.view()), expected)
            policy.tell(expected, result)
        original.tell(expected, result)
    assert through_json(restored.state())["scalars"] == through_json(original.state())["scalars"]


def test_a_pending_place_is_not_chosen_again_and_counts_as_on_the_front(pareto, twin):
    world, policy = twin(), pareto()
    world.run(policy, 12)
    first = policy.ask(world.view())
    second = policy.ask(world.view([first.action]))
    assert world.pixel(second.action) != world.pixel(first.action)
    beside = {world.pixel(c.action): c.value for c in first.runners_up}
    if world.pixel(second.action) in beside:
        assert second.acquisition_value < first.acquisition_value


def test_a_measurement_without_all_targets_teaches_nothing(pareto, twin):
    world, policy = twin(silent=set(range(0, 224, 2))), pareto()
    world.run(policy, 20)
    good = [p for p in world.measured() if p % 2]
    assert sorted(policy._pixels_) == sorted(good)
    assert len(policy._scalars_["colour"]) == len(policy._scalars_["brightness"]) == len(good)
    assert max(np.bincount(world.measured())) <= 2


def test_when_a_model_cannot_be_fitted_space_is_filled(pareto, twin, monkeypatch):
    from autoscope.errors import FitFailed
    from autoscope.surrogates.gp import GaussianProcess

    def broken(*_):
        raise FitFailed("planted")

    monkeypatch.setattr(GaussianProcess, "fit", broken)
    decisions = twin().run(pareto(), 9)
    assert decisions[-1].acquisition == "maximin"
    assert decisions[-1].fit.rung == "space_filling"


def test_three_targets_are_sought_at_once(pareto, twin):
    world = twin()
    plain = world.do

    def do(decision):
        result = plain(decision)
        if not isinstance(decision.action, Measure):
            return result
        third = Scalar(
            name="third", value=float(world.pixel(decision.action) % 16), std=0.1, unit="", scalarizer="p/1/0"
        )
        return world.result(decision.action, values=(*result.outcome.values, third))

    world.do = do
    wanted = {"brightness": "maximise", "colour": "maximise", "third": "minimise"}
    decisions = world.run(pareto(targets=wanted, points=11), 20)
    assert isinstance(decisions[-1], Finish)
    assert decisions[-2].acquisition_parameters["hypervolume"] > 0.0
    assert len(set(world.measured())) == 11


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": {"a": "maximise"}}, "at least 2"),
        ({"targets": dict.fromkeys("abcd", "maximise")}, "at most 3"),
        ({"targets": {"a": "maximise", "b": "minimise"}, "target": "c"}, "not among the targets"),
        ({"targets": {"a": "maximise", "b": "minimise"}, "reference": {"c": 1.0}}, "not among the targets"),
        ({"targets": {"a": "maximise", "b": "minimise"}, "constraints": [{"target": "c"}]}, "at_least"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        ParetoConfig.model_validate(settings)


def test_the_first_target_is_shown_and_all_are_needed():
    config = ParetoConfig.model_validate(
        {"targets": {"a": "maximise", "b": "minimise"}, "constraints": [{"target": "c", "at_most": 2.0}]}
    )
    assert config.target == "a"
    assert config.names == ("a", "b", "c")
    assert list(config.signs) == [1.0, -1.0]
