"""The sample is loaded first and the instrument left in order last, whatever happens in between."""

import json

import pytest
import yaml

from autoscope.cli.running import read_config
from autoscope.clock import SimClock
from autoscope.config import Document
from autoscope.engine.assemble import assemble, make_policy, resolve
from autoscope.engine.events import RunStatus
from autoscope.engine.history import read_history
from autoscope.engine.loop import Engine
from autoscope.engine.preparing import PREPARATION, decider
from autoscope.engine.steering import QueueInbox
from autoscope.errors import InstrumentError
from autoscope.journal import MemoryJournal
from autoscope.records import Decision, Intervention, Outcome, Result

TEXT = """
name: carousel
environment:
  name: simulated
  options:
    microscope:
      valves: {travel: 3 s}
      carousel: {will_not_load: STUCK}
      specimens:
        - {kind: nanoparticles, extent: [300 nm, 300 nm], count: 4}
        - {kind: nanoparticles, extent: [300 nm, 300 nm], count: 6}
policy:
  name: random
  options: {target: plasmon, overview: {fov: 200 nm, width_px: 24, height_px: 24}, signals: [EELS], points: 3}
scalarizers: {plasmon: {name: band_integral, options: {band: [1.6 eV, 2.2 eV]}}}
sample_slot: 1
end: {park: {x: 5 um, y: -5 um}}
"""


def made(stuck="[]", more=""):
    """Return job and journal of a run."""
    job = assemble(resolve(Document(TEXT.replace("STUCK", stuck) + more, "carousel.yaml")))
    return job, MemoryJournal(clock=job.clock)


def ran(stuck="[]", more="", inbox=None, before=lambda job: None):
    job, journal = made(stuck, more)
    before(job)
    safe = []
    closing = job.environment.close
    job.environment.close = lambda: (safe.append(job.environment.read_state()), closing())
    end = Engine(job, journal, inbox=inbox).run()
    return end, journal, safe[0]


def actions(journal):
    return [record.body["decision"]["action"]["kind"] for record in journal.records("intent")]


def test_the_sample_of_the_run_is_loaded_before_anything_else():
    end, journal, state = ran()
    assert (end.status, actions(journal)[0]) == (RunStatus.COMPLETED, "load_sample")
    assert state.sample_slot == 1
    assert [record.body["state"]["sample_slot"] for record in journal.records("outcome")] == [1] * 5


def test_a_sample_that_does_not_load_fails_the_run_after_two_tries_and_nothing_is_exposed():
    end, journal, state = ran(stuck="[1]")
    assert end.status is RunStatus.FAILED
    assert "slot 1: the sample could not be loaded" in end.reason
    assert actions(journal) == ["load_sample"] * 2
    assert (end.dose_e, state.sample_slot) == (0.0, 0)


def left_in_order(end, state):
    assert end.safe
    assert (state.blanked, state.valves_open) == (True, False)
    assert (state.x_m, state.y_m) == pytest.approx((5e-6, -5e-6), abs=5e-8)


def test_at_the_end_the_stage_is_parked_and_the_valves_are_closed():
    end, journal, state = ran()
    left_in_order(end, state)
    told = [(record.body["event"], record.body.get("action", {}).get("kind")) for record in journal.records("closing")]
    assert told == [("intended", "move_stage"), ("done", None), ("intended", "set_valves"), ("done", None)]


def test_also_where_the_sample_does_not_load():
    end, _, state = ran(stuck="[1]")
    left_in_order(end, state)


def test_also_after_a_stop_and_after_an_interrupt():
    inbox = QueueInbox()
    inbox.post(Intervention(who="terminal", when="", why="SIGINT", command="stop"))
    end, _, state = ran(inbox=inbox)
    assert end.status is RunStatus.STOPPED
    left_in_order(end, state)

    def interrupt(job):
        def interrupted(view):
            raise KeyboardInterrupt

        job.policy.ask = interrupted

    end, _, state = ran(before=interrupt)
    assert end.status is RunStatus.STOPPED
    left_in_order(end, state)


def test_also_where_a_plug_in_has_a_bug():
    def break_(job):
        def broken(view):
            raise ZeroDivisionError("a bug")

        job.policy.ask = broken

    end, _, state = ran(before=break_)
    assert end.status is RunStatus.FAILED
    left_in_order(end, state)


def test_an_end_action_that_fails_is_told_and_does_not_keep_the_others_from_being_done():
    end, journal, state = ran(more="limits: {x: [-1 um, 1 um]}\n")
    assert end.status is RunStatus.COMPLETED
    assert "; at the end move stage failed: move_stage: x_m would leave what is permitted" in end.reason
    assert (state.valves_open, state.blanked) == (False, True)
    assert [r.body["event"] for r in journal.records("closing")] == ["intended", "failed", "intended", "done"]


def test_nothing_is_closed_that_the_instrument_cannot_close():
    text = TEXT.replace("      valves: {travel: 3 s}\n", "").replace("STUCK", "[]")
    job = assemble(resolve(Document(text, "x")))
    journal = MemoryJournal(clock=job.clock)
    end = Engine(job, journal).run()
    assert (end.status, end.safe) == (RunStatus.COMPLETED, True)
    assert [r.body["action"]["kind"] for r in journal.records("closing") if "action" in r.body] == ["move_stage"]


def test_with_closed_valves_no_beam_reaches_the_sample_and_the_next_run_opens_them():
    job, journal = made()
    reset = job.environment.reset

    def closed(**how):
        answer = reset(**how)
        job.environment._instrument._valves_open = False
        return answer

    job.environment.reset = closed
    end = Engine(job, journal).run()
    assert end.status is RunStatus.COMPLETED
    assert actions(journal)[:2] == ["set_valves", "load_sample"]


@pytest.mark.parametrize("records", [2, 3, 5, 8])
def test_a_run_cut_off_while_or_after_loading_ends_like_one_that_was_not(records):
    end, journal, _ = ran()
    job, again = made()
    again._rows, again._frames, again._names = journal._rows[:records], dict(journal._frames), set(journal._names)
    engine = Engine(job, again)
    engine.take_up(read_history(again), again)
    assert engine.go_on() == end
    assert actions(again) == actions(journal)


def test_the_policy_is_told_of_all_acts_but_those_of_the_preparation():
    _, journal, _ = ran()
    job, _ = made()
    policy, told = make_policy(job.resolved), []
    decider(policy).tell = lambda decision, result: told.append(decision.purpose)
    outcomes = [Outcome.model_validate_json(json.dumps(r.body)) for r in journal.records("outcome")]
    intents = [Decision.model_validate_json(json.dumps(r.body["decision"])) for r in journal.records("intent")]
    for decision, outcome in zip(intents, outcomes):
        policy.tell(decision, Result(outcome))
    assert intents[0].acquisition == PREPARATION
    assert told == ["overview", "spectrum", "spectrum", "spectrum"]


def test_a_run_that_asks_for_no_sample_and_no_end_is_as_it_was(tmp_path):
    plain = yaml.safe_load(TEXT.replace("STUCK", "[]"))
    del plain["sample_slot"], plain["end"]
    path = tmp_path / "plain.yaml"
    path.write_text(yaml.safe_dump(plain))
    resolved = read_config(path, [])
    policy = make_policy(resolved)
    assert policy is decider(policy)
    assert not {"sample_slot", "end"} & set(resolved.plain())
    job = assemble(resolved)
    journal = MemoryJournal(clock=job.clock)
    assert Engine(job, journal).run().status is RunStatus.COMPLETED
    assert list(journal.records("closing")) == []


def test_a_jammed_sample_is_the_same_answer_when_the_act_is_sent_again():
    from autoscope.records import Act, LoadSample

    job, _ = made("[1]")
    job.environment.reset(seed=0, options={"bare": True})
    instrument = job.environment._instrument
    act = Act(act_id="load", action=LoadSample(slot=1))
    for _ in range(2):
        with pytest.raises(InstrumentError, match="jammed"):
            instrument.execute(act)
    assert isinstance(job.clock, SimClock)
    assert job.clock.now_s() == 120.0


def test_an_instrument_that_outlived_a_stopped_run_is_brought_back_before_the_next_act():
    from autoscope.records import MoveStage
    from tests.unit.engine.scripted import spot
    from tests.unit.engine.test_resuming import Tried

    plan = [MoveStage(x_m=5e-6), spot(1), spot(2)]
    settings = {"engine": {"lookahead": 0, "decision_time": "0 s"}, "end": {"park": {"x": "1 mm", "y": "0 um"}}}
    first = Tried(plan[:2], **settings).run()
    assert first.environment.x_m == 1e-3  # parked
    again = first.cut(len(list(first.journal.records())))
    again.environment.x_m = first.environment.x_m
    again.policy.answers = list(plan)
    history = read_history(again.journal)
    assert history.left
    again.engine.take_up(history, again.journal)
    again.engine.go_on()
    kinds = [r.kind for r in again.journal.records()]
    assert kinds.index("returning") < kinds.index("run_resumed")
    moves = [act.action.x_m for act in again.environment.acts if act.action.kind == "move_stage"]
    assert moves[0] == 5e-6
    assert again.environment.acts[1].action == spot(2)
