"""Taking up a run on an instrument that outlived the agent, or was restarted, or does not remember."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscope.clock import ResumedClock, SimClock
from autoscope.engine.events import RunStatus
from autoscope.engine.history import read_history
from autoscope.errors import AutoscopeError, NotReached, NotRepeatable, OutcomeUnknown, Unreachable
from autoscope.journal import MemoryJournal
from autoscope.records import MoveStage, Wait
from tests.unit.engine.scripted import Environment, Policy, Trial, spot

PLAN = [spot(0), spot(1), MoveStage(x_m=5e-6), spot(3), Wait(duration_s=2.0), spot(5)]


class Surviving(Environment):
    """Outlives the agent, and remembers what it did."""

    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.memory, self.unknown, self.times = {}, set(), []

    def step(self, act):
        self.times.append(act.act_id)
        answer = super().step(act)
        self.memory[act.act_id] = answer[-1]["observation"]
        return answer

    def recall(self, act_id):
        if act_id in self.unknown:
            raise OutcomeUnknown("nobody can say", where=act_id)
        return self.memory.get(act_id)


class Tried(Trial):
    """A trial that can be cut off after any record and taken up again."""

    def __init__(self, answers=PLAN, **settings):
        super().__init__(answers, **settings)
        self.plan, self.settings = answers, settings
        self.environment = Surviving(self.clock, self.log)
        object.__setattr__(self.engine._job, "environment", self.environment)

    def cut(self, records, *, forget=False):
        """Return a trial of the same run, cut off after so many records, on the same instrument."""
        again = Tried(self.plan, **self.settings)
        again.journal._rows, again.journal._frames = self.journal._rows[:records], dict(self.journal._frames)
        again.journal._names = set(self.journal._names)
        known = {r.body["act_id"] for r in again.journal.records("outcome")}
        intended = [r.body["act_id"] for r in again.journal.records("intent")]
        done = [a for a in intended if a in known and a in self.environment.memory]
        open_ = [a for a in intended if a not in known and a in self.environment.memory]
        there = done + ([] if forget else open_[:1])
        again.environment.memory = {a: self.environment.memory[a] for a in there}
        if there:
            last = self.environment.memory[there[-1]].state
            again.environment.dose_e, again.environment.x_m = last.dose_e, last.x_m
        again.open = open_
        return again

    def resumed(self):
        self.taken = self.engine.take_up(read_history(self.journal), self.journal)
        self.end = self.engine.go_on()
        return self

    def told(self):
        return [(d.action, o.status, o.dose_e) for d, o in self.policy.told]


def whole(lookahead=0, **more):
    return Tried(engine={"lookahead": lookahead}, **more).run()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 14), st.sampled_from([0, 1]), st.booleans())
def test_after_any_record_nothing_is_done_twice_and_the_run_ends_the_same(records, lookahead, forget):
    first = whole(lookahead)
    again = first.cut(min(records, len(first.journal._rows) - 1), forget=forget)
    before = set(again.environment.memory)
    again.resumed()
    assert not before & set(again.environment.times)
    assert len(again.environment.times) == len(set(again.environment.times))
    assert again.told() == first.told()
    assert (again.end.status, again.end.steps) == (RunStatus.COMPLETED, first.end.steps)
    assert again.end.dose_e == first.end.dose_e
    intents = [r.body["decision"] for r in again.journal.records("intent")]
    assert intents == [r.body["decision"] for r in first.journal.records("intent")]


def test_of_an_act_nobody_can_tell_about_a_failed_outcome_is_written_and_it_is_not_sent_again():
    first = whole()
    again = first.cut(2)  # run_started, intent 0
    again.environment.unknown = {"test-000000"}
    again.environment.dose_e = 0.7
    again.resumed()
    outcome = again.bodies("outcome")[0]
    assert (outcome["status"], outcome["fault"]["error"], outcome["dose_e"]) == ("failed", "OutcomeUnknown", 0.7)
    assert "test-000000" not in again.environment.times
    assert again.end.dose_e == pytest.approx(0.7 + 3.0)
    assert "OutcomeUnknown" in again.bodies("run_resumed")[0]["open"]["test-000000"]


def test_an_act_that_had_failed_is_written_down_as_it_failed():
    again = whole().cut(2)
    again.environment.recall = lambda act_id: (_ for _ in ()).throw(NotReached("stopped short"))
    again.resumed()
    assert again.bodies("outcome")[0]["fault"] == {"error": "NotReached", "message": "stopped short"}


def test_an_instrument_that_cannot_be_reached_leaves_the_record_as_it_was():
    again = whole().cut(2)
    again.environment.recall = lambda act_id: (_ for _ in ()).throw(Unreachable("nobody answers"))
    rows = len(again.journal._rows)
    with pytest.raises(Unreachable):
        again.engine.take_up(read_history(again.journal), again.journal)
    assert len(again.journal._rows) == rows
    assert again.environment.closed


def test_a_restarted_instrument_does_not_give_spent_electrons_back():
    first = whole(budget={"dose_e": 3.0})
    again = first.cut(5)  # two spectra are measured
    again.environment.dose_e = 0.0
    again.resumed()
    assert again.taken.restarted
    assert again.taken.spent.dose_e == 2.0
    assert again.end.reason == "the dose budget of 3 e is spent"
    assert again.end.dose_e == 3.0


def test_electrons_that_fell_while_nobody_looked_are_counted():
    again = whole().cut(5)
    again.environment.dose_e += 10.0
    again.resumed()
    assert again.taken.spent.dose_e == 12.0


def test_an_instrument_found_otherwise_than_it_was_left_is_told_of():
    again = whole().cut(7)  # after the stage has moved
    again.environment.x_m = 9e-6
    again.resumed()
    assert [(d.field, d.recorded, d.now) for d in again.taken.differs] == [("x_m", 5e-6, 9e-6)]
    assert "x_m" in again.bodies("run_resumed")[0]["differences"][0]
    assert again.policy.views[-1].state.x_m == 9e-6


def test_a_policy_that_decides_otherwise_stops_the_resumption_before_anything_is_written():
    again = whole().cut(5)
    again.policy.answers[1] = spot(77)
    rows = len(again.journal._rows)
    with pytest.raises(NotRepeatable, match="step 1"):
        again.engine.take_up(read_history(again.journal), again.journal)
    assert len(again.journal._rows) == rows
    assert not again.environment.times


def test_going_on_needs_a_run_taken_up():
    with pytest.raises(AutoscopeError, match="not been taken up"):
        Tried().engine.go_on()


def test_an_end_after_too_many_faults_is_forgiven_by_who_resumes_after_it_but_not_by_a_crash():
    def trial():
        return Tried([MoveStage(x_m=1.0)] * 9, engine={"lookahead": 0, "max_consecutive_faults": 3})

    first = trial().run()
    assert first.end.status is RunStatus.FAILED
    crashed = first.cut(len(first.journal._rows) - 1).resumed()  # killed before the end was written
    assert (crashed.end.steps, crashed.end.reason) == (3, first.end.reason)
    ended = first.cut(len(first.journal._rows))
    ended.journal._refuse_if_over = lambda kind: None  # as a journal that was reopened
    ended.resumed()
    assert ended.end.steps == 6
    twice = ended.cut(len(ended.journal._rows) - 1).resumed()
    assert (twice.end.steps, twice.end.faults) == (6, 6)


def test_a_resumed_clock_jumps_until_it_goes_on_and_never_counts_the_time_between():
    real = SimClock()
    clock = ResumedClock(real)
    clock.wait(5.0)
    real.wait(1000.0)
    clock.go_to(60.0)
    clock.go_to(30.0)
    assert clock.now_s() == 60.0
    clock.go_on()
    clock.wait(2.0)
    clock.go_to(99.0)
    assert clock.now_s() == 62.0
    assert clock.wall() == real.wall()


def test_a_memory_journal_of_another_run_is_no_history():
    journal = MemoryJournal(clock=SimClock())
    assert not read_history(journal).begun
    assert isinstance(Policy([], []), Policy)
