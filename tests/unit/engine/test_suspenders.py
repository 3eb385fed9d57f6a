"""A run held while beam, vacuum or another reading is not as it should be."""

import pytest
from pydantic import ValidationError

from autoscope.clock import SimClock
from autoscope.conditions import READINGS, threshold
from autoscope.config import Document, RunConfig
from autoscope.engine.assemble import assemble, resolve
from autoscope.engine.events import RunStatus
from autoscope.engine.history import read_history
from autoscope.engine.loop import Engine
from autoscope.engine.rebuilding import Stored
from autoscope.engine.replaying import replay
from autoscope.engine.steering import QueueInbox
from autoscope.errors import ConfigError, Unsupported
from autoscope.fitness import SuspenderConfig
from autoscope.journal import MemoryJournal
from autoscope.records import Intervention
from tests.unit.engine.scripted import Trial, spot

NIGHT = """
name: held
seed: 3
environment:
  name: simulated
  options:
    microscope:
      specimens: [{kind: nanoparticles, extent: [300 nm, 300 nm], count: 4}]
      faults: {events: [{kind: beam_loss, at: 8 s, lasts: 200 s}, {kind: vacuum, at: 240 s, lasts: 50 s}]}
policy:
  name: random
  options: {target: plasmon, overview: {fov: 200 nm, width_px: 24, height_px: 24}, dwell: 1 s, signals: [EELS]}
scalarizers: {plasmon: {name: band_integral, options: {band: [1.6 eV, 2.2 eV]}}}
budget: {steps: 40}
engine:
  suspenders:
    conditions: [{reads: beam_current, below: 20 pA}, {reads: vacuum, above: 1 mPa}]
    settle: 20 s
"""


def held(changes="", *, seed=3, lookahead=0, policy="random"):
    text = NIGHT.replace("seed: 3", f"seed: {seed}").replace("name: random", f"name: {policy}")
    return resolve(Document(text.replace("engine:", f"engine:\n  lookahead: {lookahead}") + changes, "held.yaml"))


def recorded(resolved_, **more):
    job = assemble(resolved_)
    journal = MemoryJournal(clock=job.clock)
    end = Engine(job, journal, stopwatch=lambda: 0.0, **more).run()
    return job, end, journal


def notes(journal, event):
    return [r for r in journal.records("note") if r.body.get("event") == event]


@pytest.mark.parametrize("lookahead", [0, 1])
def test_the_run_waits_for_beam_and_vacuum_blanked_and_goes_on(lookahead):
    _, end, journal = recorded(held(lookahead=lookahead, policy="gp" if lookahead else "random"))
    assert end.status is RunStatus.COMPLETED
    reasons = [r.body["reason"] for r in notes(journal, "suspended")]
    assert reasons[0] == "beam current is 5e-12 A, below 20 pA"
    assert "vacuum is 0.01 Pa, above 1 mPa" in reasons
    released = notes(journal, "released")
    assert len(released) == len(reasons)
    first, after = notes(journal, "suspended")[0], released[0]
    assert after.time_s >= 208.0 + 20.0
    assert after.body["state"]["blanked"]
    assert after.body["state"]["dose_e"] == first.body["state"]["dose_e"]
    intents = [r for r in journal.records("intent") if first.time_s < r.time_s < after.time_s]
    assert intents == []


def test_nobody_learns_from_what_was_recorded_when_the_beam_failed():
    _, _, journal = recorded(held())
    lost = [r.body for r in journal.records("outcome") if (r.body["fault"] or {}).get("error") == "ConditionLost"]
    assert lost
    assert all(body["status"] == "rejected" and body["frames"] and not body["values"] for body in lost)
    good = [r.body for r in journal.records("outcome") if r.body["status"] == "done" and r.body["values"]]
    assert all(body["state"]["beam_current_a"] == 50e-12 for body in good)


def test_the_policy_sees_how_often_it_was_held_and_replay_asks_it_the_same():
    config = held()
    _, _, journal = recorded(config)
    seen = [r.body["asked"]["view"].get("suspensions", 0) for r in journal.records("intent")]
    assert seen == sorted(seen)
    assert seen[-1] == len(notes(journal, "suspended")) == 2
    policy = assemble(config).policy
    found = replay(read_history(journal), policy, Stored(journal))
    assert found.ok
    assert found.decisions == len(seen)


@pytest.mark.parametrize("cut", [6, 20, 60])
def test_a_run_cut_off_before_within_or_after_a_suspension_goes_on_to_the_same_record(cut):
    config = held()
    _, end, journal = recorded(config)
    job = assemble(config)
    part = MemoryJournal(clock=job.clock)
    part._rows, part._frames, part._names = journal._rows[:cut], dict(journal._frames), set(journal._names)
    engine = Engine(job, part, stopwatch=lambda: 0.0)
    engine.take_up(read_history(part), part)
    again = engine.go_on()
    assert again == end
    decisions = [[r.body["decision"] for r in j.records("intent")] for j in (part, journal)]
    assert decisions[0] == decisions[1]
    for ours, theirs in zip(part.records("outcome"), journal.records("outcome"), strict=True):
        assert [f["sha256"] for f in ours.body["frames"]] == [f["sha256"] for f in theirs.body["frames"]]
        assert ours.body | {"frames": []} == theirs.body | {"frames": []}


def test_a_person_can_stop_a_run_that_is_held():
    class Impatient(QueueInbox):
        looks = 0

        def take(self):
            Impatient.looks += 1
            if Impatient.looks == 12:
                self.post(Intervention(who="op", when="", why="enough", command="stop"))
            return super().take()

    _, end, journal = recorded(held(), inbox=Impatient())
    assert end.status is RunStatus.STOPPED
    assert end.safe
    assert len(notes(journal, "suspended")) == len(notes(journal, "released")) + 1


def test_a_beam_that_does_not_come_back_ends_the_run_as_failed_and_safe():
    _, end, _ = recorded(held("    longest: 100 s\n"))
    assert end.status is RunStatus.FAILED
    assert "longer than allowed: beam current is 5e-12 A" in end.reason
    assert end.safe


def test_what_the_instrument_does_not_read_back_cannot_hold_a_run():
    engine = {"suspenders": {"conditions": [{"reads": "vacuum", "above": "1 mPa"}]}}
    with pytest.raises(Unsupported, match="does not read this back"):
        Trial([spot(0)], clock=SimClock(), engine=engine).engine._open()


def test_a_condition_that_always_holds_changes_nothing():
    engine = {"lookahead": 0, "suspenders": {"conditions": [{"reads": "beam_current", "below": "1e-20 A"}]}}
    with_, without = Trial([spot(k) for k in range(5)], engine=engine), Trial([spot(k) for k in range(5)], engine={})
    assert with_.run().bodies("outcome") == without.run().bodies("outcome")
    assert with_.bodies("note") == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"reads": "beam_currant", "below": "1 pA"}, "no such reading"),
        ({"reads": "beam_current"}, "needs a limit"),
        ({"reads": "beam_current", "below": "20"}, "has no unit"),
        ({"reads": "vacuum", "above": "3 K"}, "not a quantity"),
        ({"reads": "beam_current", "below": "2 nA", "above": "1 nA"}, "nothing lies between"),
    ],
    ids=["name", "no limit", "no unit", "other unit", "empty"],
)
def test_a_condition_that_cannot_be_meant_is_refused_with_the_reason(given, said):
    with pytest.raises(ValidationError, match=said):
        SuspenderConfig.model_validate(given)


def test_the_error_in_a_file_names_the_line():
    text = NIGHT.replace("beam_current, below: 20 pA", "beam_current, below: 20")
    with pytest.raises(ConfigError, match=r"held.yaml:\d+: engine.suspenders.conditions.0"):
        Document(text, "held.yaml").validate(RunConfig)


def test_readings_are_named_as_people_type_them():
    assert READINGS["vacuum"] == ("vacuum_pa", "Pa")
    assert threshold("temperature", "400 K") == 400.0
