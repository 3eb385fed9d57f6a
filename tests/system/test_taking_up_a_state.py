"""Taking up its own state changes nothing in a policy, however often it does: every policy, as configs/ uses it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autoscope.config import Document
from autoscope.engine.assemble import assemble, make_policy, resolve
from autoscope.engine.loop import Engine
from autoscope.journal import MemoryJournal

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ACTS = {
    "align": 12,
    "beam_sensitive": 14,
    "carousel_nanoparticles": 14,
    "fault_rehearsal": 60,
    "focus": 12,
    "grid_levels": 30,
    "human": 14,
    "overnight_survey": 70,
    "pareto": 14,
    "raster_survey": 14,
    "segment_and_visit": 60,
    "vacancies": 6,
    "visit": 14,
}
"""Acts after which each configuration has refitted, moved, focused or found again."""


class Settling:
    """A policy that takes up its own state before every question."""

    def __init__(self, policy, settle):
        self.policy, self._settle = policy, settle

    def ask(self, view):
        self.policy = self._settle(self.policy)
        return self.policy.ask(view)

    def tell(self, decision, result):
        self.policy.tell(decision, result)

    def state(self):
        return self.policy.state()

    def restore(self, state):
        self.policy.restore(state)


def plain(policy):
    return json.loads(json.dumps(policy.state(), allow_nan=False))


def once(policy):
    policy.restore(plain(policy))
    return policy


def twice(policy):
    return once(once(policy))


def decisions(resolved, acts, settle):
    config = resolved.config.replace(budget=resolved.config.budget.replace(steps=acts))
    job = assemble(replace(resolved, config=config))
    policy = Settling(job.policy, settle)
    journal = MemoryJournal(clock=job.clock, keep_frames=False, deferred=True)
    Engine(replace(job, policy=policy), journal).run()
    intents = [record.body["decision"] for record in journal.records("intent")]
    return intents, json.dumps(plain(policy))


@pytest.mark.parametrize("name", sorted(ACTS))
def test_once_twice_and_in_another_object_are_the_same(name):
    resolved = resolve(Document.read(CONFIGS / f"{name}.yaml"))

    def in_another_object(policy):
        other = make_policy(resolved)
        other.restore(plain(policy))
        return other

    first, state = decisions(resolved, ACTS[name], once)
    assert len(first) > ACTS[name] // 2
    for settle in (twice, in_another_object):
        again, left = decisions(resolved, ACTS[name], settle)
        assert again == first
        assert left == state
