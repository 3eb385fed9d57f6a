"""Whatever goes wrong while deciding overlaps acquiring, the record is whole and the instrument safe."""

import threading
from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscope.clock import SimClock, SystemClock
from autoscope.engine.events import RunStatus
from autoscope.engine.steering import QueueInbox
from autoscope.errors import JournalError, JournalFull, NotReached, OutcomeUnknown, PluginError
from autoscope.journal import Journal, JournalReader, verify
from autoscope.records import Finish, Intervention, MoveStage, Wait
from autoscope.testing.disk import FaultyDisk
from tests.unit.engine.scripted import Trial, spot

ACTS = 8
ANSWERS = st.one_of(
    st.integers(0, 99).map(spot),
    st.just(MoveStage(x_m=5e-3)),  # the guard refuses it
    st.just(Wait(duration_s=0.001)),
    st.just(Finish(reason="enough")),
    st.just(ValueError("a bug of the policy")),
)
TROUBLES = st.dictionaries(
    st.integers(0, ACTS),
    st.sampled_from([NotReached("stuck"), OutcomeUnknown("lost"), ZeroDivisionError("driver"), JournalFull("odd")]),
    max_size=4,
)
SETTINGS = st.fixed_dictionaries(
    {
        "lookahead": st.sampled_from([0, 1]),
        "max_consecutive_faults": st.integers(1, 4),
    }
)
ENDS = {
    "answers": st.lists(ANSWERS, max_size=ACTS),
    "troubles": TROUBLES,
    "engine": SETTINGS,
    "tell": st.none() | st.integers(1, ACTS),
    "stop_at": st.none() | st.integers(0, ACTS),
    "steps": st.none() | st.integers(1, ACTS),
    "late": st.booleans(),
}


def trial_of(clock, answers, troubles, engine, tell, stop_at, steps, late):
    inbox = QueueInbox()

    def during(n):
        if n == stop_at:
            inbox.post(Intervention(who="anna", when="", why="lunch", command="stop"))

    if late and engine["lookahead"]:
        engine = engine | {"decision_deadline": "1 ns"}
    trial = Trial(
        answers,
        clock=clock,
        inbox=inbox,
        troubles=troubles,
        during=during,
        runners_up=(spot(200), spot(201)),
        engine=engine,
        budget={"steps": steps} if steps else {},
    )
    if tell:
        trial.policy.tell_trouble = (tell, ValueError("cannot learn"))
    return trial


def assert_whole(trial, engine):
    records = list(trial.journal.records())
    kinds = [record.kind for record in records]
    assert kinds.count("run_ended") == 1
    assert kinds[-1] == "run_ended"
    intents, outcomes = (Counter(b["act_id"] for b in trial.bodies(kind)) for kind in ("intent", "outcome"))
    assert set(intents.values()) | set(outcomes.values()) <= {1}
    assert not set(outcomes) - set(intents)
    never = [b for b in trial.bodies("outcome") if b["fault"] and "never started" in b["fault"]["message"]]
    assert len(never) <= 1
    if engine["lookahead"]:
        assert intents == outcomes
        assert trial.end.steps == len(outcomes) - len(never)
    acts = [act.act_id for act in trial.environment.acts]
    assert len(set(acts)) == len(acts)
    assert set(acts) <= set(intents)
    assert not set(acts) & {b["act_id"] for b in never}
    told = [outcome.act_id for _, outcome in trial.policy.told]
    assert told == sorted(set(told))
    assert trial.environment.safe >= 1
    assert trial.environment.closed
    assert not [thread for thread in threading.enumerate() if thread.name in {"policy", "clerk"}]


@settings(max_examples=100, deadline=None)
@given(**ENDS)
def test_on_a_simulated_clock_every_intent_has_one_outcome_and_one_end_is_last(**given_):
    trial = trial_of(SimClock(), **given_).run()
    assert_whole(trial, given_["engine"])


@settings(max_examples=100, deadline=None)
@given(**ENDS)
def test_on_a_real_clock_every_intent_has_one_outcome_and_one_end_is_last(**given_):
    trial = trial_of(SystemClock(), **given_).run()
    assert_whole(trial, given_["engine"])


@settings(max_examples=50, deadline=None)
@given(**ENDS)
def test_the_same_faults_give_the_same_record_on_a_simulated_clock(**given_):
    first, second = ([r.hash for r in trial_of(SimClock(), **given_).run().journal.records()] for _ in range(2))
    assert first == second


def test_a_run_on_disk_with_an_act_never_started_verifies_and_reads_back(tmp_path):
    inbox, clock = QueueInbox(), SystemClock()
    trial = Trial([spot(k) for k in range(9)], clock=clock, inbox=inbox)
    trial.environment.during = lambda n: (
        inbox.post(Intervention(who="anna", when="", why="", command="stop")) if n == 3 else None
    )
    trial.engine._recorder = Journal.create(tmp_path / "run", clock=clock)
    trial.run()
    assert trial.end.status is RunStatus.STOPPED
    verdict = verify(tmp_path / "run")
    assert verdict.ok, verdict.summary
    assert (verdict.open_steps, verdict.proven_steps, verdict.orphans, verdict.ended) == (0, 5, (), True)
    steps = list(JournalReader.open(tmp_path / "run").steps())
    assert [step.outcome.status for step in steps] == ["done"] * 4 + ["refused"]
    assert [step.index for step in steps] == [0, 1, 2, 3, 4]


def run_on_disk(folder, clock, disk):
    """Return a run on a disk, whose engine may have met an error it could not even write down."""
    trial = Trial([spot(k) for k in range(4)], clock=clock)
    trial.engine._recorder = Journal.create(folder, clock=clock, disk=disk)
    begun = len(disk.calls)
    with suppress(JournalError):
        trial.run()
    return trial, begun


@pytest.mark.parametrize("clock", [SimClock, SystemClock])
@pytest.mark.parametrize("ailment", ["full", "broken"])
def test_a_disk_that_fails_at_any_call_ends_the_run_with_a_chain_that_verifies(tmp_path, monkeypatch, clock, ailment):
    monkeypatch.setattr("autoscope.journal.reserve.RESERVE_BYTES", 1 << 14)
    counting = FaultyDisk()
    _, begun = run_on_disk(tmp_path / "count", clock(), counting)
    for at in range(begun + 1, len(counting.calls) + 1, 3):
        folder = tmp_path / f"run{at}"
        trial, _ = run_on_disk(folder, clock(), FaultyDisk(at, ailment, for_ever=True))
        verdict = verify(folder)
        assert verdict.ok, verdict.summary
        assert trial.environment.safe >= 1
        assert trial.environment.closed
        assert not [thread for thread in threading.enumerate() if thread.name in {"policy", "clerk"}]
        intended = {record.body["act_id"] for record in JournalReader.open(folder).records("intent")}
        assert {act.act_id for act in trial.environment.acts} <= intended
        assert verdict.ended == (ailment == "full"), at
        assert trial.end is None or trial.end.status in {RunStatus.FAILED, RunStatus.COMPLETED}
        if ailment == "full":
            assert verdict.open_steps == 0, at


def test_a_policy_that_never_returns_holds_up_neither_the_blanker_nor_the_record():
    """Its thread is let go of by an interrupt; until then the run is over, safe and written down."""
    released, entered = threading.Event(), threading.Event()

    def think(n):
        if n == 1:
            entered.set()
            assert released.wait(60.0)

    trial = Trial([spot(0), spot(1)], clock=SystemClock(), thinking=think)

    def interrupt(n):
        assert entered.wait(60.0)
        raise KeyboardInterrupt

    seen = []
    close = trial.environment.close

    def closed():
        seen.append([record.kind for record in trial.journal.records()][-1])
        seen.append(trial.environment.safe)
        released.set()
        close()

    trial.environment.during, trial.environment.close = interrupt, closed
    trial.run()
    assert seen == ["run_ended", 1]
    assert trial.end.status is RunStatus.STOPPED


def test_an_interrupt_while_the_last_outcome_is_told_still_ends_the_record(monkeypatch):
    """First Ctrl-C: a stop. Second, while a slow policy hears of the last act: it is let go of."""
    inbox = QueueInbox()
    trial = Trial([spot(0), spot(1)], inbox=inbox)
    trial.environment.during = lambda n: inbox.post(Intervention(who="anna", when="", why="SIGINT", command="stop"))

    def tell(decision, result):
        raise KeyboardInterrupt

    monkeypatch.setattr(trial.policy, "tell", tell)
    trial.run()
    assert trial.end.status is RunStatus.STOPPED
    assert_whole(trial, {"lookahead": 1})


def test_a_scalarizer_with_a_bug_leaves_no_act_without_its_outcome():
    class Broken:
        identity = "broken/1/0"

        def fits(self, frame):
            return True

        def scalarize(self, frame, name):
            raise PluginError("a bug")

    trial = Trial([spot(k) for k in range(5)], clock=SystemClock())
    trial.engine._job.scalarizers["broken"] = Broken()
    trial.run()
    assert trial.end.status is RunStatus.FAILED
    assert_whole(trial, {"lookahead": 1})
