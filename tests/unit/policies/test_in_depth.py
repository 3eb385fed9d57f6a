"""Campaigns inside the best finds of a survey: centred on the particle, bounded, and not ranked with the survey."""

import numpy as np
import pytest
import yaml

from autoscope.cli.planning import first_view
from autoscope.errors import ConfigError, PluginError
from autoscope.records import Measure, Result, Scan
from tests.unit.policies.test_finishing import SMALL
from tests.unit.policies.test_survey_run import assembled, run

INNER = {
    "name": "imaging",
    "options": {
        "overview": {"fov": "24 nm", "width_px": 16, "height_px": 16, "dwell": "20 us"},
        "signals": ["EDS"],
        "dwells": ["0.1 s", "0.5 s", "2 s"],
    },
}
DEPTH = {
    "policy__options__finish": {"confirm": 0, "try_again": False},
    "policy__options__in_depth": {"policy": INNER, "finds": 2, "time": "30 s"},
}


def deep(**changes):
    return assembled(**(SMALL | DEPTH | changes))


@pytest.fixture(scope="module")
def night():
    job = deep()
    return job, *run(job)


def campaigns(steps):
    """Return the acts of each campaign, by the particle it is inside of."""
    found = {}
    for s in steps:
        if ": " in s.decision.target:
            found.setdefault(s.decision.target.partition(": ")[0], []).append(s)
    return found


def test_each_of_the_best_finds_gets_a_campaign_of_bounded_length_and_then_the_night_ends(night):
    _, end, steps, _ = night
    inside = campaigns(steps)
    assert len(inside) == 2
    first = {s.decision.target: v.value for s in steps if s.decision.purpose == "spectrum" for v in s.outcome.values
             if v.name == "co_k"}  # fmt: skip
    assert set(inside) == set(sorted(first, key=first.get)[-2:])
    for acts in inside.values():
        assert 20.0 < acts[-1].outcome.state.time_s - acts[0].outcome.state_before.time_s <= 32.0
    assert "2 finds gone into with imaging" in end.reason


def test_the_overview_is_centred_on_the_particle(night):
    _, _, steps, journal = night
    for acts in campaigns(steps).values():
        overview = acts[0]
        assert isinstance(overview.decision.action, Scan)
        image = journal.load_frame(overview.outcome.frames[0]).data.astype(float)
        middle, rim = image[5:11, 5:11].mean(), np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).mean()
        assert middle > 1.3 * rim


def test_place_and_dwell_are_chosen_together_and_most_looks_go_to_the_particle(night):
    _, _, steps, _ = night
    for acts in campaigns(steps).values():
        looks = [s.decision.action for s in acts if isinstance(s.decision.action, Measure)]
        assert len({a.dwell_s for a in looks}) > 1
        overview = acts[0].decision.action
        near = [np.hypot(a.x_m - overview.centre_x_m, a.y_m - overview.centre_y_m) < 8e-9 for a in looks[-8:]]
        assert np.mean(near) > 0.6


def test_its_pixels_are_no_measurements_of_the_survey(night):
    job, _, steps, _ = night
    inside = [s for acts in campaigns(steps).values() for s in acts if s.outcome.values]
    assert {s.decision.purpose for s in inside} == {"in_depth"}
    n = job.policy._now.catalogue.measured_count
    assert n == len({s.decision.target for s in steps if s.decision.purpose == "spectrum" and s.outcome.values})


def test_taken_up_in_the_middle_of_a_campaign_it_decides_the_same(night):
    _, _, steps, journal = night
    told = deep().policy
    checked = 0
    for step in steps:
        told.tell(step.decision, Result(step.outcome, tuple(journal.load_frame(r) for r in step.outcome.frames)))
        if ": " in step.decision.target and checked < 5:
            checked += 1
            other = deep().policy
            other.restore(yaml.safe_load(yaml.safe_dump(told.state())))
            assert other.state() == told.state()
    assert checked == 5


def test_the_plan_counts_the_campaigns():
    job = deep()
    job.environment.reset(seed=1, options={"bare": True})
    (stage,) = [s for s in job.policy.plan(first_view(job)) if s.name == "in depth"]
    assert stage.time_s == pytest.approx(60.0, rel=0.1)
    assert stage.dose_e > 0


@pytest.mark.parametrize(
    ("inner", "error", "why"),
    [
        ({"name": "imging"}, PluginError, "imaging"),
        ({"name": "survey"}, ConfigError, "no policy for one field of view"),
        ({"name": "imaging", "options": {"dwels": ["1 s"]}}, ConfigError, "dwels"),
    ],
)
def test_a_campaign_that_cannot_be_is_refused_before_the_night(inner, error, why):
    with pytest.raises(error, match=why):
        deep(policy__options__in_depth={"policy": inner})
