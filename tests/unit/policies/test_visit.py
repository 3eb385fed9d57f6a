"""Visits to a list of places: their order, what is done at each, failures, memory."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from autoscope.records import Finish, LoadSample, MoveStage, Scan, SetOptics, SpectrumImage, Wait
from policies.visit import VisitPolicy

LINE = [{"x_m": x * 1e-6, "y_m": 0.0, "label": f"p{x}"} for x in (0, 3, 1, 2)]


def make(seed=0, **changes):
    return VisitPolicy(VisitPolicy.Config(**({"positions": LINE} | changes)), rng=np.random.default_rng(seed))


def run(policy, world, steps=200, fail=lambda decision: False):
    decisions = []
    for _ in range(steps):
        decision = policy.ask(world.view())
        decisions.append(decision)
        if isinstance(decision, Finish):
            break
        policy.tell(decision, world.result(decision.action, "failed" if fail(decision) else "done"))
    return decisions


def moves(decisions):
    return [d.action.x_m for d in decisions[:-1] if isinstance(d.action, MoveStage)]


def test_places_are_visited_on_the_shortest_way_from_the_first(world):
    assert moves(run(make(), world)) == pytest.approx([0.0, 1e-6, 2e-6, 3e-6])


def test_an_order_that_is_given_is_kept(world):
    assert moves(run(make(order=(3, 0, 2, 1)), world)) == pytest.approx([2e-6, 0.0, 1e-6, 3e-6])


def test_at_each_place_the_stage_settles_before_image_and_spectra(world):
    kinds = [type(d.action) for d in run(make(positions=LINE[:1]), world)[:-1]]
    assert kinds == [MoveStage, Wait, Scan, SpectrumImage]


def test_focus_and_sample_are_set_where_they_are_known_and_a_sample_is_loaded_once(world):
    slots = [{"x_m": k * 1e-6, "y_m": 0.0, "slot": k // 2, "defocus_m": 1e-7 * k} for k in range(4)]
    decisions = run(make(positions=slots, settle_s=None, image=None, spectra=None), world)[:-1]
    assert [d.action.slot for d in decisions if isinstance(d.action, LoadSample)] == [0, 1]
    assert [d.action.defocus_m for d in decisions if isinstance(d.action, SetOptics)] == pytest.approx(
        [0, 1e-7, 2e-7, 3e-7]
    )


def test_a_place_where_an_act_fails_twice_is_left_and_the_next_one_is_visited(world):
    decisions = run(make(), world, fail=lambda d: d.target == "p1" and isinstance(d.action, Scan))
    assert [d.target for d in decisions[:-1] if isinstance(d.action, SpectrumImage)] == ["p0", "p2", "p3"]
    assert "1 of them given up" in decisions[-1].reason


def test_what_is_pending_is_not_asked_for_again(world):
    policy = make()
    first = policy.ask(world.view()).action
    second = policy.ask(world.view().replace(pending=(first,))).action
    assert (type(first), type(second)) == (MoveStage, Wait)


def test_a_restored_policy_goes_on_where_it_was(world):
    policy = make()
    run(policy, world, 6)
    restored = make(seed=1)
    restored.restore(json.loads(json.dumps(policy.state())))
    assert restored.ask(world.view()).action == policy.ask(world.view()).action


def test_the_plan_adds_up_to_the_acts_of_the_run(world):
    policy = make()
    planned = {stage.name: stage.acts for stage in policy.plan(world.view())}
    done = [d.purpose for d in run(policy, world)[:-1]]
    assert planned == {purpose: done.count(purpose) for purpose in planned}


@pytest.mark.parametrize("wrong", [{"positions": []}, {"order": (0, 1)}, {"order": (0, 0, 1, 2)}], ids=str)
def test_no_places_or_an_order_that_is_none_are_refused(wrong):
    with pytest.raises(ValidationError, match=r"positions|order"):
        make(**wrong)
