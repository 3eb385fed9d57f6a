"""Autofocus through the real loop: the defocus set at the end against the hidden truth."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from autoscope.config import Document
from autoscope.engine.assemble import assemble, resolve
from autoscope.engine.loop import Engine
from autoscope.journal import MemoryJournal
from autoscope.records import Finish, Result, View

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "focus.yaml"


def assembled(*overrides):
    document = Document.read(CONFIG)
    for assignment in overrides:
        document.override(assignment)
    return assemble(resolve(document))


@pytest.mark.parametrize("hidden_nm", [-600, -150, 0, 350, 700])
def test_the_focus_found_is_the_true_one_within_a_tenth_of_the_span(hidden_nm):
    job = assembled(f"environment.options.microscope.lens.hidden_defocus={hidden_nm} nm")
    end = Engine(job, MemoryJournal(clock=job.clock)).run()
    assert "focused at a defocus" in end.reason
    assert abs(job.environment.truth()["true_defocus_m"]) < 90e-9
    assert end.steps <= 2 * 9 + 1


def test_a_restored_focus_policy_goes_on_where_the_first_one_stood():
    job = assembled()
    journal = MemoryJournal(clock=job.clock)
    Engine(job, journal).run()
    steps = list(journal.steps())
    original, restored = assembled().policy, assembled().policy
    for step in steps[:7]:
        frames = tuple(journal.load_frame(ref) for ref in step.outcome.frames)
        original.tell(step.decision, Result(step.outcome, frames))
    restored.restore(yaml.safe_load(yaml.safe_dump(original.state())))
    state = steps[6].outcome.state
    view = View.model_construct(state=state)
    assert restored.ask(view) == original.ask(view)
    assert original.ask(view).action == steps[7].decision.action


def test_a_finished_focus_policy_stays_finished():
    job = assembled()
    Engine(job, MemoryJournal(clock=job.clock)).run()
    answer = job.policy.ask(View.model_construct(state=job.environment.read_state()))
    assert isinstance(answer, Finish)
    assert np.isfinite(job.policy.state()["set_m"])
