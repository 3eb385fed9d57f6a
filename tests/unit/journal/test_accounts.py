"""The budget of a run is counted again, and what does not agree is named."""

import pytest

from autoscope.clock import SimClock
from autoscope.journal import Journal, verify
from autoscope.records import Decision, MicroscopeState, Outcome, Wait
from autoscope.testing.disk import CarelessDisk

DECISION = Decision(action=Wait(duration_s=1.0), purpose="wait", reason="test")


class Night:
    """Writes a run act by act; ``dose_e`` is what the instrument has counted."""

    def __init__(self, folder, budget=None):
        self.folder, self.clock, self.dose_e, self.step = folder, SimClock(), 1000.0, 0
        self.journal = Journal.create(folder, clock=self.clock, disk=CarelessDisk())
        self.start_e = self.dose_e
        self.journal.append("run_started", {"config": {"budget": budget or {}}, "state": self.state()})

    def state(self, **changes):
        return MicroscopeState(time_s=self.clock.now_s(), dose_e=self.dose_e, blanked=True).replace(**changes)

    def act(self, dose_e=10.0, *, counted_e=None, status="done", takes_s=1.0, step=None):
        step = self.step if step is None else step
        act_id, before = f"act-{self.step}", self.state()
        self.journal.append("intent", {"act_id": act_id, "decision": DECISION, "cost": {}}, step=step)
        self.clock.wait(takes_s)
        self.dose_e += dose_e
        told = dose_e if counted_e is None else counted_e
        outcome = Outcome(act_id=act_id, status=status, state_before=before, state=self.state(), dose_e=told)
        self.journal.append("outcome", outcome, step=step)
        self.step += 1
        return self

    def end(self, **claims):
        spent_e, time_s = self.dose_e - self.start_e, self.clock.now_s()
        body = {"status": "completed", "reason": "done", "steps": self.step, "time_s": time_s, "dose_e": spent_e}
        self.journal.append("run_ended", body | {"safe": True} | claims)
        self.journal.close()
        return [problem.what for problem in verify(self.folder).problems]


@pytest.fixture
def night(tmp_path):
    return lambda **budget: Night(tmp_path / "run", budget)


def test_a_run_within_its_budget_verifies(night):
    assert night(dose="30 e", steps=3, time="4 s").act().act().act().end() == []


def test_dose_an_act_claims_against_its_states_is_named(night):
    assert night().act(10.0, counted_e=5.0).end() == ["claims 5 electrons, its states say 10"]


def test_dose_counter_that_falls_during_an_act_is_named(night):
    (first, *_) = night().act(-10.0, counted_e=0.0).end(dose_e=0.0)
    assert first == "the dose counter fell during the act, from 1000 to 990 electrons"


def test_dose_counter_that_falls_between_acts_is_named_unless_the_run_was_resumed(night):
    made = night().act()
    made.dose_e = 0.0
    found = made.act().end(dose_e=20.0)
    assert found == ["the dose counter fell since the act before, from 1010 to 0 electrons"]


def test_instrument_started_anew_for_a_resumed_run_counts_on(night):
    made = night().act()
    made.journal.append("run_resumed", {"why": "killed"})
    made.dose_e = 0.0
    assert made.act().end(dose_e=20.0) == []


def test_totals_of_the_end_are_compared_with_the_records(night):
    assert night().act().act().end(steps=3) == ["claims 3 steps, the record holds the outcomes of 2"]


def test_dose_of_the_end_is_compared_with_the_states(night):
    assert night().act().act().end(dose_e=25.0) == ["claims 25 electrons, its acts and states say 20"]


def test_time_of_the_end_is_compared_with_the_span_of_the_records(night):
    assert night().act(takes_s=100.0).end(time_s=50.0) == ["claims 50 s, its records span 100 s"]


def test_act_begun_when_the_dose_was_spent_is_named(night):
    found = night(dose="15 e").act().act().act().end()
    assert found[0] == "was begun with 20 electrons spent, the budget is 15"


def test_act_begun_when_the_steps_were_spent_is_named(night):
    assert night(steps=2).act().act().act().end() == ["was begun as step 2, the budget has 2 (counted from 0)"]


def test_budget_changed_when_the_run_was_resumed_is_the_one_that_counts_from_there(night):
    made = night(steps=2).act().act()
    made.journal.append("run_resumed", {"because": "stopped", "config": {"budget": {"steps": 3}}})
    assert made.act().act().end() == ["was begun as step 3, the budget has 3 (counted from 0)"]


def test_act_begun_when_the_time_was_spent_is_named(night):
    found = night(time="10 s").act(takes_s=60.0).act().end()
    assert found[0].startswith("was begun after 59.95 s, the time budget is 10 s")


def test_last_exposure_may_pass_the_dose_budget_but_two_may_not(night):
    assert night(dose="15 e").act().act().end() == []


def test_refused_act_is_never_blamed_for_what_was_spent(night):
    assert night(dose="15 e").act().act().act(0.0, status="refused").end() == []


def test_budget_that_cannot_be_understood_is_said_so(night):
    assert "its budget cannot be understood" in night(dose="much").act().end()[0]


def test_wrong_figures_leave_the_steps_proven(night, tmp_path):
    night().act().act().end(steps=7)
    result = verify(tmp_path / "run")
    assert (result.proven_steps, result.proven) == (2, ((0, 1),))
