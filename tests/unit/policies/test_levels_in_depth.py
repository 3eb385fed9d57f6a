"""From the atlas into the best finds: found again by what the image before showed, then another policy decides."""

import numpy as np
import pytest

from autoscope.config import Document
from autoscope.engine.assemble import assemble, resolve
from autoscope.engine.events import RunStatus
from autoscope.engine.loop import Engine
from autoscope.errors import ConfigError
from autoscope.journal import MemoryJournal
from autoscope.records import Scan
from policies.levels import LevelsPolicy
from policies.levels.agenda import Agenda
from policies.levels.deepening import Deepening
from policies.levels.places import Found
from tests.unit.policies.test_levels import TEXT

DEPTH = """
    in_depth:
      finds: 2
      time: 20 s
      policy:
        name: imaging
        options:
          overview: {fov: 24 nm, width_px: 16, height_px: 16, dwell: 20 us}
          signals: [EDS]
          dwells: [0.1 s, 0.5 s]
"""
MORE = TEXT.replace("SEED", "3").replace("keep: 2, by: beam", "keep: 30, by: beam").replace(
    "    focus: {first", DEPTH.strip("\n") + "\n    focus: {first"
)  # fmt: skip


def ran(text=MORE):
    job = assemble(resolve(Document(text, "levels.yaml")))
    journal = MemoryJournal(clock=job.clock)
    end = Engine(job, journal).run()
    return job, end, list(journal.steps()), journal


@pytest.fixture(scope="module")
def night():
    return ran()


def campaigns(steps):
    found = {}
    for s in steps:
        if ": " in s.decision.target:
            found.setdefault(s.decision.target.partition(": ")[0], []).append(s)
    return found


def test_the_best_finds_are_gone_into_when_all_is_seen(night):
    _, end, steps, _ = night
    values = {s.decision.target: v.value for s in steps if s.decision.purpose == "spectrum" for v in s.outcome.values}
    inside = campaigns(steps)
    assert len(inside) == 2
    assert set(inside) == set(sorted(values, key=values.get)[-2:])
    for acts in inside.values():
        assert {s.decision.purpose for s in acts} == {"overview", "in_depth"}
        assert acts[-1].outcome.state.time_s - acts[0].outcome.state_before.time_s <= 21.0
    assert "2 finds gone into with imaging" in end.reason


def test_the_campaign_is_centred_on_the_particle_where_it_is_now(night):
    _, _, steps, journal = night
    for acts in campaigns(steps).values():
        assert isinstance(acts[0].decision.action, Scan)
        image = journal.load_frame(acts[0].outcome.frames[0]).data.astype(float)
        rim = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).mean()
        assert image[5:11, 5:11].mean() > 1.3 * rim


def test_before_a_campaign_the_image_that_showed_the_find_is_taken_again(night):
    _, _, steps, _ = night
    for acts in campaigns(steps).values():
        k = steps.index(acts[0])
        assert steps[k - 1].decision.purpose == "align"
        assert acts[0].decision.target.partition(": ")[0] in steps[k - 1].decision.reason


def test_time_is_kept_for_the_finds_there_are(night):
    _, _, steps, _ = night
    looks = [s for s in steps if s.decision.purpose == "overview" and s.decision.target.startswith("field")]
    enough_s = looks[-1].outcome.state.time_s + 5.0  # all fields could be seen, with no time left for what they show
    _, _, fewer, _ = ran(MORE.replace("name: levels\nseed", f"name: levels\nbudget: {{time: {enough_s} s}}\nseed", 1))
    assert campaigns(fewer)
    assert sum(s.decision.target.startswith("field") and s.decision.purpose == "overview" for s in fewer) < len(looks)


def test_the_state_in_the_middle_of_a_campaign_decides_as_the_policy_that_gave_it(night):
    job, *_ = night
    again = LevelsPolicy(job.resolved.policy.options, rng=np.random.default_rng(0))
    again.restore(job.policy.state())
    assert again.state() == job.policy.state()


def test_a_find_that_is_not_found_again_is_left_alone():
    options = assemble(resolve(Document(MORE, "levels.yaml"))).resolved.policy.options
    agenda, deep = Agenda(), Deepening(options, 1)
    (square,) = agenda.add(1, None, (0.0, 0.0), [Found(0.0, 0.0, 1.0, "")])
    (field,) = agenda.add(2, agenda[square], (0.0, 0.0), [Found(1e-6, 0.0, 1.0, "")])
    rng = np.random.default_rng(2)
    shown = [Found(float(x), float(y), 1.0, "") for x, y in rng.uniform(-0.4e-6, 0.4e-6, (20, 2))]
    deep.showed(agenda[field], shown)
    (find, *_) = agenda.add(3, agenda[field], (1e-6, 0.0), shown)
    assert not deep.begin(agenda, find, [], 5.0)
    moved = [Found(p.x_m + 60e-9, p.y_m - 35e-9, 1.0, "") for p in shown[3:]]
    assert deep.begin(agenda, find, moved, 5.0)
    centre_m = deep.campaign.state()["centre_m"]
    assert centre_m == pytest.approx([shown[0].x_m + 60e-9, shown[0].y_m - 35e-9])
    assert "1 not found again" in deep.summary()


def test_a_campaign_on_a_place_that_has_had_its_dose_ends_and_the_run_goes_on():
    _, end, steps, _ = ran(MORE + "budget: {area_dose: 2e11 e/um^2}\n")
    refused = [s for acts in campaigns(steps).values() for s in acts if s.outcome.status == "refused"]
    assert refused
    assert end.status is RunStatus.COMPLETED
    assert "2 finds gone into" in end.reason


def test_it_is_refused_where_there_is_nothing_to_go_into():
    for change in (("    target: co_k\n", ""), ("measure: {dwell: 1 s, signals: [EDS]}", "look: {fov: 40 nm}")):
        with pytest.raises(ConfigError, match="in_depth needs"):
            assemble(resolve(Document(MORE.replace(*change), "levels.yaml")))
