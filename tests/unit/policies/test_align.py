"""Focus and stigmation through the real loop, against the hidden truth; and as a fold over what was told."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from autoscope.config import Document
from autoscope.engine.assemble import assemble, resolve
from autoscope.engine.loop import Engine
from autoscope.errors import NotReached
from autoscope.journal import MemoryJournal
from autoscope.perception.aberrations import Aberrations
from autoscope.records import Budget, Finish, Result, Scan, SetOptics, View
from policies.align import AlignPolicy
from policies.align_search import _reconciled

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "align.yaml"
LENS = "environment.options.microscope.lens"
SPECIMENS = "environment.options.microscope.specimens"
FLAT = "{kind: catalyst, extent: [4 um, 4 um], density: 40 um^-2, height: {bump: 0 nm}}"


def assembled(*overrides):
    document = Document.read(CONFIG)
    for assignment in overrides:
        document.override(assignment)
    return assemble(resolve(document))


def hidden(defocus_nm, a_nm, b_nm):
    names = ("hidden_defocus", "hidden_stigmator_a", "hidden_stigmator_b")
    return [f"{LENS}.{name}={value} nm" for name, value in zip(names, (defocus_nm, a_nm, b_nm), strict=True)]


class Log:
    def __init__(self):
        self.steps = []

    def on_step(self, event):
        self.steps.append(event)

    @property
    def scans(self):
        return [e.decision.action for e in self.steps if isinstance(e.decision.action, Scan)]


def run(job):
    log = Log()
    return Engine(job, MemoryJournal(clock=job.clock), listener=log).run(), log


@pytest.mark.parametrize("start", [(640, -210, 150), (-900, 80, -40), (30, 600, -500)])
def test_a_start_a_micrometre_off_comes_to_focus_in_eight_images(start):
    job = assembled(*hidden(*start), f"{SPECIMENS}=[{FLAT}]")
    end, log = run(job)
    truth = job.environment.truth()
    left_m = math.hypot(truth["true_defocus_m"], *truth["true_stigmator_m"])
    assert left_m < 15e-9
    assert len(log.scans) <= 8
    assert "set: defocus" in end.reason
    assert all("nm" in event.decision.reason for event in log.steps)


def test_every_image_is_taken_at_the_setting_that_was_chosen_for_it():
    job = assembled()
    _, log = run(job)
    optics = None
    for event in log.steps:
        if isinstance(event.decision.action, SetOptics):
            optics = event.decision.action
        else:
            assert event.outcome.state_before.defocus_m == optics.defocus_m
            assert event.outcome.state_before.stigmator_b_m == optics.stigmator_b_m


def test_an_empty_field_ends_with_a_word_and_the_start_setting():
    empty = "{kind: nanoparticles, count: 0}"
    job = assembled(f"{SPECIMENS}=[{empty}]")
    end, log = run(job)
    state = job.environment.read_state()
    assert "no structure" in end.reason
    assert (state.defocus_m, state.stigmator_a_m, state.stigmator_b_m) == (0.0, 0.0, 0.0)
    assert len(log.scans) == 3


def test_a_drifting_specimen_is_focused_all_the_same():
    drift = "{ramp_x: 2 nm/s, ramp_y: -2 nm/s}"
    job = assembled(f"{SPECIMENS}=[{FLAT}]", f"environment.options.microscope.drift={drift}")
    run(job)
    truth = job.environment.truth()
    assert math.hypot(truth["true_defocus_m"], *truth["true_stigmator_m"]) < 25e-9


def test_a_stigmator_is_never_asked_beyond_its_range():
    job = assembled(*hidden(100, 1100, 0), f"{SPECIMENS}=[{FLAT}]")
    end, log = run(job)
    asked = [e.decision.action.stigmator_a_m for e in log.steps if isinstance(e.decision.action, SetOptics)]
    assert min(asked) == -1e-6
    assert end.faults == 0


@pytest.mark.parametrize("limit", ["budget.steps=8", "budget.time=4 s", "budget.dose=7e8 e"])
def test_a_spent_budget_still_leaves_the_best_setting_known(limit):
    job = assembled(*hidden(500, 0, 0), f"{SPECIMENS}=[{FLAT}]", limit)
    end, log = run(job)
    assert log.steps[-1].decision.target == "best"
    assert "budget" in end.reason
    assert end.faults == 0
    assert abs(job.environment.truth()["true_defocus_m"]) < 150e-9
    assert len(log.scans) < 7


def test_no_more_images_are_taken_than_allowed():
    job = assembled("policy.options.max_images=5")
    _, log = run(job)
    assert 4 <= len(log.scans) <= 5
    assert log.steps[-1].decision.target == "best"


def recorded():
    """Return the steps of a run as (decision, result), and the view before each."""
    job = assembled(f"{SPECIMENS}=[{FLAT}]")
    journal = MemoryJournal(clock=job.clock)
    Engine(job, journal).run()
    told, capabilities = [], job.environment.describe()
    for number, step in enumerate(journal.steps()):
        frames = tuple(journal.load_frame(ref) for ref in step.outcome.frames)
        state = step.outcome.state_before
        view = View(step=number, time_s=0.0, budget=Budget(), state=state, capabilities=capabilities)
        told.append((view, step.decision, Result(step.outcome, frames)))
    return told


@pytest.fixture(scope="module")
def steps():
    return recorded()


def fresh():
    return AlignPolicy(AlignPolicy.Config(), rng=np.random.default_rng(0))


def test_telling_the_journal_again_gives_the_same_decisions_and_so_does_a_restored_state(steps):
    policy = fresh()
    for view, decision, result in steps:
        restored = fresh()
        restored.restore(json.loads(json.dumps(policy.state(), allow_nan=False)))
        assert policy.ask(view).action == decision.action
        assert restored.ask(view) == policy.ask(view)
        policy.tell(decision, result)
    assert isinstance(policy.ask(steps[-1][0]), Finish)
    restored = fresh()
    restored.restore(json.loads(json.dumps(policy.state(), allow_nan=False)))
    assert restored.ask(steps[-1][0]) == policy.ask(steps[-1][0])


@pytest.mark.parametrize("status", ["failed", "rejected", "refused"])
def test_an_act_that_came_to_nothing_is_asked_for_again(steps, status):
    policy = fresh()
    for view, decision, result in steps[:6]:
        asked = policy.ask(view)
        policy.tell(asked, Result(result.outcome.replace(status=status), result.frames))
        assert policy.ask(view).action == asked.action
        policy.tell(decision, result)


def test_a_setting_that_was_not_reached_is_set_again_before_any_image():
    job = assembled(f"{SPECIMENS}=[{FLAT}]")
    step, failed = job.environment.step, []

    def sticky(act):
        if isinstance(act.action, SetOptics) and len(failed) < 1:
            failed.append(act)
            raise NotReached("lens stuck", where="set_optics", value=0.0, limit=1.0)
        return step(act)

    job.environment.step = sticky
    end, log = run(job)
    assert end.faults == 1
    assert log.steps[1].decision.action == log.steps[0].decision.action
    assert "set: defocus" in end.reason


def test_asking_twice_changes_nothing(steps):
    policy = fresh()
    for view, decision, result in steps:
        assert policy.ask(view) == policy.ask(view)
        policy.tell(decision, result)


def test_a_finer_field_than_the_first_is_refused_the_other_way_round():
    with pytest.raises(ValueError, match="finest"):
        AlignPolicy.Config(fov_m=1e-8)


def aberrations(offset_nm, std_nm):
    return Aberrations(np.array(offset_nm) * 1e-9, np.eye(3) * (std_nm * 1e-9) ** 2, 1.0, 1.0)


def test_a_pair_that_contradicts_what_was_known_is_not_believed_and_the_doubt_is_told():
    before, wrong = aberrations([100.0, 20.0, -30.0], 3.0), aberrations([151.0, 60.0, -30.0], 2.0)
    kept = _reconciled(before, wrong, 10e-9, together=True)
    np.testing.assert_array_equal(kept.offset_m, before.offset_m)
    assert kept.std_m > 5.0 * before.std_m


def test_after_a_contradiction_the_next_pair_decides():
    before, other = aberrations([100.0, 20.0, -30.0], 3.0), aberrations([151.0, 60.0, -30.0], 2.0)
    doubted = _reconciled(before, other, 0.0, together=True)
    settled = _reconciled(doubted, other, 0.0, together=True)
    assert np.abs(settled.offset_m - other.offset_m).max() < 2e-9


def test_two_close_pairs_that_agree_are_told_together_and_others_are_not():
    before, found = aberrations([100.0, 20.0, -30.0], 3.0), aberrations([103.0, 21.0, -31.0], 3.0)
    both = _reconciled(before, found, 0.0, together=True)
    np.testing.assert_allclose(both.offset_m, 0.5 * (before.offset_m + found.offset_m))
    assert both.std_m < found.std_m
    assert _reconciled(before, found, 10e-9, together=False) is found


def test_a_specimen_that_lies_higher_in_another_field_is_no_contradiction():
    before, found = aberrations([100.0, 20.0, -30.0], 2.0), aberrations([120.0, 20.0, -30.0], 2.0)
    assert _reconciled(before, found, 10e-9, together=False) is found
    assert _reconciled(before, found, 0.0, together=False) is not found
