"""The raster over a whole area: order, geometry, failures, memory."""

import itertools

import numpy as np
import pytest
from pydantic import ValidationError

from autoscope.records import Finish, Measure, MoveStage
from policies.raster import RasterPolicy

AREA = {"x_m": (0.0, 3e-6), "y_m": (-1e-6, 1e-6), "tile_fov_m": 1e-6, "pitch_m": 2.5e-7}


def make(seed=0, **changes):
    return RasterPolicy(RasterPolicy.Config(**(AREA | changes)), rng=np.random.default_rng(seed))


def run(policy, world, steps, fail=lambda decision: False):
    decisions = []
    for _ in range(steps):
        decision = policy.ask(world.view())
        decisions.append(decision)
        if isinstance(decision, Finish):
            break
        status = "failed" if fail(decision) else "done"
        policy.tell(decision, world.result(decision.action, status))
    return decisions


def places(decisions):
    """Return stage frame positions of all spectra."""
    stage, found = (0.0, 0.0), []
    for decision in decisions:
        action = getattr(decision, "action", None)
        if isinstance(action, MoveStage):
            stage = (action.x_m, action.y_m)
        elif isinstance(action, Measure):
            found.append((stage[0] + action.x_m, stage[1] + action.y_m))
    return np.array(found)


def test_every_point_of_the_area_is_measured_once_on_one_regular_lattice(world):
    decisions = run(make(), world, 1000)
    assert isinstance(decisions[-1], Finish)
    found = places(decisions)
    assert len(found) == 6 * 16
    expected = itertools.product(np.arange(12) * 2.5e-7 + 1.25e-7, np.arange(8) * 2.5e-7 - 1e-6 + 1.25e-7)
    found = found[np.lexsort((np.round(found[:, 1], 12), np.round(found[:, 0], 12)))]
    np.testing.assert_allclose(found, np.array(list(expected)), atol=1e-15)


def test_the_stage_moves_once_a_tile_and_only_to_the_next_one(world):
    moves = [d.action for d in run(make(), world, 1000)[:-1] if isinstance(d.action, MoveStage)]
    steps = np.diff([(m.x_m, m.y_m) for m in moves], axis=0)
    assert len(moves) == 6
    np.testing.assert_allclose(np.abs(steps).sum(axis=1), 1e-6)


def test_the_beam_goes_from_point_to_neighbouring_point_in_a_tile(world):
    offsets = np.array([(d.action.x_m, d.action.y_m) for d in run(make(), world, 17)[1:]])
    np.testing.assert_allclose(np.abs(np.diff(offsets, axis=0)).sum(axis=1), 2.5e-7)
    assert np.abs(offsets).max() < 0.5e-6


def test_an_area_that_is_no_multiple_of_the_tile_is_covered_whole(world):
    found = places(run(make(x_m=(0.0, 2.2e-6), y_m=(0.0, 0.4e-6)), world, 1000))
    assert found[:, 0].min() < 1.25e-7
    assert found[:, 0].max() > 2.2e-6 - 1.25e-7


def test_a_point_that_fails_is_tried_twice_and_left_out(world):
    decisions = run(make(), world, 1000, fail=lambda d: d.target == "tile 0 point 3")
    targets = [d.target for d in decisions[:-1]]
    assert targets.count("tile 0 point 3") == 2
    assert targets.count("tile 0 point 4") == 1
    assert len(targets) == 6 + 96 + 1


def test_a_tile_that_cannot_be_reached_is_left_out_without_a_spectrum_elsewhere(world):
    decisions = run(make(), world, 1000, fail=lambda d: d.target == "tile 2")
    targets = [d.target for d in decisions[:-1]]
    assert targets.count("tile 2") == 2
    assert not [t for t in targets if t.startswith("tile 2 point")]
    assert len(places(decisions)) == 5 * 16


def test_after_somebody_moved_the_stage_it_is_moved_back(world):
    policy = make()
    moved = run(policy, world, 4)[0]
    by_hand = moved.replace(action=MoveStage(x_m=1e-3), target="", decided_by="human")
    policy.tell(by_hand, world.result(by_hand.action))
    again = policy.ask(world.view())
    assert again.action == moved.action
    policy.tell(again, world.result(again.action))
    assert policy.ask(world.view()).target == "tile 0 point 3"


def test_pending_acts_are_counted_as_done(world):
    policy = make()
    pending = []
    for expected in ("tile 0", "tile 0 point 0", "tile 0 point 1"):
        decision = policy.ask(world.view(pending))
        assert decision.target == expected
        pending.append(decision.action)


@pytest.mark.parametrize("told", [0, 1, 5, 17, 18, 40])
def test_a_restored_raster_goes_on_as_one_told_everything_again(world, told, through_json, same):
    original = make()
    decisions = run(original, world, told)
    folded, restored = make(), make()
    for decision in decisions:
        folded.tell(decision, world.result(decision.action))
    restored.restore(through_json(original.state()))
    for policy in (folded, restored):
        assert policy.state() == original.state()
        same(policy.ask(world.view()), original.ask(world.view()))


def test_the_raster_ends_with_the_budget(world):
    policy = make()
    run(policy, world, 3)
    assert isinstance(policy.ask(world.view(time_s=0.05)), Finish)


@pytest.mark.parametrize("changes", [{"x_m": (1e-6, 1e-6)}, {"y_m": (1e-6, 0.0)}, {"pitch_m": 2e-6}])
def test_an_area_without_a_point_is_refused(changes):
    with pytest.raises(ValidationError):
        make(**changes)
